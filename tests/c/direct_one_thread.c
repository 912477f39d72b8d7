// When the only thread that the library can have sees to O_DIRECT transfers, notifications come, although another thread takes
// all results, and requests for workers run.
// glibc: skip: it has a thread for each descriptor
// env: AIO_RS=idle=60s
// root
// may-skip: the file system of the temporary directory decides
#include "check.h"

enum { BLOCK = 4096, BLOCKS = 64 };

static int fd;
static bool enough, go;

static void *aligned_block(void) {
    void *block = aligned_alloc(BLOCK, BLOCK);
    CHECK(block != NULL);
    return block;
}

static void *read_on_and_on(void *buffer) {
    while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE)) sched_yield();
    for (unsigned i = 0; !__atomic_load_n(&enough, __ATOMIC_ACQUIRE); i++) {
        struct aiocb cb = request(fd, buffer, BLOCK, i % BLOCKS * BLOCK);
        const struct aiocb *list[] = {&cb};
        CHECK_EQ(aio_read(&cb), 0);
        while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
        CHECK_EQ(aio_return(&cb), BLOCK);
    }
    return NULL;
}

int main(void) {
    fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (fd < 0) SKIP("no O_DIRECT here: %s", check_errno(errno));
    int other = temp_file();
    void *mine = aligned_block(), *others = aligned_block();
    memset(mine, 1, BLOCK);
    for (int i = 0; i < BLOCKS; i++) CHECK_EQ(pwrite(fd, mine, BLOCK, i * BLOCK), BLOCK);
    block_signal(SIGUSR1);

    allow_threads(2);
    pthread_t thread = start_thread(read_on_and_on, others);
    struct aiocb cb = request(fd, mine, BLOCK, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, BLOCK);
    check_no_thread_left();

    __atomic_store_n(&go, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 200; i++) {
        cb = request(fd, mine, BLOCK, i % BLOCKS * BLOCK);
        notify_by_signal(&cb, SIGUSR1, i);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(take_signal(SIGUSR1).si_value.sival_int, i);
        CHECK_DONE(&cb, 0, BLOCK);
        struct aiocb write = request(other, mine, 16, 0), sync = request(fd, NULL, 0, 0);
        CHECK_EQ(aio_write(&write), 0);
        CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
        CHECK_DONE(&write, 0, 16);
        CHECK_DONE(&sync, 0, 0);
    }
    __atomic_store_n(&enough, true, __ATOMIC_RELEASE);
    join_thread(thread);
    return 0;
}
