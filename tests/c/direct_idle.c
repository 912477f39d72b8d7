// The thread that sees to O_DIRECT transfers ends when there are none, and comes back; whatever is called meanwhile, the kernel's
// AIO takes them then, and notifications come.
// env: AIO_RS=idle=10ms
// may-skip: the file system of the temporary directory decides
// takes: 12
#include "check.h"

enum { BLOCK = 4096 };

int main(void) {
    int fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (fd < 0) SKIP("no O_DIRECT here: %s", check_errno(errno));
    void *buffer = aligned_alloc(BLOCK, BLOCK);
    CHECK(buffer != NULL);
    memset(buffer, 1, BLOCK);
    CHECK_EQ(pwrite(fd, buffer, BLOCK, 0), BLOCK);
    block_signal(SIGUSR1);
    bool used = false;
    for (int round = 0; round < 12; round++) {
        WAIT_FOR(!is_library() || thread_count() == 1);
        struct aioinit settings = {.aio_threads = 8, .aio_num = 8, .aio_idle_time = 0};
        if (round % 3 == 2 && is_library()) {
            // More than the kernel has room for results.
            for (int i = 0; i < 3000; i++) aio_init(&settings);
        }
        unsigned long before = is_library() ? counts().route_direct : 0;
        for (int i = 0; i < 500; i++) {
            struct aiocb cb = request(fd, buffer, BLOCK, 0);
            CHECK_EQ(aio_read(&cb), 0);
            CHECK_DONE(&cb, 0, BLOCK);
            // Its thread starts with the first of them.
            if (is_library() && counts().route_direct > before + 20) break;
        }
        struct aiocb notified = request(fd, buffer, BLOCK, 0);
        notify_by_signal(&notified, SIGUSR1, round);
        CHECK_EQ(aio_read(&notified), 0);
        CHECK_EQ(take_signal(SIGUSR1).si_value.sival_int, round);
        CHECK_DONE(&notified, 0, BLOCK);
        unsigned long served = is_library() ? counts().route_direct - before : 0;
        used |= served > 0;
        if (used) CHECK(served > 0, "round %d: none of 500", round);
    }
    if (has_direct_route() && !used) SKIP("the file system cannot transfer without waiting");
    return 0;
}
