/* list: reads the beginning of every file named, all with one call of lio_listio.
 *
 * lio_listio takes any mixture of reads and writes. With LIO_WAIT it returns when all of them have ended, and EIO then
 * means only that at least one has failed: each entry has its own status.
 *
 * With aio_rs linked in:
 *     cc -std=c99 -o list list.c -L../target/release -laio_rs
 *     LD_LIBRARY_PATH=../target/release ./list FILE...
 * With libc's AIO, or with aio_rs preloaded (libc before 2.34: add -lrt):
 *     cc -std=c99 -o list list.c
 *     ./list FILE...
 *     ../target/release/aio-rs run -- ./list FILE...
 */
#define _POSIX_C_SOURCE 200809L

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = 16 };

struct entry {
    struct aiocb cb;
    const char *name;
    unsigned char data[BYTES];
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "list: %s: %s\n", what, strerror(error));
    exit(EXIT_FAILURE);
}

/* Returns the file's place in the list: NULL entries are skipped, so one for a file that cannot be opened. */
static struct aiocb *prepare(struct entry *entry, const char *name)
{
    entry->name = name;
    memset(&entry->cb, 0, sizeof entry->cb);
    entry->cb.aio_fildes = open(name, O_RDONLY);
    if (entry->cb.aio_fildes < 0) {
        printf("%s: %s\n", name, strerror(errno));
        return NULL;
    }
    entry->cb.aio_lio_opcode = LIO_READ;
    entry->cb.aio_buf = entry->data;
    entry->cb.aio_nbytes = sizeof entry->data;
    entry->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return &entry->cb;
}

static int unfinished(struct aiocb *const list[], int count)
{
    for (int i = 0; i < count; i++)
        if (list[i] != NULL && aio_error(list[i]) == EINPROGRESS)
            return i;
    return -1;
}

/* EAGAIN and EINTR can leave requests in flight; their buffers must not be touched before they have ended. */
static void wait_for_all(struct aiocb *const list[], int count)
{
    int i;
    while ((i = unfinished(list, count)) >= 0) {
        const struct aiocb *one[1] = { list[i] };
        if (aio_suspend(one, 1, NULL) != 0 && errno != EINTR)
            fail("aio_suspend", errno);
    }
}

/* Prints one entry; returns 1 if it failed. */
static int show(struct entry *entry)
{
    int error = aio_error(&entry->cb);
    ssize_t count = aio_return(&entry->cb);
    close(entry->cb.aio_fildes);
    if (error != 0) {
        printf("%s: %s\n", entry->name, strerror(error));
        return 1;
    }
    printf("%s:", entry->name);
    for (ssize_t i = 0; i < count; i++)
        printf(" %02x", (unsigned)entry->data[i]);
    printf("\n");
    return 0;
}

int main(int argc, char **argv)
{
    int count = argc - 1;
    int failed = 0;
    struct entry *entries;
    struct aiocb **list;
    if (count < 1) {
        fprintf(stderr, "usage: list FILE...\n");
        return EXIT_FAILURE;
    }
    entries = calloc((size_t)count, sizeof *entries);
    list = calloc((size_t)count, sizeof *list);
    if (entries == NULL || list == NULL)
        fail("no memory", errno);
    for (int i = 0; i < count; i++)
        list[i] = prepare(&entries[i], argv[i + 1]);

    if (lio_listio(LIO_WAIT, list, count, NULL) != 0) {
        if (errno != EIO && errno != EINTR && errno != EAGAIN)
            fail("lio_listio", errno);
        wait_for_all(list, count);
    }

    for (int i = 0; i < count; i++)
        failed |= list[i] == NULL ? 1 : show(&entries[i]);
    free(list);
    free(entries);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
