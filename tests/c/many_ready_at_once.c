// However many requests become ready in one moment, all of them run at once: behind one that ended, or by a list; also
// after many that were so quick that one thread was enough.
// glibc: skip: it runs the requests of a descriptor one after the other
// env: AIO_RS=idle=60s
// holds-reads
#include "check.h"

enum { COUNT = 16, AREA = COUNT * 4096 };

static int file;
static struct held gates[COUNT];
static struct aiocb cbs[COUNT];

// Each is in a system call of its own, and stays there.
static void all_run_at_once(void) {
    for (int i = 0; i < COUNT; i++) CHECK_EQ(aio_error(&cbs[i]), EINPROGRESS);
    for (int i = 0; i < COUNT; i++) release_held(&gates[i]);
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(&cbs[i], 0, 4096);
        free_held(&gates[i]);
    }
}

static void quick_ones(int fd) {
    unsigned char data[512] = "";
    for (int i = 0; i < 200; i++) {
        struct aiocb cb = request(fd, data, sizeof data, 0);
        CHECK_EQ(i % 2 ? aio_write(&cb) : aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, sizeof data);
    }
}

static void behind_one(bool quick) {
    struct held h;
    struct aiocb head;
    if (quick) quick_ones(file);
    held_write(&h, &head, file, AREA, 0, 2);
    for (int i = 0; i < COUNT; i++) {
        gates[i] = hold(4096);
        cbs[i] = request(file, gates[i].buffer, 4096, i * 4096);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) CHECK(untouched(&gates[i]));
    release_held(&h);
    CHECK_DONE(&head, 0, AREA);
    for (int i = 0; i < COUNT; i++) wait_held(&gates[i]);
    all_run_at_once();
    free_held(&h);
}

static void by_list(bool quick) {
    struct aiocb *list[COUNT];
    if (quick) quick_ones(file);
    for (int i = 0; i < COUNT; i++) {
        gates[i] = hold(4096);
        cbs[i] = request(temp_file(), gates[i].buffer, 4096, 0); // writes of one file would wait in the kernel
        cbs[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &cbs[i];
    }
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, COUNT, NULL), 0);
    for (int i = 0; i < COUNT; i++) wait_held(&gates[i]);
    all_run_at_once();
    for (int i = 0; i < COUNT; i++) close(cbs[i].aio_fildes);
}

int main(void) {
    file = temp_file();
    put_pattern(file, 0, AREA, 1);
    // First as many threads as will be needed, and one to spare.
    struct held more[2];
    struct aiocb more_cbs[2];
    for (int i = 0; i < 2; i++) held_read(&more[i], &more_cbs[i], file, 4096, 0);
    for (int i = 0; i < COUNT; i++) held_read(&gates[i], &cbs[i], file, 4096, i * 4096);
    all_run_at_once();
    for (int i = 0; i < 2; i++) {
        release_held(&more[i]);
        CHECK_DONE(&more_cbs[i], 0, 4096);
    }
    CHECK(thread_count() > COUNT);
    for (int quick = 0; quick < 2; quick++) {
        behind_one(quick);
        by_list(quick);
    }
    return 0;
}
