// aio_init sets the idle time as well, before the first request and after it.
// takes: 5
#include "check.h"

static void one_request(void) {
    struct aiocb cb = request(temp_file(), "data", 4, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
}

int main(void) {
    struct aioinit init = {.aio_threads = 4, .aio_num = 64, .aio_idle_time = 1};
    aio_init(&init);
    one_request();
    WAIT_FOR(thread_count() == 1);
    // Longer than any default: no thread ends while one that came later, with a shorter time, would.
    if (!is_library()) return 0; // libc takes the values once only
    init.aio_idle_time = 3600;
    aio_init(&init);
    one_request();
    pause_ms(3000);
    CHECK(thread_count() > 1);
    init.aio_idle_time = 1;
    aio_init(&init);
    one_request();
    WAIT_FOR(thread_count() == 1);
    return 0;
}
