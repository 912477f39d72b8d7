// 1,000 reads waiting on idle pipes cost no thread each and delay nobody: file requests run on beside them, and each
// read ends when its own pipe gets data.
// glibc: fails: 20 reads that wait on idle pipes stop every other request
#include "check.h"

// On a busy machine a worker that gets no processor is taken for a slow one, and others come.
enum { PIPES = 1000, HANDFUL = 50 };

static int ends[PIPES][2];
static struct aiocb reads[PIPES];
static unsigned char bytes[PIPES];

static void file_requests_run(int file, unsigned seed) {
    unsigned char data[4096], back[4096];
    fill(data, sizeof data, seed);
    struct aiocb cb = request(file, data, sizeof data, seed * 4096);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, sizeof data);
    cb = request(file, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_DSYNC, &cb), 0);
    CHECK_DONE(&cb, 0, 0);
    cb = request(file, back, sizeof back, seed * 4096);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, sizeof back);
    CHECK(holds(back, sizeof back, seed));
}

int main(void) {
    struct rlimit files;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    if (files.rlim_cur < 2 * PIPES + 100) {
        files.rlim_cur = 2 * PIPES + 100;
        if (files.rlim_max < files.rlim_cur) files.rlim_max = files.rlim_cur;
        if (setrlimit(RLIMIT_NOFILE, &files)) SKIP("needs %d descriptors", 2 * PIPES);
    }
    int file = temp_file();
    for (int i = 0; i < PIPES; i++) {
        CHECK_EQ(pipe2(ends[i], O_CLOEXEC), 0);
        reads[i] = request(ends[i][0], &bytes[i], 1, 0);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    for (unsigned i = 0; i < 50; i++) file_requests_run(file, i);
    CHECK(thread_count() <= HANDFUL, "%d threads", thread_count());
    for (int i = 0; i < PIPES; i++) CHECK_EQ(aio_error(&reads[i]), EINPROGRESS);

    // In an order of its own: 7 and 1000 have no common factor.
    for (int n = 0, i = 0; n < PIPES; n++, i = (i + 7) % PIPES) {
        unsigned char byte = pattern_at(3, (size_t)i);
        CHECK_EQ(write(ends[i][1], &byte, 1), 1);
        CHECK_DONE(&reads[i], 0, 1);
        CHECK_EQ(bytes[i], byte);
        if (n % 100 == 0) file_requests_run(file, 60 + (unsigned)n / 100);
    }
    CHECK(thread_count() <= HANDFUL, "%d threads", thread_count());

    // All at once, and all of the same pipe.
    static unsigned char stream[PIPES];
    for (int i = 0; i < PIPES; i++) {
        reads[i] = request(ends[0][0], &bytes[i], 1, 0);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    CHECK(thread_count() <= HANDFUL, "%d threads", thread_count());
    fill(stream, sizeof stream, 9);
    CHECK_EQ(write(ends[0][1], stream, sizeof stream), (ssize_t)sizeof stream);
    for (int i = 0; i < PIPES; i++) CHECK_DONE(&reads[i], 0, 1);
    CHECK(memcmp(bytes, stream, sizeof stream) == 0);
    return 0;
}
