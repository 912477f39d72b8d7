// A tight limit of the address space: what cannot be had is EAGAIN at the submission, never a crash, and what was
// accepted completes.
// holds-reads
#include "check.h"

enum { COUNT = 50000 };

static struct aiocb *cbs;
static bool *accepted;

static void limit_to(size_t more) {
    long pages;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%ld", &pages) == 1);
    fclose(f);
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = (size_t)pages * 4096 + more;
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

static void no_limit(void) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

int main(void) {
    cbs = calloc(COUNT, sizeof *cbs);
    accepted = calloc(COUNT, sizeof *accepted);
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    drop_cache(fd);
    struct held h = hold(4096);

    // No room for the first thread's stack.
    struct aiocb cb = request(fd, "data", 4, 8192);
    limit_to(128 << 10);
    if (aio_write(&cb) == 0)
        CHECK_DONE(&cb, 0, 4);
    else
        CHECK_EQ(errno, EAGAIN);
    no_limit();
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);

    // No room for more records: everything queues behind a held read.
    struct aiocb head = request(fd, h.buffer, 4096, 0);
    CHECK_EQ(aio_read(&head), 0);
    wait_held(&h);
    limit_to(2 << 20);
    int count = 0;
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, "x", 1, i % 4096);
        accepted[i] = aio_write(&cbs[i]) == 0;
        if (!accepted[i]) {
            CHECK_EQ(errno, EAGAIN);
            CHECK(aio_error(&cbs[i]) != EINPROGRESS);
        }
        count += accepted[i];
    }
    CHECK(count > 0 && count < COUNT, "%d were accepted", count);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    for (int i = 0; i < COUNT; i++) {
        if (!accepted[i]) continue;
        CHECK_DONE(&cbs[i], 0, 1);
    }
    // The room of those that ended serves again, still under the limit.
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(aio_write(&cbs[i]), 0);
        CHECK_DONE(&cbs[i], 0, 1);
    }
    no_limit();
    return 0;
}
