// A descriptor that is closed while no other is free, and a request of it runs: its number stands for nothing any more, and
// an fsync of the next file of that number waits for the writes of that file.
// modes: shared,static,preload
// glibc: skip: an fsync there may overtake a write
// holds-reads
#include "check.h"

static int spare;

// Sooner or later: only then can close find out that the request has a hold on its file.
static void *free_it(void *unused) {
    (void)unused;
    pause_ms(50);
    CHECK_EQ(close(spare), 0);
    return NULL;
}

int main(void) {
    if (is_portable()) return 0; // there close waits for what runs
    int fd = temp_file(), p[2], number;
    put_pattern(fd, 0, 4096, 1);
    CHECK_EQ(pipe(p), 0);
    int new_file = temp_file();
    struct held old = hold(4096), h = hold(4096);
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 100;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    drop_cache(fd);
    struct aiocb running = request(fd, old.buffer, 4096, 0);
    CHECK_EQ(aio_read(&running), 0);
    wait_held(&old);
    while ((number = dup(p[0])) >= 0) spare = number;
    pthread_t thread = start_thread(free_it, NULL);
    // Needs the spare one for a moment at least.
    CHECK_EQ(close(fd), 0);
    join_thread(thread);
    CHECK_EQ(aio_error(&running), EINPROGRESS);
    CHECK_EQ(dup2(new_file, fd), fd);
    fill(h.content, 4096, 2);
    struct aiocb write_cb = request(fd, h.buffer, 4096, 0), sync_cb = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_write(&write_cb), 0);
    wait_held(&h);
    CHECK_EQ(aio_fsync(O_SYNC, &sync_cb), 0);
    settle();
    CHECK_EQ(aio_error(&sync_cb), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&write_cb, 0, 4096);
    CHECK_DONE(&sync_cb, 0, 0);
    release_held(&old);
    CHECK_DONE(&running, 0, 4096);
    return 0;
}
