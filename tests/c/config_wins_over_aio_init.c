// What AIO_RS says explicitly wins over aio_init.
// glibc: skip: has no such configuration
// env: AIO_RS=threads=3
#include "check.h"

int main(void) {
    enum { MOST = 6 };
    struct held gates[MOST];
    struct aiocb cbs[MOST];
    aio_init(&(struct aioinit){.aio_threads = 1, .aio_num = 64});
    for (int i = 0; i < MOST; i++) {
        gates[i] = hold(4096);
        cbs[i] = request(temp_file(), gates[i].buffer, 4096, 0);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    for (int i = 0; i < 3; i++) wait_held(&gates[i]);
    for (int i = MOST - 1; i >= 3; i--) {
        CHECK_EQ(aio_cancel(cbs[i].aio_fildes, &cbs[i]), AIO_CANCELED);
        CHECK(untouched(&gates[i]));
    }
    for (int i = 0; i < 3; i++) {
        release_held(&gates[i]);
        CHECK_DONE(&cbs[i], 0, 4096);
    }
    return 0;
}
