// lio_listio with LIO_NOWAIT returns at once; the list's notification comes after every member's own, once.
#include "check.h"

enum { N = 16, LIST = 1000 };

int main(void) {
    block_signal(SIGRTMIN);
    int fd = temp_file(), ends[2];
    CHECK_EQ(pipe(ends), 0);
    static char data[N], in;
    static struct aiocb cbs[N + 1];
    struct aiocb *list[N + 1], of_list = {0};
    notify_by_signal(&of_list, SIGRTMIN, LIST);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < N; i++) {
            cbs[i] = request(fd, &data[i], 1, i % 3 ? i : 0);
            cbs[i].aio_lio_opcode = i % 2 ? LIO_WRITE : LIO_READ;
            notify_by_signal(&cbs[i], SIGRTMIN, i);
            list[i] = &cbs[i];
        }
        // This one ends only when the call has returned.
        cbs[N] = request(ends[0], &in, 1, 0);
        cbs[N].aio_lio_opcode = LIO_READ;
        notify_by_signal(&cbs[N], SIGRTMIN, N);
        list[N] = &cbs[N];
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, N + 1, &of_list.aio_sigevent), 0);
        CHECK_EQ(aio_error(&cbs[N]), EINPROGRESS);
        CHECK_EQ(write(ends[1], "x", 1), 1);

        unsigned seen = 0;
        for (int i = 0; i <= N; i++) {
            int value = take_signal(SIGRTMIN).si_value.sival_int;
            CHECK(value <= N, "the list's notification came after %d of %d", i, N + 1);
            CHECK(!(seen & 1u << value));
            seen |= 1u << value;
            CHECK(aio_error(&cbs[value]) != EINPROGRESS);
        }
        CHECK_EQ(take_signal(SIGRTMIN).si_value.sival_int, LIST);
    }
    settle();
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGRTMIN));
    return 0;
}
