// closedir and pclose close a descriptor inside libc: its requests are seen to as by close. A sync of a directory is still made,
// and a read that waits on popen's pipe ends; neither meets the next file of that number.
// glibc: fails: what is queued goes to whatever has got the number, or to nothing
// env: AIO_RS=threads=1,routes=direct+stream+worker
#include "check.h"

static void of_a_directory(void) {
    int busy = temp_file(), p[2];
    put_pattern(busy, 0, 4096, 1);
    struct held h = hold(4096);
    struct aiocb head = request(busy, h.buffer, 4096, 0);
    CHECK_EQ(aio_read(&head), 0); // the only worker is held
    wait_held(&h);
    DIR *directory = opendir(temp_dir());
    CHECK(directory != NULL);
    int fd = dirfd(directory);
    struct aiocb sync = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_EQ(closedir(directory), 0);
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(p[0], fd);
    release_held(&h);
    CHECK_DONE(&sync, 0, 0);
    CHECK_DONE(&head, 0, 4096);
    free_held(&h);
    close(p[0]);
    close(p[1]);
    close(busy);
}

static void of_a_command(void) {
    int p[2];
    char in = 0, got = 0;
    FILE *command = popen("exec cat", "w");
    CHECK(command != NULL);
    CHECK_EQ(pclose(command), 0);
    command = popen("exec sleep 0.1", "r");
    CHECK(command != NULL);
    int fd = fileno(command);
    struct aiocb read = request(fd, &in, 1, 0);
    CHECK_EQ(aio_read(&read), 0);
    CHECK_EQ(pclose(command), 0);
    wait_done(&read);
#ifdef __GLIBC__
    CHECK(aio_error(&read) == ECANCELED || aio_return(&read) == 0);
#else
    // Nothing is wrapped there: the library finds out by itself.
    CHECK(aio_error(&read) == ECANCELED || aio_error(&read) == EBADF || aio_return(&read) == 0);
#endif
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(p[0], fd);
    struct aiocb fresh = request(p[0], &got, 1, 0);
    CHECK_EQ(aio_read(&fresh), 0);
    CHECK_EQ(write(p[1], "n", 1), 1);
    CHECK_DONE(&fresh, 0, 1);
    CHECK(got == 'n' && in == 0);
    close(p[0]);
    close(p[1]);
}

int main(void) {
    of_a_directory();
    of_a_command();
    return 0;
}
