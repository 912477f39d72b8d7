// Errors come as from the kernel, in its order: of addresses that cannot be read, contexts that are none, opcodes, counts,
// descriptors; and what stands before them in a list is accepted. errno stays as it is.
// interface: libaio
#include "rings.h"

// Errors are returned; errno is left alone.
#define CHECK_GIVES(call, status)                                                                                      \
    do {                                                                                                               \
        errno = ENOTTY;                                                                                                \
        CHECK_EQ(call, status);                                                                                        \
        CHECK_EQ(errno, ENOTTY);                                                                                       \
    } while (0)

static char *unreadable;

// An iocb whose second half cannot be read.
static struct iocb *torn(void) { return (struct iocb *)(unreadable - 32); }

static void lists(io_context_t made, int fd) {
    struct iocb good[2], *list[3] = {&good[0], &good[1], NULL};
    struct io_event events[4];
    char *data = buffer(BLOCK);
    for (int i = 0; i < 2; i++) io_prep_pread(&good[i], fd, data, 512, 0);
    CHECK_GIVES(io_submit(made, -1, list), -EINVAL);
    CHECK_GIVES(io_submit(made, 0, list), 0);
    CHECK_GIVES(io_submit(made, 1, NULL), -EFAULT);
    CHECK_GIVES(io_submit(made, 1, (struct iocb **)unreadable), -EFAULT);
    CHECK_GIVES(io_submit(made, 1, (struct iocb **)(unreadable - 4)), -EFAULT);
    CHECK_GIVES(io_submit(made, 1, (struct iocb **)-8L), -EFAULT);
    struct iocb *bad[] = {NULL, (struct iocb *)unreadable, (struct iocb *)-64L, torn()};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_GIVES(io_submit(made, 1, &bad[i]), -EFAULT);
        list[2] = bad[i];
        CHECK_GIVES(io_submit(made, 3, list), 2);
        reap_all(made, BY_CALL, events, 2);
    }
    // A list that ends where memory does.
    struct iocb **last = (struct iocb **)unreadable - 2;
    last[0] = &good[0], last[1] = &good[1];
    CHECK_GIVES(io_submit(made, 3, last), 2);
    reap_all(made, BY_CALL, events, 2);
}

static void requests(io_context_t made, int fd) {
    struct iocb block, good, *one = &block, *two[] = {&good, &block};
    struct io_event event;
    char *data = buffer(BLOCK);
    int p[2];
    CHECK_EQ(pipe(p), 0);
    io_prep_pread(&good, fd, data, 512, 0);
#define REFUSED(error)                                                                                                 \
    do {                                                                                                               \
        CHECK_GIVES(io_submit(made, 1, &one), -(error));                                                               \
        CHECK_GIVES(io_submit(made, 2, two), 1);                                                                       \
        reap_all(made, BY_CALL, &event, 1);                                                                            \
        CHECK(event.obj == &good && event.res == 512);                                                                 \
    } while (0)
    io_prep_pread(&block, -1, data, 512, 0);
    REFUSED(EBADF);
    io_prep_fsync(&block, -1);
    REFUSED(EBADF);
    io_prep_fdsync(&block, 1000000);
    REFUSED(EBADF);
    io_prep_fsync(&block, p[1]);
    REFUSED(EINVAL);
    io_prep_fsync(&block, fd);
    block.u.c.nbytes = 1;
    REFUSED(EINVAL);
    io_prep_fsync(&block, fd);
    block.u.c.flags = 1;
    block.u.c.resfd = (unsigned)fd; // no eventfd
    REFUSED(EINVAL);
    io_prep_pread(&block, fd, data, 512, 0);
    block.aio_lio_opcode = 99;
    REFUSED(EINVAL);
    io_prep_pread(&block, fd, (void *)-BLOCK, BLOCK, 0);
    REFUSED(EFAULT);
}

int main(void) {
    io_context_t made = context(8), none = 0;
    int fd = temp_file();
    put_pattern(fd, 0, BLOCK, 1);
    unreadable = buffer(2 * BLOCK);
    CHECK_EQ(mprotect(unreadable + BLOCK, BLOCK, PROT_NONE), 0);
    unreadable += BLOCK;
    lists(made, fd);
    requests(made, fd);
    struct io_event event;
    struct iocb block, *one = &block;
    struct timespec no_time = {0, 0}, short_time = {0, 1000};
    io_prep_fsync(&block, fd);
    CHECK_GIVES(io_submit(none, 1, &one), -EINVAL);
    CHECK_GIVES(io_submit((io_context_t)buffer(BLOCK), 1, &one), -EINVAL);
    CHECK_GIVES(io_destroy((io_context_t)buffer(BLOCK)), -EINVAL);
    CHECK_GIVES(io_destroy(none), -EINVAL);
    CHECK_GIVES(io_getevents((io_context_t)buffer(BLOCK), 1, 1, &event, &no_time), -EINVAL);
    CHECK_GIVES(io_getevents(made, 1, 1, &event, &no_time), 0);
    CHECK_GIVES(io_getevents(made, 1, 1, &event, &short_time), 0);
    CHECK_GIVES(io_getevents(made, 2, 1, &event, &short_time), -EINVAL);
    CHECK_GIVES(io_getevents(made, -1, 1, &event, &short_time), -EINVAL);
    CHECK_GIVES(io_cancel(made, &block, &event), -EINVAL);
    CHECK_GIVES(io_setup(0, &none), -EINVAL);
    CHECK_GIVES(io_setup(-1, &none), -EINVAL);
    CHECK_GIVES(io_setup(8, (io_context_t *)unreadable), -EFAULT);
    CHECK_GIVES(io_setup(8, &made), -EINVAL); // it is not 0
    CHECK_GIVES(io_setup(1 << 30, &none), -EINVAL);
    CHECK_GIVES(io_queue_init(0, &none), -EINVAL);
    CHECK_GIVES(io_destroy(made), 0);
    CHECK_GIVES(io_submit(made, 1, &one), -EINVAL);
    CHECK_GIVES(io_destroy(made), -EINVAL);
    return 0;
}
