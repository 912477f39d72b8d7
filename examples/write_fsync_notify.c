/* write_fsync_notify: appends lines to a log and is told by a callback when all of them are safe on the disk.
 *
 * The program queues one write for each line and an aio_fsync behind them, and is free for other work. The fsync ends
 * after every write before it, and with the error of one that failed, so that its notification is the only one needed.
 *
 * With aio_rs linked in:
 *     cc -std=c99 -pthread -o write_fsync_notify write_fsync_notify.c -L../target/release -laio_rs
 *     LD_LIBRARY_PATH=../target/release ./write_fsync_notify LOG LINE...
 * With libc's AIO, or with aio_rs preloaded (libc before 2.34: add -lrt):
 *     cc -std=c99 -pthread -o write_fsync_notify write_fsync_notify.c
 *     ./write_fsync_notify LOG LINE...
 *     ../target/release/aio-rs run -- ./write_fsync_notify LOG LINE...
 */
#define _POSIX_C_SOURCE 200809L

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct record {
    struct aiocb cb;
    char *text;
};

struct commit {
    struct aiocb cb;
    sem_t done;
    int error;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "write_fsync_notify: %s: %s\n", what, strerror(error));
    exit(EXIT_FAILURE);
}

/* Runs in a thread of its own when the fsync has ended. */
static void committed(union sigval value)
{
    struct commit *commit = value.sival_ptr;
    commit->error = aio_error(&commit->cb);
    aio_return(&commit->cb);
    sem_post(&commit->done);
}

static char *with_newline(const char *line)
{
    size_t length = strlen(line);
    char *text = malloc(length + 2);
    if (text == NULL)
        fail("no memory", errno);
    memcpy(text, line, length);
    memcpy(text + length, "\n", 2);
    return text;
}

/* The file is open with O_APPEND: the lines arrive in the order of the calls. */
static void queue_line(struct record *record, int log, const char *line)
{
    memset(record, 0, sizeof *record);
    record->text = with_newline(line);
    record->cb.aio_fildes = log;
    record->cb.aio_buf = record->text;
    record->cb.aio_nbytes = strlen(record->text);
    record->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    if (aio_write(&record->cb) != 0)
        fail("aio_write", errno);
}

static void queue_fsync(struct commit *commit, int log)
{
    memset(commit, 0, sizeof *commit);
    if (sem_init(&commit->done, 0, 0) != 0)
        fail("sem_init", errno);
    commit->cb.aio_fildes = log;
    commit->cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    commit->cb.aio_sigevent.sigev_notify_function = committed;
    commit->cb.aio_sigevent.sigev_value.sival_ptr = commit;
    if (aio_fsync(O_DSYNC, &commit->cb) != 0)
        fail("aio_fsync", errno);
}

/* aio_rs reports a failed write through the fsync as well; libc does not, and neither tells of a short one. */
static void check_line(struct record *record)
{
    int error = aio_error(&record->cb);
    ssize_t count = aio_return(&record->cb);
    if (error != 0)
        fail("write", error);
    if ((size_t)count != strlen(record->text))
        fail("write", ENOSPC);
    free(record->text);
}

int main(int argc, char **argv)
{
    struct record *records;
    struct commit commit;
    int lines = argc - 2;
    int log;
    if (lines < 1) {
        fprintf(stderr, "usage: write_fsync_notify LOG LINE...\n");
        return EXIT_FAILURE;
    }
    log = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (log < 0)
        fail(argv[1], errno);
    records = calloc((size_t)lines, sizeof *records);
    if (records == NULL)
        fail("no memory", errno);
    for (int i = 0; i < lines; i++)
        queue_line(&records[i], log, argv[i + 2]);
    queue_fsync(&commit, log);

    /* Other work goes here. This program has none, so it waits for the callback. */
    while (sem_wait(&commit.done) != 0)
        if (errno != EINTR)
            fail("sem_wait", errno);

    if (commit.error != 0)
        fail("fsync", commit.error);
    for (int i = 0; i < lines; i++)
        check_line(&records[i]);
    printf("%d line%s on the disk\n", lines, lines == 1 ? "" : "s");
    sem_destroy(&commit.done);
    free(records);
    return close(log) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
