// A thread that waits for its own O_DIRECT transfers is not held up by the buffer of another one's, whatever has to be started
// when its own have ended: it may be the pager that provides that buffer.
// timeout: 60
// may-skip: the file system of the temporary directory decides
// holds-reads
#include "check.h"

enum { BLOCK = 4096, ROUNDS = 60, BLOCKS = 16 };

static int own;
static unsigned done;
static bool stop;

// Reads and waits, one transfer at a time: so it takes the results of others, too.
static void *use_own(void *unused) {
    unsigned char *block = aligned_alloc(BLOCK, BLOCK);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct aiocb mine = request(own, block, BLOCK, (off_t)(done % BLOCKS) * BLOCK);
        CHECK_EQ(aio_read(&mine), 0);
        CHECK_DONE(&mine, 0, BLOCK);
        __atomic_add_fetch(&done, 1, __ATOMIC_RELAXED);
    }
    free(block);
    return unused;
}

static unsigned done_so_far(void) { return __atomic_load_n(&done, __ATOMIC_RELAXED); }

static struct aiocb pair[2];

// A read that overlaps the write, and so waits for it: unless that has ended, and then this very call is held.
static void *submit_pair(void *unused) {
    CHECK_EQ(aio_write(&pair[0]), 0);
    CHECK_EQ(aio_read(&pair[1]), 0);
    return unused;
}

int main(void) {
    char *path = temp_path("file");
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
    own = open(path, O_RDONLY | O_DIRECT);
    if (fd < 0 || own < 0) SKIP("no O_DIRECT here");
    unsigned char *block = aligned_alloc(BLOCK, BLOCK);
    fill(block, BLOCK, 1);
    for (int i = 0; i < BLOCKS; i++) CHECK_EQ(pwrite(fd, block, BLOCK, (off_t)i * BLOCK), BLOCK);
    CHECK_EQ(fsync(fd), 0);
    pthread_t other = start_thread(use_own, NULL);
    WAIT_FOR(done_so_far() > 10);
    for (int round = 0; round < ROUNDS; round++) {
        struct held h = hold(BLOCK);
        pair[0] = request(fd, block, BLOCK, 0);
        pair[1] = request(fd, h.buffer, BLOCK, 0);
        pthread_t submitter = start_thread(submit_pair, NULL);
        wait_held(&h);
        unsigned so_far = done_so_far();
        WAIT_FOR(done_so_far() > so_far + 5);
        release_held(&h);
        join_thread(submitter);
        for (int i = 0; i < 2; i++) CHECK_DONE(&pair[i], 0, BLOCK);
        free_held(&h);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    join_thread(other);
    return 0;
}
