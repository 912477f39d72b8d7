// A program may close every descriptor there is, by a system call that no library sees, and open files at all numbers: the
// library writes nothing into those, does not wait for them, and its streams go on. Those that waited, too.
#include "check.h"

enum { FIRST = 3, MOST = 700 };

static int files[MOST];

static void use_stream(int p[2], int seconds_at_most) {
    char byte = 0;
    double begin = now_s();
    struct aiocb cb = request(p[0], &byte, 1, 0), canceled = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&cb, 0, 1);
    CHECK_EQ(byte, 'x');
    CHECK_EQ(aio_read(&cb), 0);
    if (is_library()) {
        CHECK_EQ(aio_read(&canceled), 0);
        CHECK_EQ(aio_cancel(p[0], &cb), AIO_CANCELED);
        CHECK_EQ(aio_cancel(p[0], &canceled), AIO_CANCELED);
    } else {
        CHECK_EQ(write(p[1], "y", 1), 1);
        CHECK_DONE(&cb, 0, 1);
    }
    CHECK(now_s() - begin < seconds_at_most);
}

// Closes all but the standard ones and `keep`, and takes all their numbers for pipes and files.
static void take_all(const int *keep, int kept, bool pipes) {
    int count = 0, p[2];
    for (int i = 0, from = FIRST; i <= kept; i++) {
        int to = i < kept ? keep[i] - 1 : INT_MAX;
        if (from <= to) CHECK_EQ(syscall(SYS_close_range, from, to, 0), 0);
        from = to + 2;
        if (to == INT_MAX) break;
    }
    while (count < MOST - 2) {
        if (pipes) {
            CHECK_EQ(pipe(p), 0);
            files[count++] = p[0];
            files[count++] = p[1];
        } else {
            int fd = (int)syscall(SYS_openat, AT_FDCWD, temp_dir(), O_TMPFILE | O_RDWR, 0600);
            if (fd < 0) SKIP("no files without a name: %s", check_errno(errno));
            files[count++] = fd;
        }
        if (files[count - 1] > 690) break;
    }
    while (count < MOST) files[count++] = -1;
}

static void check_untouched(void) {
    struct stat st;
    for (int i = 0; i < MOST && files[i] >= 0; i++) {
        int left = 0;
        CHECK_EQ(fstat(files[i], &st), 0);
        if (S_ISFIFO(st.st_mode)) {
            if (i % 2 == 0) CHECK_EQ(ioctl(files[i], FIONREAD, &left), 0);
            CHECK_EQ(left, 0);
        } else {
            CHECK_EQ(st.st_size, 0);
        }
    }
}

int main(void) {
    temp_dir();
    struct rlimit limit = {1024, 1024};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int round = 0; round < 4; round++) {
        int p[2], waits[2];
        char byte = 0;
        CHECK_EQ(pipe(p), 0);
        CHECK_EQ(pipe(waits), 0);
        // Of the lowest numbers, in order.
        int keep[4] = {p[0], p[1], waits[0], waits[1]};
        struct aiocb waiting = request(waits[0], &byte, 1, 0);
        use_stream(p, PATIENCE_S);
        CHECK_EQ(aio_read(&waiting), 0);
        settle();
        take_all(keep, 4, round % 2);
        for (int i = 0; i < 3; i++) use_stream(p, PATIENCE_S);
        check_untouched();
        CHECK_EQ(write(waits[1], "w", 1), 1);
        CHECK_DONE(&waiting, 0, 1);
        CHECK_EQ(byte, 'w');
        check_untouched();
        // What the program opened is the program's.
        for (int i = 0; i < MOST && files[i] >= 0; i++) CHECK_EQ(close(files[i]), 0);
        for (int i = 0; i < 4; i++) CHECK_EQ(close(keep[i]), 0);
    }
    return 0;
}
