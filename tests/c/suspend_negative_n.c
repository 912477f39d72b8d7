// A negative number of entries is -1/EINVAL in aio_suspend.
#include "check.h"

int main(void) {
    char byte;
    struct aiocb cb = request(temp_file(), &byte, 1, 0);
    const struct aiocb *list[] = {&cb};
    struct timespec timeout = {0, 0};
    CHECK_FAILS(aio_suspend(list, -1, &timeout), EINVAL);
    CHECK_FAILS(aio_suspend(list, INT_MIN, NULL), EINVAL);
    return 0;
}
