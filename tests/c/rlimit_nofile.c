// With no descriptor left every request either works or is refused with EAGAIN at its submission, and closing a
// descriptor still loses no accepted write and sends none into another file.
// glibc: fails: queued writes go into another file that gets the number of a closed descriptor
// holds-reads
#include "check.h"

enum { QUEUED = 10 };

static int last_fd;

static void *close_it(void *unused) {
    (void)unused;
    CHECK_EQ(close(last_fd), 0);
    return NULL;
}

static bool closed(int fd) {
    struct stat st;
    return fstat(fd, &st) != 0;
}

int main(void) {
    int fd = temp_file(), p[2], look;
    char *path = temp_path("old");
    put_pattern(fd, 0, 4096, 1);
    CHECK_EQ(pipe(p), 0);
    last_fd = open(path, O_RDWR | O_CREAT, 0600);
    look = open(path, O_RDONLY);
    int new_file = temp_file();
    CHECK(last_fd >= 0 && look >= 0);
    struct held h = hold(4096);
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 100;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int null = open("/dev/null", O_RDONLY);
    while (dup(null) >= 0) {}
    CHECK_EQ(errno, EMFILE);

    char byte = 0, back[4096];
    struct aiocb cb = request(fd, back, sizeof back, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 4096);
    CHECK(holds(back, 4096, 1));
    CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
    CHECK_DONE(&cb, 0, 0);
    for (int i = 0; i < 100; i++) {
        struct aiocb in = request(p[0], &byte, 1, 0);
        if (aio_read(&in) == 0) {
            CHECK_EQ(write(p[1], "x", 1), 1);
            CHECK_DONE(&in, 0, 1);
        } else {
            CHECK_EQ(errno, EAGAIN);
            CHECK(aio_error(&in) != EINPROGRESS);
        }
    }

    // The close has nowhere to keep the file open for what is queued; it may have to wait for it.
    struct aiocb head, queued[QUEUED];
    static unsigned char data[QUEUED][512];
    fill(h.content, 4096, 2);
    head = request(last_fd, h.buffer, 4096, 0);
    CHECK_EQ(aio_write(&head), 0);
    wait_held(&h);
    for (int i = 0; i < QUEUED; i++) {
        fill(data[i], 512, 20 + (unsigned)i);
        queued[i] = request(last_fd, data[i], 512, 4096 - 256 + i * 256);
        CHECK_EQ(aio_write(&queued[i]), 0);
    }
    pthread_t thread = start_thread(close_it, NULL);
    // A close that does not wait is seen here, and then the number has its next owner before the release.
    for (int i = 0; i < 200 && !closed(last_fd); i++) pause_ms(1);
    struct stat st;
    bool reused = closed(last_fd) && dup2(new_file, last_fd) == last_fd;
    release_held(&h);
    join_thread(thread);
    if (!reused) CHECK_EQ(dup2(new_file, last_fd), last_fd);
    CHECK_DONE(&head, 0, 4096);
    for (int i = 0; i < QUEUED; i++) wait_done(&queued[i]);
    CHECK_EQ(fstat(new_file, &st), 0);
    CHECK(st.st_size == 0, "the new file has %lld bytes", (long long)st.st_size);
    for (int i = 0; i < QUEUED; i++) {
        CHECK_DONE(&queued[i], 0, 512);
        CHECK(file_holds(look, 4096 - 256 + i * 256, i == QUEUED - 1 ? 512 : 256, 20 + (unsigned)i));
    }
    unlink(path);
    return 0;
}
