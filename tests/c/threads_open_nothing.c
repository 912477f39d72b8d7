// No thread of the library opens a file, not for a moment: the program's next descriptor would not be the lowest free one, and a
// child could inherit it. Also not to find out whether a request hangs among many quick ones.
// env: AIO_RS=routes=stream+worker,idle=60s
// may-skip: the emulator opens files itself
// glibc: skip: one slow request of a descriptor holds up all others of it
#include "sandbox.h"

enum { DEPTH = 32, LENGTH = 512, ROUNDS = 10, QUICK = 3000 };

static struct aiocb cbs[DEPTH];
static char data[DEPTH][LENGTH];

// The process is killed by it.
static void open_no_more(void) {
    static const int calls[] = {SYS_openat, SYS_openat2,
#ifdef SYS_open
                                SYS_open
#endif
    };
    struct sock_filter program[8];
    size_t n = 0, count = sizeof calls / sizeof *calls;
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++)
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i],
                                                    (unsigned char)(count - i), 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    install_filter(program, n);
}

static void submit(int fd, void *buffer, int i, bool write) {
    cbs[i] = request(fd, buffer, LENGTH, i * LENGTH);
    CHECK_EQ(write ? aio_write(&cbs[i]) : aio_read(&cbs[i]), 0);
}

// As long as there is always something to do, and it is quick, one thread does it all.
static void many_quick_ones(int fd, bool write) {
    for (int i = 0; i < DEPTH; i++) submit(fd, data[i], i, write);
    for (int k = 0; k < QUICK; k++) {
        CHECK_DONE(&cbs[k % DEPTH], 0, LENGTH);
        submit(fd, data[k % DEPTH], k % DEPTH, write);
    }
    for (int i = 0; i < DEPTH; i++) CHECK_DONE(&cbs[i], 0, LENGTH);
}

static void one_hangs(int fd, struct held *h, int which, bool write) {
    for (int i = 0; i < DEPTH; i++) submit(fd, i == which ? h->buffer : data[i], i, write);
    // On most file systems a write that hangs holds up those of its file.
    for (int i = 0; i < DEPTH; i++)
        if (i != which && !write) CHECK_DONE(&cbs[i], 0, LENGTH);
    wait_held(h);
    release_held(h);
    for (int i = 0; i < DEPTH; i++)
        if (i == which || write) CHECK_DONE(&cbs[i], 0, LENGTH);
}

static void run(int fd) {
    static struct held held[2 * ROUNDS];
    for (int i = 0; i < 2 * ROUNDS; i++) held[i] = hold(LENGTH);
    many_quick_ones(fd, false);
    open_no_more();
    for (int round = 0; round < ROUNDS; round++) {
        many_quick_ones(fd, false);
        one_hangs(fd, &held[2 * round], round, false);
        many_quick_ones(fd, true);
        one_hangs(fd, &held[2 * round + 1], round, true);
    }
}

// In a child: the directory of the tests is opened at the end.
int main(void) {
    if (emulated()) SKIP("the emulator's own threads open files");
    int fd = temp_file(), status = -1;
    put_pattern(fd, 0, DEPTH * LENGTH, 1);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        run(fd);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS, "a thread has opened a file");
    return WEXITSTATUS(status);
}
