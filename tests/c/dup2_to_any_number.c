// A program chooses its numbers: dup2 and dup3 to any number work, also to those that the library has, and what waits or is
// queued goes on.
#include "check.h"

enum { FIRST = 20, MOST = 700 };

static void stream_goes_on(int p[2]) {
    char byte = 0;
    struct aiocb cb = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    settle();
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&cb, 0, 1);
    CHECK_EQ(byte, 'x');
}

int main(void) {
    struct rlimit limit = {1024, 1024};
    struct held h;
    struct aiocb head, queued;
    int p[2], waits[2], fd = temp_file(), own = temp_file();
    char byte = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(waits), 0);
    struct aiocb waiting = request(waits[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    // The library keeps a closed file open for what is queued.
    held_write(&h, &head, fd, 4096, 0, 1);
    queued = request(fd, "queued", 6, 100);
    CHECK_EQ(aio_write(&queued), 0);
    int same = dup(fd);
    // (Where nobody can see into another thread, close waits for a write that runs.)
    if (is_library() && !is_portable()) CHECK_EQ(close(fd), 0);
    for (int number = FIRST; number < MOST; number++) {
        if (number == h.uffd) continue;
        if (number % 2)
            CHECK_EQ(dup2(own, number), number);
        else
            CHECK_EQ(dup3(own, number, O_CLOEXEC), number);
        if (number % 100 == 0) stream_goes_on(p);
    }
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    CHECK_EQ(write(waits[1], "w", 1), 1);
    CHECK_DONE(&waiting, 0, 1);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_DONE(&queued, 0, 6);
    char back[7] = "";
    CHECK_EQ(pread(same, back, 6, 100), 6);
    CHECK(strcmp(back, "queued") == 0);
    struct stat st;
    for (int number = FIRST; number < MOST; number++) {
        if (number == h.uffd) continue;
        CHECK_EQ(fstat(number, &st), 0);
        CHECK_EQ(st.st_size, 0);
        CHECK_EQ(close(number), 0);
    }
    stream_goes_on(p);
    return 0;
}
