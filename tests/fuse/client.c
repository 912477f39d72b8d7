/*
 * Makes the AIO calls it is told to on standard input, one command a line, and
 * answers each with one line. Answers are flushed when no further command is
 * waiting, so that several commands sent together run without a pause. What
 * is appended begins with its own OFF, by which the file system knows it.
 * Compiled with LIBAIO it makes them by libaio's interface, with O_DIRECT.
 *
 *   o SLOT rw|ro|ap PATH   open            d SLOT FROM    dup       c SLOT   close
 *   w REQ SLOT OFF LEN PRIO, r REQ SLOT OFF LEN PRIO      a write, a read
 *   f REQ SLOT sync|dsync PRIO                            a sync
 *   l                      collect the following w, r and f; L: hand them in as one list
 *   x REQ                  cancel one        X SLOT       cancel all of a descriptor
 *   e REQ                  -> its error, its result once it has ended, data good or bad
 *   s REQ MS               wait for it, at most MS ms -> 0 or errno
 *   a REQ SLOT OFF         aio_write of 512 bytes, whatever the others are made by; its end is not told
 *   p SLOT OFF             a plain pwrite of one byte in a thread of its own
 *   v                      -> the file whose functions are called
 *   q                      return from main
 */
#define _GNU_SOURCE
#include <aio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 64, REQUESTS = 1024, ROOM = 4096, LINE = 4096 };
/* glibc's list opcodes beyond LIO_READ, LIO_WRITE and LIO_NOP. */
enum { OP_DSYNC = 3, OP_SYNC = 4 };

struct request {
    struct aiocb cb;
    unsigned char *data;
    int opcode;
    int ended;
    int error;
    long result;
};

static int slots[SLOTS];
static int appends[SLOTS];
static struct request requests[REQUESTS];
static struct request *list[REQUESTS];
static int collecting, collected;

static void die(const char *why)
{
    fprintf(stderr, "client: %s\n", why);
    exit(2);
}

#ifdef LIBAIO
#include "by_libaio.h"
#else
#include "by_posix.h"
#endif

static char input[1 << 16];
static size_t begin, end;

static void answer(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static void answer_call(int result)
{
    if (result == 0)
        answer("0");
    else
        answer("%d", errno);
}

/* The next line, read by hand: stdio would hide what is still waiting. */
static int next_line(char *line, size_t room)
{
    for (;;) {
        char *stop = memchr(input + begin, '\n', end - begin);
        if (stop) {
            size_t length = (size_t)(stop - (input + begin));
            if (length >= room)
                die("a line is too long");
            memcpy(line, input + begin, length);
            line[length] = 0;
            begin += length + 1;
            return 1;
        }
        fflush(stdout);
        memmove(input, input + begin, end - begin);
        end -= begin;
        begin = 0;
        if (end == sizeof input)
            die("a line is too long");
        ssize_t got = read(STDIN_FILENO, input + end, sizeof input - end);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        end += (size_t)got;
    }
}

/* The byte that belongs at an offset: every 512-byte block has its own. */
static unsigned char pattern(long offset) { return (unsigned char)(offset / 512 * 7 + 1); }

static struct request *prepare(int number, int slot, int opcode)
{
    struct request *r = &requests[number];
    memset(&r->cb, 0, sizeof r->cb);
    r->cb.aio_fildes = slots[slot];
    r->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    r->cb.aio_lio_opcode = opcode;
    r->opcode = opcode;
    r->ended = 0;
    return r;
}

static void prepare_transfer(struct request *r, long offset, long length, int priority, int append)
{
    if (length > ROOM)
        die("a transfer is too long");
    r->cb.aio_offset = offset;
    r->cb.aio_nbytes = (size_t)length;
    r->cb.aio_buf = r->data;
    r->cb.aio_reqprio = priority;
    for (long i = 0; i < length; i++)
        r->data[i] = r->opcode == LIO_WRITE ? pattern(offset + i) : 0;
    if (append)
        memcpy(r->data, &offset, sizeof offset);
}

static void submit(struct request *r)
{
    if (collecting) {
        list[collected++] = r;
        answer("0");
        return;
    }
    answer_call(hand_in(r));
}

static const char *check_data(const struct request *r)
{
    if (r->opcode != LIO_READ)
        return "good";
    for (long i = 0; i < r->result; i++)
        if (r->data[i] != pattern(r->cb.aio_offset + i))
            return "bad";
    return "good";
}

static void report(struct request *r)
{
    if (!r->ended)
        look(r);
    if (!r->ended) {
        answer("%d", EINPROGRESS);
        return;
    }
    answer("%d %ld %s", r->error, r->result, check_data(r));
}

static void answer_cancel(int result)
{
    switch (result) {
    case AIO_CANCELED: answer("canceled"); break;
    case AIO_NOTCANCELED: answer("notcanceled"); break;
    case AIO_ALLDONE: answer("alldone"); break;
    default: answer("%d", errno);
    }
}

struct plain {
    int fd;
    long offset;
};

static void *plain_write(void *argument)
{
    struct plain *plain = argument;
    char byte = (char)pattern(plain->offset);
    ssize_t ignored = pwrite(plain->fd, &byte, 1, plain->offset);
    (void)ignored;
    free(plain);
    return NULL;
}

static void start_plain_write(int slot, long offset)
{
    pthread_t thread;
    struct plain *plain = malloc(sizeof *plain);
    if (!plain)
        die("out of memory");
    *plain = (struct plain){slots[slot], offset};
    errno = pthread_create(&thread, NULL, plain_write, plain);
    answer_call(errno);
}

static void open_slot(int slot, const char *mode, const char *path)
{
    int flags = O_CLOEXEC | OPEN_FLAGS | (strcmp(mode, "ro") == 0 ? O_RDONLY : O_RDWR);
    appends[slot] = strcmp(mode, "ap") == 0;
    if (appends[slot])
        flags |= O_APPEND;
    slots[slot] = open(path, flags);
    /* The names of a file have the same number only to whoever asks the server: so the kernel gets to know it. */
    struct stat status;
    answer_call(slots[slot] < 0 || fstat(slots[slot], &status) ? -1 : 0);
}

static void dup_slot(int slot, int from)
{
    appends[slot] = appends[from];
    slots[slot] = dup(slots[from]);
    answer_call(slots[slot] < 0 ? -1 : 0);
}

static void name_library(void)
{
    Dl_info info;
    answer("%s", dladdr((void *)ONE_FUNCTION, &info) ? info.dli_fname : "?");
}

static void submit_list(void)
{
    collecting = 0;
    answer_call(hand_in_list(list, collected));
}

static int run(const char *line)
{
    char word[16], path[LINE];
    int a, b, priority;
    long offset, length;

    if (sscanf(line, "o %d %15s %4095s", &a, word, path) == 3)
        open_slot(a, word, path);
    else if (sscanf(line, "d %d %d", &a, &b) == 2)
        dup_slot(a, b);
    else if (sscanf(line, "c %d", &a) == 1)
        answer_call(close(slots[a]));
    else if (sscanf(line, "w %d %d %ld %ld %d", &a, &b, &offset, &length, &priority) == 5) {
        struct request *r = prepare(a, b, LIO_WRITE);
        prepare_transfer(r, offset, length, priority, appends[b]);
        submit(r);
    } else if (sscanf(line, "r %d %d %ld %ld %d", &a, &b, &offset, &length, &priority) == 5) {
        struct request *r = prepare(a, b, LIO_READ);
        prepare_transfer(r, offset, length, priority, 0);
        submit(r);
    } else if (sscanf(line, "f %d %d %15s %d", &a, &b, word, &priority) == 4) {
        struct request *r = prepare(a, b, strcmp(word, "sync") == 0 ? OP_SYNC : OP_DSYNC);
        r->cb.aio_reqprio = priority;
        submit(r);
    } else if (strcmp(line, "l") == 0) {
        collecting = 1;
        collected = 0;
        answer("0");
    } else if (strcmp(line, "L") == 0)
        submit_list();
    else if (sscanf(line, "x %d", &a) == 1)
        answer_cancel(cancel(&requests[a]));
    else if (sscanf(line, "X %d", &a) == 1)
        answer_cancel(cancel_all(slots[a]));
    else if (sscanf(line, "e %d", &a) == 1)
        report(&requests[a]);
    else if (sscanf(line, "s %d %ld", &a, &length) == 2)
        answer_call(wait_for(&requests[a], length));
    else if (sscanf(line, "a %d %d %ld", &a, &b, &offset) == 3) {
        struct request *r = prepare(a, b, LIO_WRITE);
        prepare_transfer(r, offset, 512, 0, appends[b]);
        answer_call(aio_write(&r->cb));
    } else if (sscanf(line, "p %d %ld", &a, &offset) == 2)
        start_plain_write(a, offset);
    else if (strcmp(line, "v") == 0)
        name_library();
    else if (strcmp(line, "q") == 0)
        return 0;
    else
        die(line);
    return 1;
}

int main(void)
{
    char line[LINE];
    static unsigned char room[REQUESTS][ROOM] __attribute__((aligned(ROOM)));
    for (int i = 0; i < REQUESTS; i++)
        requests[i].data = room[i];
    while (next_line(line, sizeof line) && run(line))
        ;
    return 0;
}
