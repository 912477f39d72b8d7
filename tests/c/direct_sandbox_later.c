// A sandbox that comes when O_DIRECT transfers are already under way, and forbids to wait for their results, or to hand over
// more of them: all of them end.
// may-skip: the file system of the temporary directory decides
#include "sandbox.h"

#ifndef SYS_io_pgetevents
#define SYS_io_pgetevents 333
#endif

// Large ones, so that several are under way when the first has ended.
enum { BLOCK = 256 << 10, BLOCKS = 32, DEPTH = 16, ROUNDS = 40 };

static int fd;
static unsigned char *buffers[DEPTH];
static struct aiocb cbs[DEPTH];

static void start(unsigned first) {
    for (unsigned i = 0; i < DEPTH; i++) {
        memset(buffers[i], 0, BLOCK);
        cbs[i] = request(fd, buffers[i], BLOCK, (off_t)((first + i) % BLOCKS) * BLOCK);
        if (i == 3) notify_by_signal(&cbs[i], SIGUSR1, 3);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
}

static void end(unsigned first) {
    CHECK_EQ(take_signal(SIGUSR1).si_value.sival_int, 3);
    for (unsigned i = 0; i < DEPTH; i++) {
        CHECK_DONE(&cbs[i], 0, BLOCK);
        CHECK(holds(buffers[i], BLOCK, (first + i) % BLOCKS + 1), "request %u", i);
    }
}

struct sandbox {
    int calls[3];
    unsigned count;
};

static void under(struct sandbox at_first, struct sandbox later) {
    if (at_first.count) forbid(at_first.calls, at_first.count, EPERM);
    for (unsigned round = 0; round < ROUNDS; round++) {
        start(round * 7);
        if (round == ROUNDS / 2) forbid(later.calls, later.count, EPERM);
        end(round * 7);
    }
}

int main(void) {
    static const struct sandbox nothing = {{0}, 0}, watch = {{SYS_io_pgetevents}, 1},
                                take = {{SYS_io_getevents, SYS_io_pgetevents}, 2},
                                all = {{SYS_io_submit, SYS_io_getevents, SYS_io_pgetevents}, 3};
    const struct sandbox cases[][2] = {{nothing, watch}, {nothing, take}, {nothing, all}, {watch, take}, {watch, all}};
    fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (fd < 0) SKIP("no O_DIRECT here: %s", check_errno(errno));
    block_signal(SIGUSR1);
    for (unsigned i = 0; i < DEPTH; i++) CHECK((buffers[i] = aligned_alloc(4096, BLOCK)) != NULL);
    for (unsigned i = 0; i < BLOCKS; i++) {
        fill(buffers[0], BLOCK, i + 1);
        CHECK_EQ(pwrite(fd, buffers[0], BLOCK, (off_t)i * BLOCK), BLOCK);
    }
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            under(cases[i][0], cases[i][1]);
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) return 77;
        CHECK(status == 0, "sandbox %u: status %x", i, status);
    }
    return 0;
}
