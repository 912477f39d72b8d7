// A thread that sleeps in aio_suspend or LIO_WAIT until a request with a signal ends has run the handler when the call returns.
// timeout: 120
#include "check.h"

#include <linux/futex.h>

enum { ROUNDS = 150 };

static volatile sig_atomic_t handled;

static void handle(int number) {
    (void)number;
    handled = 1;
}

// Whether the thread sleeps in the wait itself, not for a lock on the way there: waits for a word go by FUTEX_WAIT_BITSET.
static bool waits(pid_t tid) {
    char path[80];
    long call = -1, arguments[2] = {0};
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    int got = fscanf(file, "%ld %li %li", &call, &arguments[0], &arguments[1]);
    fclose(file);
    bool polls = call == SYS_ppoll;
#ifdef SYS_poll
    polls |= call == SYS_poll;
#endif
    return got == 3 && (polls || (call == SYS_futex && (arguments[1] & 127) == FUTEX_WAIT_BITSET));
}

struct late {
    pid_t tid;
    int fd;
};

static void *write_late(void *argument) {
    struct late *late = argument;
    // Where that cannot be seen (an emulator has other numbers), long enough is good enough.
    for (int tries = 0; tries < 200 && !waits(late->tid); tries++) pause_ms(1);
    wait_thread_blocked(late->tid);
    CHECK_EQ(write(late->fd, "x", 1), 1);
    return NULL;
}

int main(void) {
    int p[2];
    char byte;
    CHECK_EQ(pipe(p), 0);
    on_signal(SIGRTMIN, handle);
    for (int round = 0; round < ROUNDS; round++) {
        struct aiocb cb = request(p[0], &byte, 1, 0), *list[] = {&cb};
        notify_by_signal(&cb, SIGRTMIN, round);
        cb.aio_lio_opcode = LIO_READ;
        handled = 0;
        struct late late = {thread_id(), p[1]};
        pthread_t writer = start_thread(write_late, &late);
        if (round % 2) {
            int got = lio_listio(LIO_WAIT, list, 1, NULL);
            CHECK(got == 0 || errno == EINTR);
        } else {
            CHECK_EQ(aio_read(&cb), 0);
            while (aio_suspend((const struct aiocb *const *)list, 1, NULL)) CHECK_EQ(errno, EINTR);
        }
        CHECK(handled == 1, "round %d", round);
        join_thread(writer);
        CHECK_DONE(&cb, 0, 1);
    }
    return 0;
}
