// Everything else of the interface works as without the library: vectors, eventfds, polls, RWF flags, callbacks, signal masks
// and the ring; what io_queue_run and io_queue_wait do.
// interface: libaio
// glibc: skip: its io_queue_run does not say how many there were, its io_queue_wait does not wait
#include "rings.h"
#include <sys/eventfd.h>

static int calls;
static io_context_t made;

static void called(io_context_t of, struct iocb *block, long res, long res2) {
    CHECK(of == made);
    CHECK_EQ(res, block->aio_lio_opcode == IO_CMD_PREADV ? 1024 : 0);
    CHECK_EQ(res2, 0);
    calls++;
}

static void callbacks(int fd) {
    struct iocb read, sync, *list[] = {&read};
    char first[512], second[512];
    struct iovec parts[] = {{first, 512}, {second, 512}};
    struct timespec short_time = {0, 1000000};
    CHECK_EQ(io_queue_init(8, &made), 0);
    CHECK_EQ(io_queue_run(made), 0);
    CHECK_EQ(io_queue_wait(made, &short_time), -ETIMEDOUT);
    io_prep_preadv(&read, fd, parts, 2, 0);
    io_set_callback(&read, called);
    submit(made, list, 1);
    CHECK_EQ(io_queue_wait(made, NULL), 0);
    CHECK_EQ(io_queue_wait(made, &short_time), 0); // it is still there
    CHECK_EQ(io_queue_run(made), 1);
    CHECK_EQ(calls, 1);
    // The real symbols say 0, as the manual does; libaio's inline functions how many were accepted.
    int accepted = io_fsync(made, &sync, called, fd);
#ifdef SYSTEM_LIBAIO
    CHECK_EQ(accepted, 1);
#else
    CHECK_EQ(accepted, 0);
    CHECK_EQ(io_fsync(made, &sync, called, -1), -EBADF);
#endif
    CHECK_EQ(io_queue_wait(made, NULL), 0);
    CHECK_EQ(io_queue_run(made), 1);
    CHECK(io_fdsync(made, &sync, called, fd) >= 0);
    CHECK_EQ(io_queue_wait(made, NULL), 0);
    CHECK_EQ(io_queue_run(made), 1);
    CHECK_EQ(calls, 3);
    CHECK_EQ(io_queue_release(made), 0);
    CHECK_EQ(io_queue_run(made), -EINVAL);
}

static void *raise_it(void *main_thread) {
    CHECK_EQ(pthread_kill(*(pthread_t *)main_thread, SIGUSR1), 0);
    return NULL;
}

static volatile sig_atomic_t handled;
static void handler(int number) { (void)number, handled = 1; }

static void events(int fd) {
    io_context_t made = context(8);
    struct iocb block, poll, *list[] = {&block, &poll};
    struct io_event event[2];
    int told = eventfd(0, 0), p[2];
    uint64_t count = 0;
    CHECK_EQ(pipe(p), 0);
    io_prep_fsync(&block, fd);
    io_set_eventfd(&block, told);
    submit(made, list, 1);
    CHECK_EQ(read(told, &count, sizeof count), sizeof count);
    CHECK_EQ(count, 1);
    reap_all(made, BY_RING, event, 1);
    CHECK(event[0].obj == &block);
    // A poll, cancelled.
    io_prep_poll(&poll, p[0], POLLIN);
    submit(made, list + 1, 1);
    int done = io_cancel(made, &poll, event);
    CHECK(done == -EINPROGRESS || done == 0, "%d", done);
    reap_all(made, BY_SYSTEM_CALL, event, 1);
    CHECK(event[0].obj == &poll);
    // And one that is not.
    submit(made, list + 1, 1);
    CHECK_EQ(write(p[1], "x", 1), 1);
    reap_all(made, BY_CALL, event, 1);
    CHECK_EQ(event[0].res & POLLIN, POLLIN);
    // RWF_NOWAIT on what is in the page cache.
    char data[512];
    io_prep_pread(&block, fd, data, 512, 0);
    block.aio_rw_flags = 8;
    done = io_submit(made, 1, list);
    CHECK(done == 1 || done == -EOPNOTSUPP, "%d", done);
    if (done == 1) {
        reap_all(made, BY_CALL, event, 1);
        CHECK(event[0].res == 512 || (long)event[0].res == -EOPNOTSUPP || (long)event[0].res == -EAGAIN);
    }
    // The mask while it waits.
    sigset_t open;
    sigemptyset(&open);
    on_signal(SIGUSR1, handler);
    block_signal(SIGUSR1);
    pthread_t self = pthread_self();
    join_thread(start_thread(raise_it, &self));
    CHECK(!handled);
    CHECK_EQ(io_pgetevents(made, 1, 1, event, NULL, &open), -EINTR);
    CHECK(handled);
    CHECK_EQ(io_destroy(made), 0);
}

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, BLOCK, 1);
    io_context_t first = context(1); // or there is none to test
    CHECK_EQ(io_destroy(first), 0);
    callbacks(fd);
    events(fd);
    return 0;
}
