// A list without entries: LIO_WAIT gives 0, LIO_NOWAIT notifies at once.
#include "check.h"

static int called;

static void callback(union sigval value) { __atomic_store_n(&called, value.sival_int, __ATOMIC_RELEASE); }

int main(void) {
    block_signal(SIGRTMIN);
    struct aiocb of_list = {0}, *list[1] = {NULL};
    notify_by_signal(&of_list, SIGRTMIN, 5);
    CHECK_EQ(lio_listio(LIO_WAIT, list, 0, NULL), 0);
    CHECK_EQ(lio_listio(LIO_WAIT, list, 0, &of_list.aio_sigevent), 0);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 0, NULL), 0);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 0, &of_list.aio_sigevent), 0);
    CHECK_EQ(take_signal(SIGRTMIN).si_value.sival_int, 5);

    of_list.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 7};
    of_list.aio_sigevent.sigev_notify_function = callback;
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 0, &of_list.aio_sigevent), 0);
    WAIT_FOR(__atomic_load_n(&called, __ATOMIC_ACQUIRE) == 7);

    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGRTMIN));
    return 0;
}
