// Who is notified of a request may use its aiocb for the next one at once: from the callback and from the handler.
#include "check.h"
#include <semaphore.h>

enum { ROUNDS = 3000 };

static struct aiocb cb;
static uint32_t number;
static int fd, rounds;
static sem_t done;

static void next(void) {
    if (aio_error(&cb) != 0 || aio_return(&cb) != 4) FAIL("round %d: %d", rounds, aio_error(&cb));
    if (++rounds == ROUNDS) {
        sem_post(&done);
        return;
    }
    number = (uint32_t)rounds;
    cb.aio_offset = 4 * rounds;
    if (aio_write(&cb)) FAIL("round %d: %s", rounds, strerrorname_np(errno));
}

static void callback(union sigval value) {
    (void)value;
    next();
}

static void handler(int signal_number) {
    (void)signal_number;
    next();
}

static void run(struct sigevent event) {
    rounds = 0;
    number = 0;
    fd = temp_file();
    cb = request(fd, &number, 4, 0);
    cb.aio_sigevent = event;
    CHECK_EQ(aio_write(&cb), 0);
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    int got;
    do got = sem_timedwait(&done, &deadline);
    while (got && errno == EINTR);
    CHECK_EQ(got, 0);
    static uint32_t back[ROUNDS];
    CHECK_EQ(pread(fd, back, sizeof back, 0), (ssize_t)sizeof back);
    for (uint32_t i = 0; i < ROUNDS; i++) CHECK_EQ(back[i], i);
    close(fd);
}

int main(void) {
    sem_init(&done, 0, 0);
    on_signal(SIGRTMIN, handler);
    run((struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = callback});
    run((struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN});
    return 0;
}
