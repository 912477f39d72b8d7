// When a request of an LIO_WAIT list fails, the call gives -1/EIO; the others have all ended.
#include "check.h"

enum { N = 8 };

int main(void) {
    int fd = temp_file();
    for (int failing = 0; failing < N; failing++) {
        struct aiocb cbs[N], *list[N];
        for (int i = 0; i < N; i++) {
            // The first rounds fail when they run (EFAULT), the others before (EBADF).
            cbs[i] = request(fd, "x", 1, i);
            if (i == failing && failing < N / 2) cbs[i].aio_buf = (void *)8;
            if (i == failing && failing >= N / 2) cbs[i].aio_fildes = -1;
            cbs[i].aio_lio_opcode = LIO_WRITE;
            list[i] = &cbs[i];
        }
        CHECK_FAILS(lio_listio(LIO_WAIT, list, N, NULL), EIO);
        for (int i = 0; i < N; i++) {
            CHECK_EQ(aio_error(&cbs[i]), i != failing ? 0 : failing < N / 2 ? EFAULT : EBADF);
            CHECK_EQ(aio_return(&cbs[i]), i != failing ? 1 : -1);
        }
    }
    return 0;
}
