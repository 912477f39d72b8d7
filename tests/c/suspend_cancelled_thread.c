// aio_suspend is a cancellation point, whether it waits for one request or for several: a thread cancelled in it runs its
// cleanup handlers and leaves nothing behind.
#include "check.h"

static struct aiocb endless;

static void wait_in_suspend(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    aio_suspend(list, 1, NULL);
}

static void wait_for_two(struct aiocb *cb) {
    const struct aiocb *list[] = {&endless, cb};
    aio_suspend(list, 2, NULL);
}

int main(void) {
    check_cancelled_in(wait_in_suspend, aio_read);
    int idle[2];
    char byte;
    CHECK_EQ(pipe(idle), 0);
    endless = request(idle[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&endless), 0);
    check_cancelled_in(wait_for_two, aio_read);
    return 0;
}
