/* append_fsync FILE [THREADS [SECONDS [BYTES]]]: threads that commit records to one log.
 *
 * Each thread appends a record with aio_write, calls aio_fsync behind it and waits for it with aio_suspend, again and
 * again. Prints the records committed per second. It is how a database writes its log, and shows what it is worth to
 * serve several fsyncs of one file with one.
 *
 *     cc -O2 -pthread -o append_fsync append_fsync.c
 *     ./append_fsync /var/tmp/log
 *     ../target/release/aio-rs run --stats -- ./append_fsync /var/tmp/log
 */
#define _POSIX_C_SOURCE 200809L

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int file;
static size_t record_size = 256;
static atomic_int stop;
static atomic_long committed;

static void fail(const char *what, int error)
{
    fprintf(stderr, "append_fsync: %s: %s\n", what, strerror(error));
    exit(EXIT_FAILURE);
}

static long number(char **argv, int argc, int index, long otherwise)
{
    long value = index < argc ? strtol(argv[index], NULL, 10) : otherwise;
    if (value < 1)
        fail(argv[index], EINVAL);
    return value;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void wait_for(struct aiocb *cb, ssize_t expected)
{
    const struct aiocb *list[1] = { cb };
    while (aio_error(cb) == EINPROGRESS)
        if (aio_suspend(list, 1, NULL) != 0 && errno != EINTR)
            fail("aio_suspend", errno);
    if (aio_error(cb) != 0)
        fail("a request", aio_error(cb));
    if (aio_return(cb) != expected)
        fail("a request", EIO);
}

static void commit(void *record)
{
    struct aiocb write = { .aio_fildes = file, .aio_buf = record, .aio_nbytes = record_size };
    struct aiocb sync = { .aio_fildes = file };
    write.aio_sigevent.sigev_notify = SIGEV_NONE;
    sync.aio_sigevent.sigev_notify = SIGEV_NONE;
    if (aio_write(&write) != 0)
        fail("aio_write", errno);
    if (aio_fsync(O_DSYNC, &sync) != 0)
        fail("aio_fsync", errno);
    wait_for(&sync, 0);
    wait_for(&write, (ssize_t)record_size);
}

static void *client(void *letter)
{
    char *record = malloc(record_size);
    if (record == NULL)
        fail("no memory", errno);
    memset(record, *(char *)letter, record_size);
    while (!stop) {
        commit(record);
        committed++;
    }
    free(record);
    return NULL;
}

int main(int argc, char **argv)
{
    long threads = number(argv, argc, 2, 32);
    long seconds = number(argv, argc, 3, 3);
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    char letters[26];
    double start;
    record_size = (size_t)number(argv, argc, 4, 256);
    if (argc < 2 || ids == NULL) {
        fprintf(stderr, "usage: append_fsync FILE [THREADS [SECONDS [BYTES]]]\n");
        return EXIT_FAILURE;
    }
    file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (file < 0)
        fail(argv[1], errno);
    start = now();
    for (long i = 0; i < threads; i++) {
        int error;
        letters[i % 26] = (char)('a' + i % 26);
        error = pthread_create(&ids[i], NULL, client, &letters[i % 26]);
        if (error != 0)
            fail("pthread_create", error);
    }
    sleep((unsigned)seconds);
    stop = 1;
    for (long i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    printf("records %ld\nper second %.1f\n", (long)committed, (double)committed / (now() - start));
    free(ids);
    return close(file) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
