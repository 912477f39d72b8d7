// A descriptor that is closed by a way that the library does not see: what was queued for it ends with EBADF, never touches
// the file that gets the number next, and holds up nobody there.
// glibc: fails: a queued request goes to whatever has got its descriptor's number
// env: AIO_RS=threads=1,routes=direct+stream+worker
#include "check.h"

static void close_unseen(int fd) { CHECK_EQ(syscall(SYS_close, fd), 0); }

// Gives the number to another file.
static void open_as(int fd, int other) { CHECK_EQ(syscall(SYS_dup3, other, fd, 0), fd); }

static struct held h;

// A write, a read and a barrier wait for a worker; the number goes to another file.
static void of_a_file(void) {
    int busy = temp_file(), fd = temp_file(), other = temp_file();
    put_pattern(busy, 0, 4096, 1);
    put_pattern(other, 0, 4096, 2);
    h = hold(4096);
    struct aiocb head = request(busy, h.buffer, 4096, 0);
    CHECK_EQ(aio_read(&head), 0);
    wait_held(&h);
    char in[8] = "";
    struct aiocb write = request(fd, "wrong", 5, 0), read = request(fd, in, 5, 100), sync = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_write(&write), 0);
    CHECK_EQ(aio_read(&read), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    close_unseen(fd);
    open_as(fd, other);
    release_held(&h);
    CHECK_DONE(&write, EBADF, -1);
    CHECK_DONE(&read, EBADF, -1);
    wait_done(&sync);
    CHECK_EQ(aio_error(&sync), EBADF);
    CHECK(in[0] == 0 && file_holds(other, 0, 4096, 2));
    CHECK_DONE(&head, 0, 4096);
    // The new file works under the number.
    struct aiocb fresh = request(fd, "fresh", 5, 0);
    CHECK_EQ(aio_write(&fresh), 0);
    CHECK_DONE(&fresh, 0, 5);
    free_held(&h);
    close(fd);
    close(other);
    close(busy);
}

// A sync that has a second descriptor of the file is made by that one.
static void of_a_group(void) {
    int busy = temp_file(), fd = temp_file(), second = dup(fd), other = temp_file();
    put_pattern(busy, 0, 4096, 1);
    h = hold(4096);
    struct aiocb head = request(busy, h.buffer, 4096, 0);
    CHECK_EQ(aio_read(&head), 0);
    wait_held(&h);
    struct aiocb lost = request(fd, NULL, 0, 0), kept = request(second, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &lost), 0);
    CHECK_EQ(aio_fsync(O_DSYNC, &kept), 0);
    close_unseen(fd);
    open_as(fd, other);
    release_held(&h);
    CHECK_DONE(&kept, 0, 0);
    wait_done(&lost);
    CHECK_DONE(&head, 0, 4096);
    free_held(&h);
    close(fd);
    close(second);
    close(other);
    close(busy);
}

// A read waits on a pipe, a write on a full one; the numbers go to other pipes.
static void of_a_stream(void) {
    int old[2], full[2], fresh[2];
    char in = 0, got = 0;
    CHECK_EQ(pipe(old), 0);
    full_pipe(full);
    CHECK_EQ(pipe(fresh), 0);
    struct aiocb read = request(old[0], &in, 1, 0), write = request(full[1], "wrong", 5, 0);
    CHECK_EQ(aio_read(&read), 0);
    CHECK_EQ(aio_write(&write), 0);
    close_unseen(old[0]);
    close_unseen(full[1]);
    open_as(old[0], fresh[0]);
    open_as(full[1], fresh[1]);
    struct aiocb reads = request(old[0], &got, 1, 0), writes = request(full[1], "n", 1, 0);
    CHECK_EQ(aio_read(&reads), 0);
    CHECK_EQ(aio_write(&writes), 0);
    CHECK_DONE(&writes, 0, 1);
    CHECK_DONE(&reads, 0, 1);
    CHECK(got == 'n' && in == 0);
    CHECK_DONE(&read, EBADF, -1);
    CHECK_DONE(&write, EBADF, -1);
    for (int i = 0; i < 2; i++) close(fresh[i]);
    close(old[0]);
    close(old[1]);
    close(full[0]);
    close(full[1]);
}

// Nobody takes the number: a read that waits still comes to an end.
static void of_nobody(void) {
    int p[2];
    char in;
    CHECK_EQ(pipe(p), 0);
    struct aiocb read = request(p[0], &in, 1, 0);
    CHECK_EQ(aio_read(&read), 0);
    close_unseen(p[0]);
    CHECK_DONE(&read, EBADF, -1);
    close(p[1]);
}

int main(void) {
    of_a_file();
    of_a_group();
    of_a_stream();
    of_nobody();
    return 0;
}
