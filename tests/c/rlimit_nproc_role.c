// When the process can have one thread more and that one is taken up by something that may last for ever - it polls
// streams, or tries to deliver a signal - a request for a file is refused with EAGAIN or runs beside it.
// glibc: fails: without a second thread a request for a file waits behind a read on a pipe, for ever
// root
// holds-reads
#include "check.h"

// Whether a call took the request in.
static bool accepted(const char *call, int returned) {
    CHECK(returned == 0 || (returned == -1 && (errno == EAGAIN || errno == EIO)), "%s", call);
    return returned == 0;
}
#define ACCEPTED(call) (errno = 0, accepted(#call, call))

static void check_ends(const char *what, struct aiocb *cb, ssize_t result) {
    double deadline = now_s() + PATIENCE_S;
    while (aio_error(cb) == EINPROGRESS) {
        CHECK(now_s() < deadline, "%s was accepted, and does not run", what);
        pause_ms(1);
    }
    CHECK(aio_error(cb) == 0, "%s: %s", what, check_errno(aio_error(cb)));
    CHECK_EQ(aio_return(cb), result);
}

static void file_requests(int fd) {
    char back[4];
    struct aiocb out = request(fd, "data", 4, 0), in = request(fd, back, 4, 0), sync = request(fd, NULL, 0, 0);
    if (ACCEPTED(aio_write(&out))) check_ends("a write", &out, 4);
    if (ACCEPTED(aio_read(&in))) check_ends("a read", &in, 4);
    if (ACCEPTED(aio_fsync(O_SYNC, &sync))) check_ends("a sync", &sync, 0);
    struct aiocb *list[] = {&out};
    out.aio_lio_opcode = LIO_WRITE;
    if (ACCEPTED(lio_listio(LIO_NOWAIT, list, 1, NULL))) check_ends("a list", &out, 4);
    CHECK(aio_error(&out) != EINPROGRESS && aio_error(&in) != EINPROGRESS && aio_error(&sync) != EINPROGRESS);
}

// A read that waits on a pipe.
struct waiting {
    struct aiocb cb;
    int p[2];
    char byte;
};

static void make_waiting(struct waiting *w) {
    CHECK_EQ(pipe(w->p), 0);
    w->cb = request(w->p[0], &w->byte, 1, 0);
}

static void check_still_waits(struct waiting *w) {
    CHECK_EQ(aio_error(&w->cb), EINPROGRESS);
    CHECK_EQ(write(w->p[1], "x", 1), 1);
    CHECK_DONE(&w->cb, 0, 1);
    CHECK_EQ(w->byte, 'x');
}

static void beside_poller(void) {
    int fd = temp_file();
    static struct waiting w;
    put_pattern(fd, 0, 4, 1);
    make_waiting(&w);
    allow_threads(1);
    if (!ACCEPTED(aio_read(&w.cb))) return;
    if (is_library()) WAIT_FOR(threads_named("aio_rs/poller") == 1);
    check_no_thread_left();
    file_requests(fd);
    check_still_waits(&w);
}

// While another stream is polled.
static void ready_beside_poller(void) {
    static struct waiting first, second;
    make_waiting(&first);
    make_waiting(&second);
    allow_threads(1);
    if (!ACCEPTED(aio_read(&first.cb)) || !ACCEPTED(aio_read(&second.cb))) return;
    if (is_library()) WAIT_FOR(threads_named("aio_rs/poller") == 1);
    check_no_thread_left();
    check_still_waits(&first);
    check_still_waits(&second);
}

// Both come in one call, when nothing has been taken up yet.
static void with_poller(void) {
    static struct waiting w;
    make_waiting(&w);
    struct aiocb out = request(temp_file(), "data", 4, 0), *list[] = {&w.cb, &out};
    w.cb.aio_lio_opcode = LIO_READ;
    out.aio_lio_opcode = LIO_WRITE;
    allow_threads(1);
    bool both = ACCEPTED(lio_listio(LIO_NOWAIT, list, 2, NULL));
    CHECK(both || aio_error(&out) == EAGAIN || aio_error(&w.cb) == EAGAIN);
    if (aio_error(&out) != EAGAIN) check_ends("a write in a list", &out, 4);
    if (aio_error(&w.cb) != EAGAIN) check_still_waits(&w);
}

// The thread is busy when both come, and free again afterwards.
static void before_poller(void) {
    int busy = temp_file();
    static struct waiting w;
    struct held h = hold(4096);
    struct aiocb head = request(busy, h.buffer, 4096, 0), out = request(temp_file(), "data", 4, 0);
    make_waiting(&w);
    allow_threads(1);
    CHECK_EQ(aio_write(&head), 0);
    wait_held(&h);
    check_no_thread_left();
    bool out_in = ACCEPTED(aio_write(&out)), read_in = ACCEPTED(aio_read(&w.cb));
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    if (out_in) check_ends("an earlier write", &out, 4);
    if (read_in) check_still_waits(&w);
}

static void full_queue(bool full) {
    struct rlimit l;
    CHECK_EQ(getrlimit(RLIMIT_SIGPENDING, &l), 0);
    l.rlim_cur = full ? 0 : l.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &l), 0);
}

static void beside_deliverer(void) {
    int busy = temp_file(), fd = temp_file();
    struct held h = hold(4096);
    put_pattern(fd, 0, 4, 1);
    block_signal(SIGRTMIN + 1);
    allow_threads(1);
    struct aiocb head = request(busy, h.buffer, 4096, 0), queued = request(busy, "data", 4, 0);
    notify_by_signal(&queued, SIGRTMIN + 1, 7);
    CHECK_EQ(aio_write(&head), 0);
    wait_held(&h);
    check_no_thread_left();
    CHECK_EQ(aio_write(&queued), 0);
    full_queue(true);
    CHECK_EQ(aio_cancel(busy, &queued), AIO_CANCELED);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    file_requests(fd);
    full_queue(false);
    CHECK_EQ(take_signal(SIGRTMIN + 1).si_value.sival_int, 7);
}

int main(void) {
    static void (*const cases[])(void) = {beside_poller, ready_beside_poller, with_poller, before_poller,
                                          beside_deliverer};
    static const char *const names[] = {"beside a thread that polls", "when one of two polled streams is ready",
                                        "together with what needs polling",
                                        "before what needs polling", "beside a thread that delivers a signal"};
    temp_dir();
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            cases[i]();
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) return 77;
        CHECK(status == 0, "%s: status %x", names[i], status);
    }
    return 0;
}
