// aio_init bounds the threads that run requests, before the first request and after it.
#include "check.h"

enum { MOST = 12 };

static struct held gates[MOST];
static struct aiocb cbs[MOST];

static void submit(int count) {
    for (int i = 0; i < count; i++) {
        int fd = temp_file();
        gates[i] = hold(4096);
        cbs[i] = request(fd, gates[i].buffer, 4096, 0);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
}

static void end_all(int count) {
    for (int i = 0; i < count; i++) release_held(&gates[i]);
    for (int i = 0; i < count; i++) {
        wait_done(&cbs[i]);
        close(cbs[i].aio_fildes);
        free_held(&gates[i]);
    }
}

int main(void) {
    aio_init(&(struct aioinit){.aio_threads = 2, .aio_num = 64});
    submit(MOST);
    wait_held(&gates[0]);
    wait_held(&gates[1]);
    for (int i = MOST - 1; i >= 2; i--) { // the others have not started
        CHECK_EQ(aio_cancel(cbs[i].aio_fildes, &cbs[i]), AIO_CANCELED);
        CHECK(untouched(&gates[i]));
    }
    end_all(MOST);
    CHECK_EQ(aio_error(&cbs[0]), 0);
    CHECK_EQ(aio_error(&cbs[MOST - 1]), ECANCELED);
    if (!is_library()) return 0; // libc takes the values once only
    aio_init(&(struct aioinit){.aio_threads = MOST, .aio_num = 64});
    submit(MOST);
    for (int i = 0; i < MOST; i++) wait_held(&gates[i]); // all at once
    end_all(MOST);
    for (int i = 0; i < MOST; i++) CHECK_EQ(aio_error(&cbs[i]), 0);
    // Nonsense is taken for the nearest sense.
    aio_init(&(struct aioinit){.aio_threads = -5, .aio_num = -5});
    submit(1);
    wait_held(&gates[0]);
    end_all(1);
    CHECK_EQ(aio_error(&cbs[0]), 0);
    return 0;
}
