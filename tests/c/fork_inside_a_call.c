// A fork in the middle of aio_write or aio_fsync, as a signal handler may do it: in the child the call goes on, and the
// request that it hands in is the child's own.
// modes: shared,preload,portable
#include "check.h"
#include <stdarg.h>

// volatile: <aio.h> says that its functions call nothing here.
static volatile bool armed;
static volatile pid_t child;

// The library's calls come here: it asks for the flags of a descriptor.
int fork_in_fcntl(int fd, int command, ...) __asm__("fcntl");

int fork_in_fcntl(int fd, int command, ...) {
    typedef int call(int, int, ...);
    static call *libc_fcntl;
    if (!libc_fcntl) libc_fcntl = (call *)dlsym(RTLD_NEXT, "fcntl");
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (armed && command == F_GETFL) {
        armed = false;
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

int main(void) {
    int fd = temp_file();
    for (int i = 0; i < 10; i++) {
        struct aiocb cb = request(fd, "data", 4, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4);
        child = -1;
        armed = is_library();
        CHECK_EQ(aio_write(&cb), 0);
        CHECK(!armed);
        CHECK(child >= 0 || !is_library());
        if (is_library())
            goes_on(&cb, 4);
        else
            wait_done(&cb);
        armed = is_library();
        CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &cb), 0);
        if (is_library())
            goes_on(&cb, 0);
        else
            wait_done(&cb);
    }
    return 0;
}
