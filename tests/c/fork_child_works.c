// fork while requests are in flight: AIO works in the child, whichever calls it makes first, and the parent's requests
// end as if nothing had happened.
// glibc: fails: AIO in the child of a fork hangs
// holds-reads
#include "check.h"
#include <semaphore.h>

static struct held h;
static struct aiocb head, queued[5], waiting, barrier;
static int fd, p[2];
static char byte;
static sem_t told;

static void called(union sigval value) {
    (void)value;
    sem_post(&told);
}

// In the child, where the parent's threads are gone.
static void child(int first) {
    unsigned char data[512], back[512];
    int own = temp_file(), q[2];
    CHECK_EQ(pipe(q), 0);
    fill(data, sizeof data, 40 + (unsigned)first);
    struct aiocb out = request(own, data, sizeof data, 0), in = request(own, back, sizeof back, 0),
                 sync = request(own, NULL, 0, 0), from_pipe = request(q[0], back, 1, 0);
    if (first == 1) CHECK_EQ(aio_cancel(own, NULL), AIO_ALLDONE);
    if (first == 2) {
        CHECK_EQ(aio_read(&from_pipe), 0);
        CHECK_EQ(write(q[1], "x", 1), 1);
        CHECK_DONE(&from_pipe, 0, 1);
    }
    if (first == 3) {
        struct aiocb *list[1] = {&out};
        out.aio_lio_opcode = LIO_WRITE;
        CHECK_EQ(lio_listio(LIO_WAIT, list, 1, NULL), 0);
        CHECK_EQ(aio_return(&out), sizeof data);
    }
    if (first == 4) close(own), own = temp_file(), out.aio_fildes = in.aio_fildes = sync.aio_fildes = own;
    CHECK_EQ(aio_write(&out), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&sync, 0, 0);
    CHECK_DONE(&out, 0, sizeof data);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_DONE(&in, 0, sizeof back);
    CHECK(holds(back, sizeof back, 40 + (unsigned)first));
    // The parent's file has no request here: nothing to cancel, nothing to wait for.
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    sync = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&sync, 0, 0);
    // The copies of the parent's aiocbs can be used for requests of the child.
    queued[0].aio_fildes = waiting.aio_fildes = own;
    queued[0].aio_offset = 0;
    CHECK_EQ(aio_write(&queued[0]), 0);
    CHECK_DONE(&queued[0], 0, queued[0].aio_nbytes);
    // Notifications.
    sem_init(&told, 0, 0);
    out.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called};
    CHECK_EQ(aio_write(&out), 0);
    while (sem_wait(&told)) {}
    CHECK_EQ(aio_error(&out), 0);
    // A stream, cancelled.
    CHECK_EQ(aio_read(&from_pipe), 0);
    CHECK_EQ(aio_error(&from_pipe), EINPROGRESS);
    CHECK_EQ(write(q[1], "x", 1), 1);
    CHECK_DONE(&from_pipe, 0, 1);
    // And a grandchild.
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        out = request(own, data, sizeof data, 0);
        CHECK_EQ(aio_write(&out), 0);
        CHECK_DONE(&out, 0, sizeof data);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void wait_child(pid_t pid) {
    int status = -1;
    WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

int main(void) {
    temp_dir();
    fd = temp_file();
    put_pattern(fd, 0, 8192, 1);
    CHECK_EQ(pipe(p), 0);
    static unsigned char data[5][1000];
    held_read(&h, &head, fd, 4096, 0);
    for (int i = 0; i < 5; i++) {
        fill(data[i], 1000, 10 + (unsigned)i);
        queued[i] = request(fd, data[i], 1000, i * 1000 - (i == 4 ? 500 : 0)); // they overlap the held one
        CHECK_EQ(aio_write(&queued[i]), 0);
    }
    barrier = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    waiting = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);

    int idle_fd = temp_file();
    for (int first = 0; first < 5; first++) {
        // An idle thread in the parent must not count in the child.
        struct aiocb plain = request(idle_fd, "parent", 6, 0);
        CHECK_EQ(aio_write(&plain), 0);
        CHECK_DONE(&plain, 0, 6);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            child(first);
            _exit(0);
        }
        wait_child(pid);
        CHECK_EQ(aio_error(&head), EINPROGRESS);
        CHECK_EQ(aio_error(&barrier), EINPROGRESS);
        CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    }
    // A child that makes no request can exit normally.
    pid_t pid = fork();
    if (pid == 0) exit(0);
    wait_child(pid);

    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    for (int i = 0; i < 5; i++) CHECK_DONE(&queued[i], 0, 1000);
    CHECK_DONE(&barrier, 0, 0);
    CHECK_EQ(write(p[1], "y", 1), 1);
    CHECK_DONE(&waiting, 0, 1);
    CHECK_EQ(byte, 'y');
    CHECK(file_holds(fd, 3500, 1000, 14));
    return 0;
}
