// Cancelled requests notify each on its own: signals for which the queue has no room hold up no SIGEV_THREAD
// notification, and come when there is room.
// glibc: fails: with a full signal queue the signals of cancelled requests are lost
#include "check.h"

enum { COUNT = 8 };

static int number, calls[COUNT], total;

static void called(union sigval value) {
    block_signal(number); // no thread but main's is to get it
    __atomic_add_fetch(&calls[value.sival_int], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&total, 1, __ATOMIC_RELEASE);
}

// A limit of zero: that of other processes of the user counts too, so any other would leave room now and then.
static void full_queue(bool full) {
    struct rlimit l;
    CHECK_EQ(getrlimit(RLIMIT_SIGPENDING, &l), 0);
    l.rlim_cur = full ? 0 : l.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &l), 0);
}

int main(void) {
    int fd = temp_file();
    struct held h;
    struct aiocb head, signals[COUNT], functions[COUNT];
    number = SIGRTMIN + 1;
    block_signal(number);
    held_write(&h, &head, fd, 4096, 0, 1);
    for (int i = 0; i < COUNT; i++) { // all wait for the held one
        signals[i] = request(fd, "data", 4, 0);
        notify_by_signal(&signals[i], number, i);
        functions[i] = request(fd, "data", 4, 0);
        functions[i].aio_sigevent = (struct sigevent){
            .sigev_notify = SIGEV_THREAD, .sigev_notify_function = called, .sigev_value.sival_int = i};
        CHECK_EQ(aio_write(&signals[i]), 0);
        CHECK_EQ(aio_write(&functions[i]), 0);
    }
    full_queue(true);
    CHECK_FAILS(sigqueue(getpid(), number, (union sigval){.sival_int = 0}), EAGAIN); // else this would prove nothing
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(aio_cancel(fd, &signals[i]), AIO_CANCELED);
        CHECK_EQ(aio_cancel(fd, &functions[i]), AIO_CANCELED);
        CHECK_DONE(&signals[i], ECANCELED, -1);
        CHECK_DONE(&functions[i], ECANCELED, -1);
    }
    WAIT_FOR(__atomic_load_n(&total, __ATOMIC_ACQUIRE) == COUNT);
    for (int i = 0; i < COUNT; i++) CHECK_EQ(calls[i], 1);

    full_queue(false);
    int seen[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) {
        int value = take_signal(number).si_value.sival_int;
        CHECK(value >= 0 && value < COUNT, "value %d", value);
        CHECK_EQ(seen[value]++, 0);
    }
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    return 0;
}
