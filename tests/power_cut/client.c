/*
 * Writes files, synchronises them, and notes what was acknowledged and how
 * long the disk's record was by then.
 *
 *   client DIRECTORY RECORD NOTES SEED REQUESTS
 *
 * What is written bears its file, its block and a version, sixteen bytes wide,
 * so that every sector tells what it is. A block belongs to one thread and is
 * always written by the same descriptor: its versions have an order. A sync
 * must cover the writes whose calls had returned when it was called.
 * Compiled with LIBAIO it makes the calls of libaio, with O_DIRECT; with CALLS
 * those of the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK = 4096, SECTOR = 512, BLOCKS = 256, STRIP = 4, WRITERS = 3, DESCRIPTORS = 3, SLOTS = 48 };
/* The files that are overwritten, the one that is appended to, the one that is replaced by rename. */
enum { FILES = 3, LOG = FILES, RENAMED, TARGETS };
enum { MAGIC = 0xa10c07 };

struct stamp {
    uint32_t magic, target, block, version;
};

/* What one acknowledged sync promises: of a file each block's version, of the log each thread's records. */
struct note {
    uint64_t position;
    uint32_t target, unused;
    uint32_t version[BLOCKS];
};

static void die(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    _exit(3);
}

#if defined(CALLS)
#include "by_calls.h"
#elif defined(LIBAIO)
#include "by_libaio.h"
#else
#include "by_posix.h"
#endif

enum kind { UNUSED, WRITE, APPEND, SYNC };

struct request {
    struct call call;
    enum kind kind;
    uint32_t target, strip;
    size_t bytes;
    void *buffer;
    struct note note;
};

struct writer {
    uint32_t number, left;
    /* How many may be in flight; it changes, for a crowd hides what two requests show. */
    int depth;
    unsigned seed;
    struct engine engine;
    struct request requests[SLOTS];
    /* libaio does not order what overlaps: one write at a time. */
    char busy[FILES][BLOCKS / STRIP];
};

static const char *directory;
static const _Atomic uint64_t *position;
static int notes, log_descriptor, directory_descriptor;
static int descriptors[FILES][DESCRIPTORS];
static _Atomic uint32_t submitted[TARGETS][BLOCKS];
static atomic_int writing = WRITERS;

static unsigned below(struct writer *w, unsigned limit) { return (unsigned)rand_r(&w->seed) % limit; }

static void stamp(void *buffer, size_t bytes, struct stamp value)
{
    for (size_t at = 0; at < bytes; at += sizeof value)
        memcpy((char *)buffer + at, &value, sizeof value);
}

static void write_blocks(struct writer *w, struct request *r)
{
    uint32_t file = below(w, FILES), strip = below(w, BLOCKS / STRIP / WRITERS) * WRITERS + w->number;
    uint32_t first = strip * STRIP, count = 1 + below(w, STRIP);
    if (w->busy[file][strip])
        return;
    r->kind = WRITE;
    r->target = file;
    r->strip = strip;
    r->bytes = count * BLOCK;
    for (uint32_t i = 0; i < count; i++) {
        struct stamp value = {MAGIC, file, first + i, submitted[file][first + i] + 1};
        stamp((char *)r->buffer + i * BLOCK, BLOCK, value);
    }
    int fd = descriptors[file][strip / WRITERS % DESCRIPTORS];
    start_write(&w->engine, &r->call, fd, r->buffer, r->bytes, (long)first * BLOCK, below(w, 5));
    for (uint32_t i = 0; i < count; i++)
        submitted[file][first + i]++;
    w->busy[file][strip] = !ORDERS_OVERLAPS;
}

static void append(struct writer *w, struct request *r)
{
    r->kind = APPEND;
    r->target = LOG;
    r->bytes = SECTOR;
    struct stamp value = {MAGIC, LOG, w->number, submitted[LOG][w->number] + 1};
    stamp(r->buffer, SECTOR, value);
    start_write(&w->engine, &r->call, log_descriptor, r->buffer, SECTOR, 0, below(w, 5));
    submitted[LOG][w->number]++;
}

static void synchronise(struct writer *w, struct request *r, uint32_t target, int fd)
{
    r->kind = SYNC;
    r->note.target = target;
    for (int i = 0; i < BLOCKS; i++)
        r->note.version[i] = submitted[target][i];
    start_sync(&w->engine, &r->call, fd, (int)below(w, 2));
}

static void acknowledge(struct note *note)
{
    note->position = *position;
    if (write(notes, note, sizeof *note) != sizeof *note)
        die("writing a note");
}

static void submit(struct writer *w, struct request *r)
{
    unsigned roll = below(w, 100);
    if (roll < 80)
        write_blocks(w, r);
    else if (roll < 86 && ORDERS_APPENDS)
        append(w, r);
    else if (roll < 89 && ORDERS_APPENDS)
        synchronise(w, r, LOG, log_descriptor);
    else {
        uint32_t file = below(w, FILES);
        synchronise(w, r, file, descriptors[file][below(w, DESCRIPTORS)]);
    }
}

static void finish(struct writer *w, struct request *r)
{
    if (r->kind == SYNC) {
        errno = r->call.error;
        if (errno)
            die("a sync failed");
        acknowledge(&r->note);
    } else {
        errno = r->call.error;
        if (errno || r->call.result != (long)r->bytes)
            die("a write failed");
        if (r->kind == WRITE)
            w->busy[r->target][r->strip] = 0;
    }
    r->kind = UNUSED;
}

/* Takes what has ended; with `wait`, not before something has. How many are still in flight. */
static int reap(struct writer *w, int wait)
{
    struct call *calls[SLOTS];
    int count = 0, in_flight = 0;
    for (int i = 0; i < SLOTS; i++)
        if (w->requests[i].kind != UNUSED)
            calls[count++] = &w->requests[i].call;
    look(&w->engine, calls, count, wait);
    for (int i = 0; i < SLOTS; i++) {
        struct request *r = &w->requests[i];
        if (r->kind == UNUSED)
            continue;
        if (r->call.ended)
            finish(w, r);
        else
            in_flight++;
    }
    return in_flight;
}

static struct request *unused(struct writer *w)
{
    for (int i = 0; i < SLOTS; i++)
        if (w->requests[i].kind == UNUSED)
            return &w->requests[i];
    return NULL;
}

static void *run_writer(void *argument)
{
    struct writer *w = argument;
    for (int in_flight = 0; w->left || in_flight;) {
        struct request *r = w->left && in_flight < w->depth ? unused(w) : NULL;
        if (r) {
            submit(w, r);
            if (r->kind != UNUSED) {
                in_flight++;
                w->left--;
                if (w->left % 16 == 0)
                    w->depth = 1 + (int)below(w, 1 + below(w, SLOTS));
                if (below(w, 4))
                    continue;
            }
        }
        in_flight = reap(w, r == NULL);
    }
    writing--;
    return NULL;
}

static int open_at(const char *name, int flags)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    return fd;
}

/* The usual way to replace a file for good: write, sync, rename, sync the directory. */
static void replace(struct writer *w, uint32_t version)
{
    struct request *data = &w->requests[0], *sync = &w->requests[1];
    int fd = open_at("new", O_RDWR | O_CREAT | O_TRUNC | ALL_FLAGS);
    data->kind = WRITE;
    data->target = data->strip = 0;
    data->bytes = BLOCK;
    stamp(data->buffer, BLOCK, (struct stamp){MAGIC, RENAMED, 0, version});
    start_write(&w->engine, &data->call, fd, data->buffer, BLOCK, 0, below(w, 5));
    synchronise(w, sync, RENAMED, fd);
    while (reap(w, 1))
        ;
    close(fd);
    if (renameat(directory_descriptor, "new", directory_descriptor, "renamed") != 0)
        die("rename");
    submitted[RENAMED][0] = version;
    synchronise(w, sync, RENAMED, directory_descriptor);
    while (reap(w, 1))
        ;
}

static void *run_renamer(void *argument)
{
    for (uint32_t version = 1; writing; version++)
        replace(argument, version);
    return NULL;
}

static struct writer *new_writer(uint32_t number, unsigned seed, uint32_t requests)
{
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        die("calloc");
    w->number = number;
    w->seed = seed * 31 + number;
    w->left = requests;
    w->depth = SLOTS;
    begin(&w->engine, SLOTS);
    for (int i = 0; i < SLOTS; i++)
        if (posix_memalign(&w->requests[i].buffer, BLOCK, STRIP * BLOCK) != 0)
            die("posix_memalign");
    return w;
}

static void open_files(void)
{
    for (int file = 0; file < FILES; file++) {
        char name[16];
        snprintf(name, sizeof name, "file%d", file);
        for (int i = 0; i < DESCRIPTORS; i++)
            descriptors[file][i] = open_at(name, O_RDWR | (i == 1 ? O_DIRECT : ALL_FLAGS));
    }
    log_descriptor = open_at("log", O_WRONLY | O_APPEND);
    directory_descriptor = open_at(".", O_RDONLY | O_DIRECTORY);
}

int main(int count, char **arguments)
{
    if (count != 6)
        return 2;
    directory = arguments[1];
    int record = open(arguments[2], O_RDONLY | O_CLOEXEC);
    void *page = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, record, 0);
    notes = open(arguments[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (page == MAP_FAILED || notes < 0)
        die("the record or the notes");
    position = page;
    open_files();

    pthread_t threads[WRITERS + 1];
    for (uint32_t i = 0; i <= WRITERS; i++) {
        struct writer *w = new_writer(i, (unsigned)atoi(arguments[4]), (uint32_t)atoi(arguments[5]));
        errno = pthread_create(&threads[i], NULL, i < WRITERS ? run_writer : run_renamer, w);
        if (errno)
            die("pthread_create");
    }
    for (int i = 0; i <= WRITERS; i++)
        pthread_join(threads[i], NULL);
    _exit(0);
}
