// A mode that is neither LIO_WAIT nor LIO_NOWAIT is -1/EINVAL, and nothing is submitted.
#include "check.h"

int main(void) {
    int fd = temp_file();
    struct aiocb cb = request(fd, "x", 1, 0), *list[] = {&cb};
    cb.aio_lio_opcode = LIO_WRITE;
    const int bad[] = {2, 3, -1, 100, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_FAILS(lio_listio(bad[i], list, 1, NULL), EINVAL);
        CHECK_FAILS(lio_listio(bad[i], list, 0, NULL), EINVAL);
    }
    settle();
    CHECK_EQ(lseek(fd, 0, SEEK_END), 0);
    return 0;
}
