// A sync that waits for an aio_write is nothing that POSIX's interface knows of: aio_cancel does not find it, no statistic counts
// it; it can be cancelled, its context destroyed, and another one refused while that write is stuck.
// interface: libaio
// glibc: fails: a sync completes before writes of aio_write
#include "rings.h"

static int fd;
static io_context_t made;
static struct aiocb stuck;

// Something else has been done from beginning to end, and the sync did not come.
static void check_waits(void) {
    int other = memfd_create("other", MFD_CLOEXEC);
    struct iocb sync, *one = &sync;
    struct io_event event;
    io_context_t elsewhere = context(1);
    io_prep_fsync(&sync, other);
    for (int i = 0; i < 10; i++) {
        submit(elsewhere, &one, 1);
        reap_all(elsewhere, BY_SYSTEM_CALL, &event, 1);
    }
    CHECK_EQ(io_destroy(elsewhere), 0);
    CHECK_EQ(close(other), 0);
    CHECK_EQ(ring_filled(made), 0);
    CHECK_EQ(aio_error(&stuck), EINPROGRESS);
}

static void without_descriptors(void) {
    enum { SYNCS = 50 };
    struct rlimit files, none_left;
    struct iocb syncs[SYNCS], *one;
    struct io_event event;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    none_left = files;
    none_left.rlim_cur = 3; // fd and others are above that, and stay
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none_left), 0);
    for (int i = 0; i < SYNCS; i++) {
        io_prep_fsync(&syncs[i], fd);
        one = &syncs[i];
        submit(made, &one, 1);
    }
    for (int i = 0; i < SYNCS; i++) CHECK_EQ(io_cancel(made, &syncs[i], &event), 0);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
}

int main(void) {
    struct held h = hold(BLOCK);
    struct iocb sync, of_other, *one = &sync, *another = &of_other;
    struct io_event event;
    fd = temp_file();
    int copy = dup(fd);
    made = context(2);
    held_write(&h, &stuck, fd, BLOCK, 0, 1);
    struct aio_rs_stats before = counts();

    io_prep_fsync(&sync, fd);
    submit(made, &one, 1);
    check_waits();
    CHECK_EQ(aio_cancel(copy, NULL), AIO_ALLDONE);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_NOTCANCELED);
    check_waits();

    io_context_t other = context(1);
    io_prep_fdsync(&of_other, copy);
    submit(other, &another, 1);
    CHECK_EQ(io_cancel(other, &of_other, &event), 0);
    // It is made then, and the kernel waits for it.
    if (syncs_beside_writes()) submit(other, &another, 1);
    CHECK_EQ(io_destroy(other), 0);
    without_descriptors();
    check_waits();

    release_held(&h);
    reap_all(made, BY_SYSTEM_CALL, &event, 1);
    CHECK(event.obj == &sync && event.res == 0);
    CHECK_DONE(&stuck, 0, BLOCK);
    CHECK_EQ(counts().fsyncs, before.fsyncs);
    CHECK_EQ(counts().cancelled, before.cancelled);
    CHECK_EQ(io_destroy(made), 0);
    return 0;
}
