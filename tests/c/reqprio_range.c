// aio_reqprio from 0 to 20 (AIO_PRIO_DELTA_MAX) is taken, anything else is -1/EINVAL at once.
#include "check.h"

int main(void) {
    int fd = temp_file();
    char buffer[8] = "1234567";
    const int bad[] = {-1, 21, 22, 1000, INT_MIN, INT_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct aiocb cb = request(fd, buffer, sizeof buffer, 0), *list[] = {&cb};
        cb.aio_reqprio = bad[i];
        CHECK_FAILS(aio_write(&cb), EINVAL);
        CHECK_FAILS(aio_read(&cb), EINVAL);
        cb.aio_lio_opcode = LIO_WRITE;
        CHECK(lio_listio(LIO_WAIT, list, 1, NULL) == -1 && (errno == EIO || errno == EINVAL));
        CHECK_EQ(aio_error(&cb), EINVAL);
    }
    CHECK_EQ(lseek(fd, 0, SEEK_END), 0);
    for (int priority = 0; priority <= 20; priority++) {
        struct aiocb cb = request(fd, buffer, sizeof buffer, 0);
        cb.aio_reqprio = priority;
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, sizeof buffer);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, sizeof buffer);
    }
    return 0;
}
