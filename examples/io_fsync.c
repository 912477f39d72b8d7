/* io_fsync: writes a file in many requests and is called when all of it is safe on the disk.
 *
 * The program queues its writes and an io_fsync behind them, as io_fsync(3) has it: the function is called only after all
 * requests for the file have terminated and the file is synchronized. (By libaio alone the sync overtakes the writes.)
 *
 *     cc -std=c99 -I../include -o io_fsync io_fsync.c -L../target/release -laio_rs
 *     LD_LIBRARY_PATH=../target/release ./io_fsync FILE
 *
 * On Linux.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <aio_rs/libaio.h>

enum { WRITES = 32, SIZE = 64 * 1024 };

static int written, synced;

static void fail(const char *what, int error) {
    fprintf(stderr, "io_fsync: %s: %s\n", what, strerror(error));
    exit(1);
}

static void on_write(io_context_t ctx, struct iocb *iocb, long res, long res2) {
    (void)ctx, (void)iocb, (void)res2;
    if (res != SIZE) fail("write", res < 0 ? (int)-res : EIO);
    written++;
}

static void on_sync(io_context_t ctx, struct iocb *iocb, long res, long res2) {
    (void)ctx, (void)iocb, (void)res2;
    if (res != 0) fail("io_fsync", (int)-res);
    synced = 1;
    printf("synchronized, %d of %d writes done before\n", written, WRITES);
}

int main(int argc, char **argv) {
    struct iocb writes[WRITES], *list[WRITES], sync;
    io_context_t ctx;
    void *data;
    int fd, i, error;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0666);
    if (fd < 0 && errno == EINVAL) fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0666); /* no O_DIRECT there */
    if (fd < 0) fail(argv[1], errno);
    error = posix_memalign(&data, 4096, SIZE);
    if (error) fail("memory", error);
    memset(data, 'x', SIZE);
    error = io_queue_init(WRITES + 1, &ctx);
    if (error) fail("io_queue_init", -error);
    for (i = 0; i < WRITES; i++) {
        io_prep_pwrite(&writes[i], fd, data, SIZE, (long long)i * SIZE);
        io_set_callback(&writes[i], on_write);
        list[i] = &writes[i];
    }
    for (i = 0; i < WRITES; i += error) {
        error = io_submit(ctx, WRITES - i, list + i);
        if (error < 0) fail("io_submit", -error);
    }
    error = io_fsync(ctx, &sync, on_sync, fd);
    if (error) fail("io_fsync", -error);
    while (!synced) {
        error = io_queue_wait(ctx, NULL);
        if (error && error != -EINTR) fail("io_queue_wait", -error);
        error = io_queue_run(ctx);
        if (error < 0) fail("io_queue_run", -error);
    }
    io_queue_release(ctx);
    return close(fd) != 0;
}
