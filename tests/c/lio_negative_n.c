// A negative number of entries is -1/EINVAL in lio_listio, and nothing is submitted.
// glibc: fails: lio_listio with a negative count succeeds
#include "check.h"

int main(void) {
    int fd = temp_file();
    struct aiocb cb = request(fd, "x", 1, 0), *list[] = {&cb};
    cb.aio_lio_opcode = LIO_WRITE;
    CHECK_FAILS(lio_listio(LIO_WAIT, list, -1, NULL), EINVAL);
    CHECK_FAILS(lio_listio(LIO_NOWAIT, list, INT_MIN, NULL), EINVAL);
    settle();
    CHECK_EQ(lseek(fd, 0, SEEK_END), 0);
    return 0;
}
