// A fork in the middle of aio_write, aio_fsync or close, as a signal handler may do it: in the child the call goes on, and
// the request that it hands in is the child's own.
// modes: shared,preload,portable
#include "check.h"
#include <stdarg.h>

// volatile: <aio.h> says that its functions call nothing here.
static volatile int armed;
static volatile pid_t child;

// The library's calls come here: it asks for the flags of a descriptor, and duplicates one.
int fork_in_fcntl(int fd, int command, ...) __asm__("fcntl");

int fork_in_fcntl(int fd, int command, ...) {
    typedef int call(int, int, ...);
    static call *libc_fcntl;
    if (!libc_fcntl) libc_fcntl = (call *)dlsym(RTLD_NEXT, "fcntl");
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (armed && command == armed) {
        armed = 0;
        child = fork();
    }
    return libc_fcntl(fd, command, argument);
}

static void goes_on(struct aiocb *cb, ssize_t result) {
    CHECK_DONE(cb, 0, result);
    if (child == 0) _exit(0);
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(status == 0, "child: status %x", status);
}

// The descriptor's request runs, and another is queued: close gives them a duplicate, and waits until that is used.
static void closes(void) {
    int fd = temp_file();
    struct held h = hold(4096);
    struct aiocb head = request(fd, h.buffer, 4096, 0), queued = request(fd, h.buffer, 4096, 0);
    CHECK_EQ(aio_write(&head), 0);
    wait_held(&h);
    CHECK_EQ(aio_write(&queued), 0);
    armed = F_DUPFD_CLOEXEC;
    CHECK_EQ(close(fd), 0);
    CHECK(!armed);
    if (child == 0) _exit(0);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    goes_on(&queued, 4096);
}

int main(void) {
    // In the portable build close waits for what runs.
    if (is_library() && !is_portable()) closes();
    int fd = temp_file();
    for (int i = 0; i < 10; i++) {
        struct aiocb cb = request(fd, "data", 4, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4);
        child = -1;
        armed = is_library() ? F_GETFL : 0;
        CHECK_EQ(aio_write(&cb), 0);
        CHECK(!armed);
        CHECK(child >= 0 || !is_library());
        if (is_library())
            goes_on(&cb, 4);
        else
            wait_done(&cb);
        armed = is_library() ? F_GETFL : 0;
        CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &cb), 0);
        if (is_library())
            goes_on(&cb, 0);
        else
            wait_done(&cb);
    }
    return 0;
}
