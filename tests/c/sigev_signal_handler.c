// The signal of a completion runs the program's handler with the value, in a thread of the program.
#include "check.h"

enum { COUNT = 500 };

static volatile sig_atomic_t count;
static volatile sig_atomic_t wrong;
static int seen[COUNT];
static pid_t main_thread;

static void handler(int number, siginfo_t *info, void *context) {
    (void)context;
    int i = info->si_value.sival_int;
    if (number != SIGRTMIN + 3 || info->si_code != SI_ASYNCIO || thread_id() != main_thread || i < 0 || i >= COUNT)
        wrong = 1;
    else
        seen[i]++;
    count++;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    CHECK_EQ(sigaction(SIGRTMIN + 3, &action, NULL), 0);
    main_thread = thread_id();
    int fd = temp_file();
    static struct aiocb cbs[COUNT];
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, "data", 4, i * 4);
        cbs[i].aio_sigevent =
            (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3, .sigev_value.sival_int = i};
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) CHECK_DONE(&cbs[i], 0, 4);
    WAIT_FOR(count == COUNT);
    CHECK_EQ(wrong, 0);
    for (int i = 0; i < COUNT; i++) CHECK_EQ(seen[i], 1);
    return 0;
}
