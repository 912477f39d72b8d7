// An io_submit without a sync, and an io_getevents, make no system call but their own: in a sandbox that kills for others.
// interface: libaio
// may-skip: an emulator has no sandboxes
#include "rings.h"
#include "sandbox.h"

enum { COUNT = 16, ROUNDS = 500 };

#define MAY_MAKE(number)                                                                                               \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void only_these_calls(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        MAY_MAKE(SYS_io_submit),
        MAY_MAKE(SYS_io_getevents),
        MAY_MAKE(SYS_exit_group),
        MAY_MAKE(SYS_write), // says what went wrong
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    install_filter(rules, sizeof rules / sizeof *rules);
}

static void rounds(io_context_t made, int fd, int count) {
    static struct iocb blocks[COUNT];
    static struct io_event events[COUNT];
    static char data[COUNT][BLOCK];
    struct iocb *list[COUNT];
    for (int round = 0; round < count; round++) {
        for (int i = 0; i < COUNT; i++) {
            if (round % 2) io_prep_pread(&blocks[i], fd, data[i], BLOCK, i * BLOCK);
            else io_prep_pwrite(&blocks[i], fd, data[i], BLOCK, i * BLOCK);
            list[i] = &blocks[i];
        }
        submit(made, list, COUNT / 2);
        for (int i = COUNT / 2; i < COUNT; i++) submit(made, &list[i], 1);
        reap_all(made, round % 3 ? BY_CALL : BY_RING, events, COUNT);
        for (int i = 0; i < COUNT; i++) CHECK_EQ(events[i].res, BLOCK);
    }
}

int main(void) {
    int fd = temp_file(); // what it does is done when io_submit returns: the ring is never waited for
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        io_context_t made = context(COUNT);
        rounds(made, fd, 2); // the library looks once whether memory can be read
        only_these_calls();
        rounds(made, fd, ROUNDS);
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status), "killed by %s: another system call", strsignal(WTERMSIG(status)));
    return WEXITSTATUS(status);
}
