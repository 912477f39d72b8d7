// lio_listio with LIO_WAIT returns 0 when all its requests have ended, not before, and ignores the list's sigevent.
// env: AIO_RS=routes=stream
#include "check.h"

enum { N = 32 };

static struct held h;
static struct aiocb held_one;
static pid_t id;

static void *release_late(void *unused) {
    wait_held(&h);
    wait_thread_blocked(id);
    CHECK_EQ(aio_error(&held_one), EINPROGRESS);
    release_held(&h);
    return unused;
}

int main(void) {
    block_signal(SIGRTMIN);
    int fd = temp_file(), source = temp_file();
    put_pattern(source, 0, N * 1000, 1);
    drop_cache(source);
    static unsigned char out[N][1000], in[N][1000];
    static struct aiocb cbs[N];
    struct aiocb *list[N + 1];
    for (int i = 0; i < N; i++) {
        bool write = i % 2;
        fill(out[i], sizeof out[i], (unsigned)i);
        cbs[i] = request(write ? fd : source, write ? out[i] : in[i], 1000, i * 1000);
        cbs[i].aio_lio_opcode = write ? LIO_WRITE : LIO_READ;
        list[i] = &cbs[i];
    }
    h = hold(4096);
    held_one = request(source, h.buffer, 1000, 0);
    held_one.aio_lio_opcode = LIO_READ;
    list[N] = &held_one;

    struct aiocb unused = {0};
    notify_by_signal(&unused, SIGRTMIN, 1);
    id = thread_id();
    pthread_t thread = start_thread(release_late, NULL);
    CHECK_EQ(lio_listio(LIO_WAIT, list, N + 1, &unused.aio_sigevent), 0);
    CHECK(h.released);
    for (int i = 0; i <= N; i++) {
        CHECK_EQ(aio_error(list[i]), 0);
        CHECK_EQ(aio_return(list[i]), 1000);
    }
    for (int i = 1; i < N; i += 2) CHECK(file_holds(fd, i * 1000, 1000, (unsigned)i));
    for (size_t i = 0; i < N; i += 2)
        for (size_t k = 0; k < 1000; k++) CHECK(in[i][k] == pattern_at(1, i * 1000 + k), "entry %zu, byte %zu", i, k);
    join_thread(thread);

    // A sigevent that makes no sense does not matter either.
    unused.aio_sigevent.sigev_notify = 99;
    unused.aio_sigevent.sigev_signo = -5;
    CHECK_EQ(lio_listio(LIO_WAIT, list, N, &unused.aio_sigevent), 0);
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGRTMIN));
    return 0;
}
