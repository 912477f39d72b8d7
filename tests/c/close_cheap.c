// Without requests the closing calls do what they always did: same results, same errors, and no thread.
#include "check.h"

int main(void) {
    CHECK_FAILS(close(-1), EBADF);
    CHECK_FAILS(close(INT_MAX), EBADF);
    int fd = temp_file();
    for (int round = 0; round < 2; round++) { // before and after the first request
        CHECK_FAILS(dup2(-1, fd), EBADF);
        CHECK_EQ(fcntl(fd, F_GETFD) >= 0, 1); // and it is still open
        CHECK_EQ(dup2(fd, fd), fd);
        CHECK_FAILS(dup2(fd, -1), EBADF);
        CHECK_FAILS(dup2(fd, INT_MAX), EBADF);
        CHECK_FAILS(dup3(fd, fd, 0), EINVAL);
        CHECK_FAILS(dup3(fd, fd + 1, 0x40000000), EINVAL);
        int high = dup2(fd, 200);
        CHECK_EQ(high, 200);
        CHECK_EQ(dup3(fd, 201, O_CLOEXEC), 201);
        CHECK_EQ(fcntl(201, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(fcntl(200, F_GETFD), 0);
        CHECK_FAILS(close_range(10, 9, 0), EINVAL);
        CHECK_FAILS(close_range(200, 201, 0x1000), EINVAL);
        CHECK_EQ(close_range(200, 201, CLOSE_RANGE_CLOEXEC), 0); // closes nothing
        CHECK_EQ(fcntl(200, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(close_range(200, 201, 0), 0);
        CHECK_FAILS(close(200), EBADF);
        CHECK_FAILS(close(201), EBADF);
        CHECK_EQ(dup2(fd, 300), 300);
        closefrom(300);
        CHECK_FAILS(close(300), EBADF);

        CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
        FILE *f = fdopen(dup(fd), "r+");
        CHECK(f != NULL);
        int number = fileno(f);
        CHECK_EQ(fputs("text", f) >= 0, 1);
        CHECK_EQ(fclose(f), 0); // flushes
        CHECK_FAILS(close(number), EBADF);
        char back[4];
        CHECK_EQ(pread(fd, back, 4, 0), 4);
        CHECK(memcmp(back, "text", 4) == 0);
        f = fopen("/dev/full", "w");
        CHECK(f != NULL);
        fputs("text", f);
        errno = 0;
        CHECK_EQ(fclose(f), EOF);
        FILE *memory = fmemopen(back, 4, "r"); // has no descriptor
        CHECK(memory != NULL);
        CHECK_EQ(fclose(memory), 0);

        for (int i = 0; i < 100000; i++) CHECK_EQ(close(dup(fd)), 0);
        errno = 4711;
        close(dup(fd));
        CHECK_EQ(errno, 4711);
        if (round == 0) {
            CHECK_EQ(thread_count(), 1);
            struct aiocb cb = request(fd, "data", 4, 0);
            CHECK_EQ(aio_write(&cb), 0);
            CHECK_DONE(&cb, 0, 4);
        }
    }
    CHECK_EQ(close(fd), 0);
    CHECK_FAILS(close(fd), EBADF);
    return 0;
}
