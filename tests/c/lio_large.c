// Lists of 10,000 entries, with LIO_WAIT and LIO_NOWAIT: every one is done, and the list's notification comes once.
#include "check.h"

enum { N = 10000, SIZE = 64 };

static struct aiocb cbs[N], *list[N];
static unsigned char data[N][SIZE];

static void prepare(int fd, int opcode) {
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, data[i], SIZE, i * SIZE);
        cbs[i].aio_lio_opcode = opcode;
        list[i] = &cbs[i];
    }
}

static void check_all_done(void) {
    for (int i = 0; i < N; i++) {
        CHECK_EQ(aio_error(&cbs[i]), 0);
        CHECK_EQ(aio_return(&cbs[i]), SIZE);
    }
}

int main(void) {
    block_signal(SIGRTMIN);
    int fd = temp_file();
    for (unsigned i = 0; i < N; i++) fill(data[i], SIZE, i);
    prepare(fd, LIO_WRITE);
    CHECK_EQ(lio_listio(LIO_WAIT, list, N, NULL), 0);
    check_all_done();

    memset(data, 0, sizeof data);
    struct aiocb of_list = {0};
    notify_by_signal(&of_list, SIGRTMIN, 3);
    prepare(fd, LIO_READ);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, N, &of_list.aio_sigevent), 0);
    CHECK_EQ(take_signal(SIGRTMIN).si_value.sival_int, 3);
    check_all_done();
    for (unsigned i = 0; i < N; i++) CHECK(holds(data[i], SIZE, i), "entry %u", i);
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGRTMIN));
    return 0;
}
