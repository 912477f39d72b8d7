// A write beyond RLIMIT_FSIZE ends with EFBIG, one across it with the part that fits, and SIGXFSZ does not kill the
// process; by O_DIRECT, too, with others that end meanwhile.
#include "check.h"

enum { LIMIT = 8192, BLOCK = 4096, WRITES = 16 };

static int direct = -1;
static bool over;

// Takes the results of all threads.
static void *read_on_and_on(void *unused) {
    char *block = aligned_alloc(BLOCK, BLOCK);
    CHECK(block != NULL);
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        struct aiocb cb = request(direct, block, BLOCK, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, BLOCK);
    }
    return unused;
}

static void direct_writes(void) {
    static struct aiocb cbs[WRITES], *list[WRITES];
    char *data = aligned_alloc(BLOCK, LIMIT);
    CHECK(data != NULL);
    memset(data, 'x', LIMIT);
    CHECK_EQ(pwrite(direct, data, LIMIT, 0), LIMIT);
    for (int i = 0; i < 200; i++) {
        struct aiocb cb = request(direct, data, BLOCK, LIMIT + i * BLOCK);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, EFBIG, -1);
        cb = request(direct, data, LIMIT, BLOCK);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, BLOCK);
        for (int k = 0; k < WRITES; k++) {
            cbs[k] = request(direct, data, BLOCK, k * BLOCK);
            cbs[k].aio_lio_opcode = LIO_WRITE;
            list[k] = &cbs[k];
        }
        CHECK_FAILS(lio_listio(LIO_WAIT, list, WRITES, NULL), EIO);
        for (int k = 0; k < WRITES; k++) {
            if (k < LIMIT / BLOCK) CHECK_DONE(&cbs[k], 0, BLOCK);
            else CHECK_DONE(&cbs[k], EFBIG, -1);
        }
    }
}

int main(void) {
    CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
    direct = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    int fd = temp_file(), append = temp_open("append", O_RDWR | O_APPEND);
    CHECK_EQ(ftruncate(append, LIMIT), 0);
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = LIMIT;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    char data[LIMIT];
    memset(data, 'x', sizeof data);
    for (int i = 0; i < 20; i++) {
        struct aiocb cb = request(fd, data, 100, LIMIT + i * 100);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, EFBIG, -1);
        cb = request(append, data, 100, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, EFBIG, -1);
        cb = request(fd, data, sizeof data, 4096);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4096);
        struct aiocb member = request(fd, data, 100, 10000), *list[1] = {&member};
        member.aio_lio_opcode = LIO_WRITE;
        CHECK_FAILS(lio_listio(LIO_WAIT, list, 1, NULL), EIO);
        CHECK_EQ(aio_error(&member), EFBIG);
        CHECK_EQ(ftruncate(fd, 0), 0);
    }
    if (direct >= 0) {
        direct_writes();
        pthread_t thread = start_thread(read_on_and_on, NULL);
        direct_writes();
        __atomic_store_n(&over, true, __ATOMIC_RELEASE);
        join_thread(thread);
    }
    sigset_t pending;
    CHECK_EQ(sigpending(&pending), 0);
    CHECK(!sigismember(&pending, SIGXFSZ));
    return 0;
}
