// A function of SIGEV_THREAD that forks and returns in both processes: the child ends, as its only thread does, and runs no
// other function.
// env: AIO_RS=idle=60s
#include "check.h"

enum { COUNT = 20 };

static pid_t main_process, children[COUNT];
static int calls;

static void forks(union sigval value) {
    if (getpid() != main_process) _exit(99);
    pid_t child = fork();
    if (child == 0) return;
    children[value.sival_int] = child;
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELEASE);
}

int main(void) {
    main_process = getpid();
    int fd = temp_file();
    static struct aiocb cbs[COUNT];
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, "data", 4, i * 4);
        cbs[i].aio_sigevent =
            (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = forks, .sigev_value.sival_int = i};
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    WAIT_FOR(__atomic_load_n(&calls, __ATOMIC_ACQUIRE) == COUNT);
    for (int i = 0; i < COUNT; i++) {
        int status = -1;
        pid_t ended = 0;
        WAIT_FOR((ended = waitpid(children[i], &status, WNOHANG)) != 0);
        CHECK_EQ(ended, children[i]);
        CHECK(status == 0, "child %d: status %x", i, status);
    }
    return 0;
}
