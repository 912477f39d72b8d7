// An aio_fsync waits for the O_DIRECT writes before it; what is in flight when its descriptor is closed reaches its own file
// and no other that gets the number; also when there is no descriptor left to keep it by.
// glibc: fails: queued writes of a closed descriptor go to the next file that gets its number
#include "check.h"

enum { BLOCK = 4096, DEPTH = 32 };

static unsigned char *buffers[DEPTH];

int main(void) {
    static struct aiocb cbs[DEPTH];
    unsigned char *back = aligned_alloc(BLOCK, BLOCK), *zeros = aligned_alloc(BLOCK, DEPTH * BLOCK);
    memset(zeros, 0, DEPTH * BLOCK);
    for (int i = 0; i < DEPTH; i++) {
        buffers[i] = aligned_alloc(BLOCK, BLOCK);
        fill(buffers[i], BLOCK, (unsigned)i);
    }
    for (int round = 0; round < 200; round++) {
        int fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
        if (fd < 0) fd = temp_file();
        // Some of them onto blocks that are there, which the kernel takes; the others extend the file.
        size_t there = (size_t)(round % (DEPTH + 1)) * BLOCK;
        CHECK_EQ(pwrite(fd, zeros, there, 0), there);
        int keep = dup(fd), number = fd;
        for (int i = 0; i < DEPTH; i++) {
            cbs[i] = request(fd, buffers[i], BLOCK, i * BLOCK);
            CHECK_EQ(aio_write(&cbs[i]), 0);
        }
        if (round % 2) {
            struct aiocb sync = request(round % 4 == 1 ? fd : keep, NULL, 0, 0);
            CHECK_EQ(aio_fsync(round % 3 ? O_SYNC : O_DSYNC, &sync), 0);
            wait_done(&sync);
            for (int i = 0; i < DEPTH; i++) CHECK_EQ(aio_error(&cbs[i]), 0);
            CHECK_EQ(aio_error(&sync), 0);
        }
        struct rlimit limit, none_left;
        CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none_left = limit;
        if (round % 3 == 0) none_left.rlim_cur = (rlim_t)keep + 1;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none_left), 0);
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        int other = temp_file();
        CHECK_EQ(other, number);
        for (int i = 0; i < DEPTH; i++) {
            CHECK_DONE(&cbs[i], 0, BLOCK);
            CHECK_EQ(pread(keep, back, BLOCK, i * BLOCK), BLOCK);
            CHECK(holds(back, BLOCK, (unsigned)i), "round %d, write %d", round, i);
        }
        struct stat st;
        CHECK_EQ(fstat(other, &st), 0);
        CHECK_EQ(st.st_size, 0);
        close(other);
        close(keep);
    }
    return 0;
}
