// aio_suspend is a cancellation point: a thread cancelled in it runs its cleanup handlers and leaves nothing behind.
#include "check.h"

static void wait_in_suspend(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    aio_suspend(list, 1, NULL);
}

int main(void) {
    check_cancelled_in(wait_in_suspend, aio_read);
    return 0;
}
