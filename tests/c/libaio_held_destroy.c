// A sync that is deferred is made before io_destroy returns, and before the process is gone that exits: the kernel makes all that
// was submitted. Neither waits for requests of POSIX's interface.
// interface: libaio
// glibc: skip: it defers nothing
// timeout: 120
#include "rings.h"
#include <sys/eventfd.h>

enum { COUNT = 8, BYTES = 1 << 20 };

static int told;

static void check_told(unsigned times) {
    uint64_t count = 0;
    CHECK_EQ(read(told, &count, sizeof count), times ? (int)sizeof count : -1);
    CHECK_EQ(count, times);
}

static void sync_and_tell(io_context_t made, struct iocb *sync, int fd) {
    io_prep_fsync(sync, fd);
    io_set_eventfd(sync, told);
    submit(made, &sync, 1);
}

// Behind a write of the other interface that is stuck, and a sync of another context that waits for it.
static void behind_aio_write(void) {
    struct held h = hold(BLOCK);
    struct aiocb stuck;
    struct iocb first, sync, later;
    struct io_event event;
    int fd = temp_file();
    io_context_t made = context(4), other = context(4);
    held_write(&h, &stuck, fd, BLOCK, 0, 1);
    io_prep_fsync(&first, fd);
    struct iocb *one = &first;
    submit(other, &one, 1);
    sync_and_tell(made, &sync, fd);
    sync_and_tell(made, &later, fd);
    check_told(0);
    CHECK_EQ(io_destroy(made), 0);
    check_told(2);
    CHECK_EQ(aio_error(&stuck), EINPROGRESS);
    CHECK_EQ(ring_filled(other), 0);
    release_held(&h);
    reap_all(other, BY_CALL, &event, 1);
    CHECK(event.obj == &first && event.res == 0);
    CHECK_DONE(&stuck, 0, BLOCK);
    CHECK_EQ(io_destroy(other), 0);
    free_held(&h);
}

// Behind writes of its own context, in whose ring requests that a raw io_submit has brought leave no place.
static void behind_writes(void) {
    int fd = direct_file(COUNT * BYTES);
    char *data = buffer(BYTES);
    for (int round = 0; round < 20; round++) {
        io_context_t made = context(1);
        struct iocb writes[2], syncs[4], read, *one;
        for (int i = 0; i < 2; i++) {
            one = &writes[i];
            io_prep_pwrite(one, fd, data, BYTES, (long long)i * BYTES);
            submit(made, &one, 1);
        }
        for (int i = 0; i < 4; i++) sync_and_tell(made, &syncs[i], fd);
        one = &read;
        io_prep_pread(&read, fd, data, 0, 0); // is done at once
        while (syscall(SYS_io_submit, made, 1L, &one) == 1) {}
        CHECK_EQ(errno, EAGAIN);
        if (round % 2) memset(syncs, 0xff, sizeof syncs);
        CHECK_EQ(io_destroy(made), 0);
        check_told(4);
    }
    CHECK_EQ(close(fd), 0);
}

static void in_child(int way) {
    struct held h = hold(BLOCK);
    struct aiocb stuck;
    static struct iocb sync;
    int fd = temp_file();
    io_context_t made = context(4);
    held_write(&h, &stuck, fd, BLOCK, 0, 1);
    sync_and_tell(made, &sync, fd);
    if (way == 1) CHECK_EQ(close(fd), 0);
    if (way == 2) CHECK_EQ(close(fd) | syscall(SYS_close, told), 0);
    if (way == 3) CHECK_EQ(syscall(SYS_io_destroy, made), 0);
    exit(0);
}

static void at_exit(void) {
    for (int way = 0; way < 4; way++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) in_child(way);
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
        // Without the descriptor, or the context, the sync is made, but nobody can be told.
        check_told(way < 2);
    }
}

int main(void) {
    if (completes_at_once()) SKIP("no write here is under way when io_submit has returned");
    told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(told >= 0);
    behind_aio_write();
    behind_writes();
    at_exit();
    return 0;
}
