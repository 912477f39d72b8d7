/* aio_copy: copies a file with several requests in flight.
 *
 * Each slot owns one chunk: it reads it, writes it, and takes the next one; the slots overtake each other freely.
 * One aio_fsync at the end covers all writes before it.
 *
 * With aio_rs linked in:
 *     cc -std=c99 -o aio_copy aio_copy.c -L../target/release -laio_rs
 *     LD_LIBRARY_PATH=../target/release ./aio_copy FROM TO
 * With libc's AIO, or with aio_rs preloaded (libc before 2.34: add -lrt):
 *     cc -std=c99 -o aio_copy aio_copy.c
 *     ./aio_copy FROM TO
 *     ../target/release/aio-rs run -- ./aio_copy FROM TO
 */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = 16, CHUNK = 128 * 1024 };

struct slot {
    struct aiocb cb;
    enum { IDLE, READING, WRITING } state;
    size_t wanted; /* of the chunk, still to be read or written */
    char data[CHUNK];
};

struct copy {
    int from, to;
    off_t next, size;
    struct slot *slots;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "aio_copy: %s: %s\n", what, strerror(error));
    exit(EXIT_FAILURE);
}

static void submit_read(struct copy *copy, struct slot *slot)
{
    slot->cb.aio_fildes = copy->from;
    slot->state = READING;
    if (aio_read(&slot->cb) != 0)
        fail("aio_read", errno);
}

static void submit_write(struct copy *copy, struct slot *slot)
{
    slot->cb.aio_fildes = copy->to;
    slot->state = WRITING;
    if (aio_write(&slot->cb) != 0)
        fail("aio_write", errno);
}

/* Takes the next chunk of the file; leaves the slot idle when there is none. */
static void start_chunk(struct copy *copy, struct slot *slot)
{
    off_t left = copy->size - copy->next;
    slot->state = IDLE;
    if (left <= 0)
        return;
    slot->wanted = left < CHUNK ? (size_t)left : CHUNK;
    memset(&slot->cb, 0, sizeof slot->cb);
    slot->cb.aio_buf = slot->data;
    slot->cb.aio_nbytes = slot->wanted;
    slot->cb.aio_offset = copy->next;
    slot->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    copy->next += (off_t)slot->wanted;
    submit_read(copy, slot);
}

static void finish_read(struct copy *copy, struct slot *slot, size_t count)
{
    if (count == 0)
        fail("the source has become shorter", EIO);
    /* A short read: write what has come, the rest is read afterwards. */
    slot->cb.aio_nbytes = count;
    submit_write(copy, slot);
}

static void finish_write(struct copy *copy, struct slot *slot, size_t count)
{
    size_t rest = slot->cb.aio_nbytes - count;
    slot->wanted -= count;
    slot->cb.aio_offset += (off_t)count;
    slot->cb.aio_buf = (volatile char *)slot->cb.aio_buf + count;
    if (rest > 0) { /* a short write */
        slot->cb.aio_nbytes = rest;
        submit_write(copy, slot);
    } else if (slot->wanted > 0) { /* behind a short read */
        slot->cb.aio_buf = slot->data;
        slot->cb.aio_nbytes = slot->wanted;
        submit_read(copy, slot);
    } else {
        start_chunk(copy, slot);
    }
}

/* Moves a slot on if its request has ended. */
static void advance(struct copy *copy, struct slot *slot)
{
    int error = aio_error(&slot->cb);
    ssize_t count;
    if (error == EINPROGRESS)
        return;
    if (error != 0)
        fail(slot->state == READING ? "read" : "write", error);
    count = aio_return(&slot->cb);
    if (slot->state == READING)
        finish_read(copy, slot, (size_t)count);
    else
        finish_write(copy, slot, (size_t)count);
}

static void wait_for_any(const struct aiocb *const list[], int entries)
{
    if (aio_suspend(list, entries, NULL) != 0 && errno != EINTR)
        fail("aio_suspend", errno);
}

static void copy_all(struct copy *copy)
{
    const struct aiocb *list[SLOTS];
    for (int i = 0; i < SLOTS; i++)
        start_chunk(copy, &copy->slots[i]);
    for (;;) {
        int active = 0;
        for (int i = 0; i < SLOTS; i++)
            if (copy->slots[i].state != IDLE)
                list[active++] = &copy->slots[i].cb;
        if (active == 0)
            return;
        wait_for_any(list, active);
        for (int i = 0; i < SLOTS; i++)
            if (copy->slots[i].state != IDLE)
                advance(copy, &copy->slots[i]);
    }
}

static void sync_file(int file)
{
    struct aiocb cb;
    const struct aiocb *list[1] = { &cb };
    int error;
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = file;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    if (aio_fsync(O_SYNC, &cb) != 0)
        fail("aio_fsync", errno);
    while ((error = aio_error(&cb)) == EINPROGRESS)
        wait_for_any(list, 1);
    if (error != 0)
        fail("fsync", error);
    aio_return(&cb);
}

int main(int argc, char **argv)
{
    struct copy copy;
    struct stat facts;
    if (argc != 3) {
        fprintf(stderr, "usage: aio_copy FROM TO\n");
        return EXIT_FAILURE;
    }
    copy.from = open(argv[1], O_RDONLY);
    if (copy.from < 0 || fstat(copy.from, &facts) != 0)
        fail(argv[1], errno);
    copy.to = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (copy.to < 0)
        fail(argv[2], errno);
    copy.next = 0;
    copy.size = facts.st_size;
    copy.slots = calloc(SLOTS, sizeof *copy.slots);
    if (copy.slots == NULL)
        fail("no memory", errno);
    copy_all(&copy);
    sync_file(copy.to);
    if (close(copy.to) != 0)
        fail(argv[2], errno);
    close(copy.from);
    free(copy.slots);
    return EXIT_SUCCESS;
}
