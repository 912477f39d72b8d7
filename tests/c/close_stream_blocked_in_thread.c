// Closing a stream whose request blocks inside a thread, as one does that cannot be polled, returns at once: what is
// written still reaches the other end, and a read that waits ends with it.
// takes: 3
#include "sandbox.h"

// From here on nothing can be polled by the library: a sandbox forbids epoll.
static void forbid_epoll(void) { forbid((int[]){SYS_epoll_create1}, 1, EPERM); }

// Whether a thread is inside read or write on a descriptor.
static bool in_transfer(int fd) {
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    bool found = false;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], text[256] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/syscall", entry->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        long number;
        unsigned long first;
        if (read(file, text, sizeof text - 1) > 0 && sscanf(text, "%ld 0x%lx", &number, &first) == 2)
            found |= (number == SYS_read || number == SYS_write) && first == (unsigned long)fd;
        close(file);
    }
    closedir(dir);
    return found;
}

static void *close_it(void *fd) {
    CHECK_EQ(close((int)(intptr_t)fd), 0);
    return NULL;
}

static void close_blocked(int fd) {
    if (!is_portable()) WAIT_FOR(in_transfer(fd)); // that one polls by other means
    join_thread(start_thread(close_it, (void *)(intptr_t)fd));
}

static void close_read(int reader, int writer) {
    char byte = 0;
    struct aiocb cb = request(reader, &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    close_blocked(reader);
    ssize_t sent = write(writer, "x", 1);
    CHECK_EQ(close(writer), 0);
    wait_done(&cb);
    if (aio_error(&cb) == 0) // otherwise it was cancelled
        CHECK(aio_return(&cb) == sent && byte == 'x');
    else
        CHECK_DONE(&cb, ECANCELED, -1);
}

static void close_write(void) {
    int p[2];
    static char back[65536];
    int file = temp_file();
    full_pipe(p);
    struct aiocb cb = request(p[1], "the last", 8, 0);
    CHECK_EQ(aio_write(&cb), 0);
    close_blocked(p[1]);
    int reused = dup2(file, p[1]);
    CHECK_EQ(reused, p[1]);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    char last[9] = "";
    for (ssize_t got; (got = read(p[0], back, sizeof back)) > 0;) {
        size_t taken = (size_t)got < 8 ? (size_t)got : 8; // the write is so short that it stays in one piece
        memcpy(last, back + (size_t)got - taken, taken);
    }
    CHECK(strcmp(last, "the last") == 0, "%s", last);
    CHECK_DONE(&cb, 0, 8);
    struct stat st;
    CHECK_EQ(fstat(reused, &st), 0);
    CHECK_EQ(st.st_size, 0);
    close(reused);
    close(file);
    close(p[0]);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    forbid_epoll();
    for (int i = 0; i < 10; i++) {
        int p[2], s[2];
        CHECK_EQ(pipe(p), 0);
        close_read(p[0], p[1]);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
        close_read(s[0], s[1]);
        close_write();
    }
    return 0;
}
