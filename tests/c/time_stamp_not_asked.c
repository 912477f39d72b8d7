// The library does not ask for time stamps: since Linux 6.13 a write behind such a question gives its file a stamp of its own,
// finer than the tick, which each fsync would have to write to the disk. So a filter that kills whoever asks kills nobody.
#include "sandbox.h"

// musl's headers lack them.
#ifndef STATX_MTIME
#define STATX_MTIME 0x40U
#define STATX_CTIME 0x80U
#endif

// fstat and its like; statx if it wants stamps of changes.
static void kill_who_asks(void) {
    const unsigned stamps = STATX_MTIME | STATX_CTIME;
    const int calls[] = {
#ifdef SYS_fstat
        SYS_fstat,
#endif
#ifdef SYS_stat
        SYS_stat, SYS_lstat,
#endif
        SYS_newfstatat,
    };
    enum { CALLS = sizeof calls / sizeof *calls };
    struct sock_filter program[CALLS + 6];
    size_t n = 0;
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < CALLS; i++)
        program[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], (unsigned char)(CALLS - i + 3), 0);
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_statx, 0, 2);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3]));
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, stamps, 1, 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    install_filter(program, n);
}

static void expect(int signal, void (*run)(int), int fd) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        kill_who_asks();
        run(fd);
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (signal) CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signal, "status %x", status);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 77) _exit(77);
    else CHECK(status == 0, "status %x", status);
}

static void requests(int fd) {
    static unsigned char data[64];
    int p[2], twin = dup(fd);
    CHECK_EQ(pipe(p), 0);
    for (int i = 0; i < 20; i++) {
        struct aiocb cb = request(fd, data, sizeof data, i * 64), again = request(twin, data, sizeof data, i * 64), sync = cb;
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_EQ(aio_read(&again), 0);
        CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &sync), 0);
        CHECK_DONE(&cb, 0, sizeof data);
        CHECK_DONE(&sync, 0, 0);
        wait_done(&again);
        struct aiocb out = request(p[1], data, sizeof data, 0), in = request(p[0], data, sizeof data, 0);
        CHECK_EQ(aio_write(&out), 0);
        CHECK_EQ(aio_read(&in), 0);
        CHECK_DONE(&in, 0, sizeof data);
        CHECK_DONE(&out, 0, sizeof data);
    }
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    CHECK_EQ(close(twin), 0);
}

static void by_fstat(int fd) {
    struct stat found;
    fstat(fd, &found);
}

static void by_statx(int fd) {
    char found[256]; // struct statx
    unsigned basic = 0x7ff;
    syscall(SYS_statx, fd, "", AT_EMPTY_PATH, basic, found);
}

int main(void) {
    int fd = temp_file();
    // Where system calls are translated nothing can be learned.
    if (emulated()) SKIP("under an emulator");
    expect(SIGSYS, by_fstat, fd); // else this would prove nothing
    expect(SIGSYS, by_statx, fd);
    expect(0, requests, fd);
    return 0;
}
