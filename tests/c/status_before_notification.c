// Whoever is notified finds the final status and the data: signal handler, signal waiter, callback, list.
#include "check.h"
#include <semaphore.h>

static unsigned char buffer[64];
static struct aiocb cb, other;
static sem_t told;
static volatile int error_seen;
static volatile ssize_t result_seen;
static volatile bool data_seen;

static void look(unsigned seed) {
    error_seen = aio_error(&cb);
    result_seen = error_seen == EINPROGRESS ? -2 : aio_return(&cb);
    data_seen = holds(buffer, sizeof buffer, seed);
    sem_post(&told);
}

static void handler(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    look((unsigned)info->si_value.sival_int);
}

static void callback(union sigval value) { look((unsigned)value.sival_int); }

static void list_callback(union sigval value) {
    CHECK(aio_error(&other) == 0, "the list is told before its second member has ended");
    look((unsigned)value.sival_int);
}

static void check_told(void) {
    while (sem_wait(&told)) {}
    CHECK_EQ(error_seen, 0);
    CHECK_EQ(result_seen, sizeof buffer);
    CHECK(data_seen);
    memset(buffer, 0, sizeof buffer);
}

int main(void) {
    sem_init(&told, 0, 0);
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    CHECK_EQ(sigaction(SIGRTMIN + 2, &action, NULL), 0);
    int fd = temp_file();
    for (unsigned seed = 1; seed <= 3000; seed++) {
        put_pattern(fd, 0, sizeof buffer, seed);
        cb = request(fd, buffer, sizeof buffer, 0);
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = (int)seed};
        if (seed % 3 == 1) {
            cb.aio_sigevent = event;
            CHECK_EQ(aio_read(&cb), 0);
        } else if (seed % 3 == 2) {
            event.sigev_notify = SIGEV_THREAD;
            event.sigev_notify_function = callback;
            cb.aio_sigevent = event;
            CHECK_EQ(aio_read(&cb), 0);
        } else {
            event.sigev_notify = SIGEV_THREAD;
            event.sigev_notify_function = list_callback;
            other = request(fd, "x", 1, 1000);
            cb.aio_lio_opcode = LIO_READ;
            other.aio_lio_opcode = LIO_WRITE;
            struct aiocb *list[2] = {&cb, &other};
            CHECK_EQ(lio_listio(LIO_NOWAIT, list, 2, &event), 0);
        }
        check_told();
    }
    return 0;
}
