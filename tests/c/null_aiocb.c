// A NULL aiocb is EINVAL in every call.
// glibc: fails: a NULL aiocb kills the process
#include "check.h"

int main(void) {
    struct aiocb *volatile null = NULL;
    CHECK_FAILS(aio_read(null), EINVAL);
    CHECK_FAILS(aio_write(null), EINVAL);
    CHECK_FAILS(aio_fsync(O_SYNC, null), EINVAL);
    int error = aio_error(null);
    CHECK(error == EINVAL || (error == -1 && errno == EINVAL), "aio_error gives %d", error);
    CHECK_FAILS(aio_return(null), EINVAL);
    return 0;
}
