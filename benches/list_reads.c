/* list_reads FILE [READS [ROUNDS]]: what a list costs beside the kernel's own.
 *
 * In turn: lio_listio (LIO_WAIT) of so many O_DIRECT reads of 4 KiB, and one io_submit of as many with the io_getevents
 * that waits for them. Prints the medians in microseconds, and the median of the rounds' ratios with the tenth and the
 * ninetieth percentile.
 *
 *     cc -O2 -o list_reads list_reads.c
 *     ../target/release/aio-rs run --stats -- ./list_reads /var/tmp/file-of-some-hundred-MiB
 */
#define _GNU_SOURCE

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, MOST = 512, WARM_UP = 50 };

static struct aiocb blocks[MOST], *list[MOST];
static struct iocb iocbs[MOST], *pointers[MOST];
static struct io_event events[MOST];
static aio_context_t context;

static void fail(const char *what)
{
    fprintf(stderr, "list_reads: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static double by_lio_listio(int count)
{
    double begin = now();
    if (lio_listio(LIO_WAIT, list, count, NULL) != 0)
        fail("lio_listio");
    return now() - begin;
}

static double by_io_submit(int count)
{
    double begin = now();
    for (long done = 0; done < count;) {
        long got = syscall(SYS_io_submit, context, count - done, pointers + done);
        if (got < 0)
            fail("io_submit");
        done += got;
    }
    if (syscall(SYS_io_getevents, context, count, count, events, NULL) != count)
        fail("io_getevents");
    return now() - begin;
}

static int compare(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double percentile(double *times, int count, int percent)
{
    qsort(times, count, sizeof *times, compare);
    return times[(long)(count - 1) * percent / 100];
}

int main(int argc, char **argv)
{
    int count = argc > 2 ? atoi(argv[2]) : 128, rounds = argc > 3 ? atoi(argv[3]) : 600;
    if (argc < 2 || count < 1 || count > MOST || rounds < 1) {
        fprintf(stderr, "usage: list_reads FILE [READS (at most %d) [ROUNDS]]\n", MOST);
        return 2;
    }
    int fd = open(argv[1], O_RDONLY | O_DIRECT);
    struct stat facts;
    if (fd < 0 || fstat(fd, &facts) != 0)
        fail(argv[1]);
    long in_file = facts.st_size / BLOCK;
    char *memory = aligned_alloc(BLOCK, (size_t)count * BLOCK);
    double *ours = malloc(rounds * sizeof *ours), *kernels = malloc(rounds * sizeof *kernels);
    double *ratios = malloc(rounds * sizeof *ratios);
    if (in_file == 0 || !memory || !ours || !kernels || !ratios || syscall(SYS_io_setup, count, &context) != 0)
        fail("an empty file, no memory or no context");
    for (int round = -WARM_UP; round < rounds; round++) {
        for (int i = 0; i < count; i++) {
            blocks[i] = (struct aiocb){.aio_fildes = fd,
                                       .aio_buf = memory + (size_t)i * BLOCK,
                                       .aio_nbytes = BLOCK,
                                       .aio_offset = random() % in_file * BLOCK,
                                       .aio_lio_opcode = LIO_READ,
                                       .aio_sigevent.sigev_notify = SIGEV_NONE};
            iocbs[i] = (struct iocb){.aio_fildes = fd,
                                     .aio_buf = (uintptr_t)memory + (size_t)i * BLOCK,
                                     .aio_nbytes = BLOCK,
                                     .aio_offset = random() % in_file * BLOCK,
                                     .aio_lio_opcode = IOCB_CMD_PREAD};
            list[i] = &blocks[i];
            pointers[i] = &iocbs[i];
        }
        double first = round % 2 ? by_lio_listio(count) : by_io_submit(count);
        double second = round % 2 ? by_io_submit(count) : by_lio_listio(count);
        if (round < 0)
            continue;
        ours[round] = round % 2 ? first : second;
        kernels[round] = round % 2 ? second : first;
        ratios[round] = kernels[round] / ours[round];
    }
    printf("lio_listio %.0f us, io_submit %.0f us, ratio %.2f", percentile(ours, rounds, 50),
           percentile(kernels, rounds, 50), percentile(ratios, rounds, 50));
    printf(" (%.2f to %.2f)\n", percentile(ratios, rounds, 10), percentile(ratios, rounds, 90));
    return 0;
}
