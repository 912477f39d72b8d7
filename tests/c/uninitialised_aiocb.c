// An aiocb of which only descriptor, buffer, count, offset and priority were set, in memory that held something else: the request
// is made, and notifies nobody, unless what is there happens to be one of the constants. So do entries of a list (with
// their opcode) and the list's own sigevent. A signal that does not exist is not sent, and harms no request.
#include "check.h"

enum { BYTES = 512 };

static int fd;
static char data[BYTES];

static void set(struct aiocb *cb, int opcode) {
    cb->aio_fildes = fd;
    cb->aio_buf = data;
    cb->aio_nbytes = BYTES;
    cb->aio_offset = 0;
    cb->aio_reqprio = 0;
    cb->aio_lio_opcode = opcode;
}

// libc makes the request of a signal that does not exist, and then says EINVAL.
static void check_done(struct aiocb *cb, ssize_t result) {
    wait_done(cb);
    if (!is_library() && aio_error(cb) == EINVAL) return;
    CHECK_EQ(aio_error(cb), 0);
    CHECK_EQ(aio_return(cb), result);
}

// Every way to submit it.
static void each(const struct aiocb *as) {
    struct aiocb cb = *as, second = *as, *list[2] = {&cb, &second};
    set(&cb, 4711);
    CHECK_EQ(aio_write(&cb), 0);
    check_done(&cb, BYTES);
    CHECK_EQ(aio_read(&cb), 0);
    check_done(&cb, BYTES);
    CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
    check_done(&cb, 0);
    set(&cb, LIO_READ);
    set(&second, LIO_WRITE);
    struct sigevent event = as->aio_sigevent;
    CHECK(lio_listio(LIO_WAIT, list, 2, &event) == 0 || !is_library());
    check_done(&cb, BYTES);
    check_done(&second, BYTES);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 2, &event), 0);
    check_done(&cb, BYTES);
    check_done(&second, BYTES);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 0, &event), 0);
}

int main(void) {
    sigset_t all, pending;
    sigfillset(&all);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
    fd = temp_file();
    static const unsigned char fills[] = {0x00, 0x5a, 0xa5, 0x7f, 0x80, 0xff, 0x40};
    for (size_t i = 0; i < sizeof fills; i++) {
        struct aiocb cb;
        memset(&cb, fills[i], sizeof cb);
        each(&cb);
    }
    static const int kinds[] = {-1, 3, 5, 6, 77, INT_MAX, INT_MIN, SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD_ID};
    static const int numbers[] = {0, -1, 65, 127, 128, 256, 257, 1000, INT_MAX, INT_MIN};
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        for (size_t number = 0; number < sizeof numbers / sizeof *numbers; number++) {
            struct aiocb cb;
            memset(&cb, 0x5a, sizeof cb);
            cb.aio_sigevent.sigev_notify = kinds[kind];
            cb.aio_sigevent.sigev_signo = numbers[number];
            each(&cb);
        }
    }
    CHECK_EQ(sigpending(&pending), 0);
    for (int i = 1; i <= SIGRTMAX; i++) CHECK(sigismember(&pending, i) != 1, "signal %d was sent", i);
    return 0;
}
