// A sandbox that comes when O_DIRECT transfers are already under way, and forbids to wait for their results, or to hand over
// more of them: all of them end.
// may-skip: the file system of the temporary directory decides
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#ifndef SYS_io_pgetevents
#define SYS_io_pgetevents 333
#endif

enum { BLOCK = 4096, BLOCKS = 256, DEPTH = 16, ROUNDS = 200 };

static int fd;
static unsigned char *buffers[DEPTH];
static struct aiocb cbs[DEPTH];

static void forbid(const int *calls, unsigned count) {
    struct sock_filter program[16];
    size_t n = 0;
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < count; i++)
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i],
                                                    (unsigned char)(count - i), 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog filter = {.len = (unsigned short)n, .filter = program};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    // In the library's threads, too.
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter))
        SKIP("no seccomp: %s", check_errno(errno));
    CHECK_FAILS(syscall(calls[0], 0, 0, 0, 0, 0, 0), EPERM); // else this would prove nothing
}

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

static void under(const int *calls, unsigned count) {
    for (unsigned round = 0; round < ROUNDS; round++) {
        start(round * 7);
        if (round == ROUNDS / 2) forbid(calls, count);
        end(round * 7);
    }
}

int main(void) {
    static const int wait[] = {SYS_io_pgetevents}, take[] = {SYS_io_getevents, SYS_io_pgetevents},
                     all[] = {SYS_io_submit, SYS_io_getevents, SYS_io_pgetevents};
    static const struct {
        const int *calls;
        unsigned count;
    } sandboxes[] = {{wait, 1}, {take, 2}, {all, 3}};
    fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (fd < 0) SKIP("no O_DIRECT here: %s", check_errno(errno));
    block_signal(SIGUSR1);
    for (unsigned i = 0; i < DEPTH; i++) CHECK((buffers[i] = aligned_alloc(BLOCK, BLOCK)) != NULL);
    for (unsigned i = 0; i < BLOCKS; i++) {
        fill(buffers[0], BLOCK, i + 1);
        CHECK_EQ(pwrite(fd, buffers[0], BLOCK, (off_t)i * BLOCK), BLOCK);
    }
    for (unsigned i = 0; i < sizeof sandboxes / sizeof *sandboxes; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            under(sandboxes[i].calls, sandboxes[i].count);
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) return 77;
        CHECK(status == 0, "sandbox %u: status %x", i, status);
    }
    return 0;
}
