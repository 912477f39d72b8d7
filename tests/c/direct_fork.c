// A child of fork has its own access to the kernel's AIO, and the parent keeps its own, whatever was in flight.
// glibc: fails: AIO hangs in a child that fork made while requests were in flight
#include "check.h"

enum { BLOCK = 4096, DEPTH = 16 };

static struct aiocb cbs[DEPTH];

static void submit_all(int fd) {
    for (int i = 0; i < DEPTH; i++) {
        void *buffer = aligned_alloc(BLOCK, BLOCK);
        fill(buffer, BLOCK, (unsigned)i);
        cbs[i] = request(fd, buffer, BLOCK, i * BLOCK);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
}

static void all_done(void) {
    for (int i = 0; i < DEPTH; i++) CHECK_DONE(&cbs[i], 0, BLOCK);
}

int main(void) {
    // Threads are being made while this forks.
    if (emulated()) SKIP("the emulator's own locks are held in the child");
    int fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (fd < 0) fd = temp_file();
    submit_all(fd);
    all_done();
    for (int round = 0; round < 20; round++) {
        submit_all(fd);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            for (int again = 0; again < 3; again++) {
                submit_all(fd);
                all_done();
            }
            _exit(0);
        }
        all_done();
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(status == 0, "status %#x", (unsigned)status);
    }
    return 0;
}
