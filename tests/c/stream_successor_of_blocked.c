// A stream that cannot be polled is read and written by threads that block; when such a request has ended, the next one
// of the stream runs, and the next.
#include "sandbox.h"

// No stream can be polled, or none of these descriptors.
enum refused { ALL, SOME, REFUSALS, FIRST_REFUSED = 200, LAST_REFUSED = 300 };

static void forbid_epoll(enum refused refused) {
    if (refused == ALL) {
        forbid((int[]){SYS_epoll_create1}, 1, EMFILE);
        return;
    }
    struct sock_filter some[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_ctl, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])), // its lower half
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_REFUSED, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST_REFUSED, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install_filter(some, sizeof some / sizeof *some);
    CHECK_FAILS(syscall(SYS_epoll_ctl, -1, 1, FIRST_REFUSED, NULL), ENOSPC); // else this would prove nothing
}

// Gives a descriptor a number that the filter refuses.
static int renumbered(int fd) {
    int moved = fcntl(fd, F_DUPFD, FIRST_REFUSED);
    CHECK(moved >= FIRST_REFUSED && moved <= LAST_REFUSED);
    close(fd);
    return moved;
}

static void reads(int reader, int writer) {
    enum { COUNT = 5 };
    struct aiocb cbs[COUNT];
    char bytes[COUNT + 1] = "";
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(reader, &bytes[i], 1, 0);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(aio_error(&cbs[i]), EINPROGRESS);
        CHECK_EQ(write(writer, &"abcde"[i], 1), 1);
        CHECK_DONE(&cbs[i], 0, 1);
    }
    CHECK(strcmp(bytes, "abcde") == 0, "%s", bytes);
    close(reader);
    close(writer);
}

// Reads that many bytes, which must come in time.
static void take(int reader, unsigned char *to, size_t length) {
    for (size_t at = 0; at < length;) {
        struct pollfd in = {.fd = reader, .events = POLLIN};
        CHECK_EQ(poll(&in, 1, PATIENCE_S * 1000), 1);
        ssize_t got = read(reader, to + at, length - at);
        CHECK(got > 0);
        at += (size_t)got;
    }
}

static void writes(void) {
    enum { COUNT = 3, LENGTH = 1 << 20 }; // more than the pipe takes, so that each of them waits
    int p[2], zeros;
    struct aiocb cbs[COUNT];
    static unsigned char data[COUNT][LENGTH], back[LENGTH];
    full_pipe(p);
    CHECK(ioctl(p[0], FIONREAD, &zeros) == 0 && zeros <= LENGTH);
    p[1] = renumbered(p[1]);
    for (int i = 0; i < COUNT; i++) {
        fill(data[i], LENGTH, (unsigned)i);
        cbs[i] = request(p[1], data[i], LENGTH, 0);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    take(p[0], back, (size_t)zeros);
    for (int i = 0; i < COUNT; i++) {
        take(p[0], back, LENGTH);
        CHECK(holds(back, LENGTH, (unsigned)i));
        CHECK_DONE(&cbs[i], 0, LENGTH);
    }
    close(p[0]);
    close(p[1]);
}

static void run(enum refused refused) {
    forbid_epoll(refused);
    // Another stream waits all the time: where it can be polled, that is being done.
    int q[2], p[2], s[2];
    char byte;
    CHECK_EQ(pipe(q), 0);
    struct aiocb waiting = request(q[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pipe(p), 0);
        reads(renumbered(p[0]), p[1]);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
        reads(renumbered(s[0]), s[1]);
        writes();
    }
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    CHECK_EQ(write(q[1], "x", 1), 1);
    CHECK_DONE(&waiting, 0, 1);
}

int main(void) {
    for (enum refused refused = ALL; refused < REFUSALS; refused++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            run(refused);
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) return 77;
        CHECK(status == 0, "%s refused: status %x", refused == ALL ? "all" : "some", status);
    }
    return 0;
}
