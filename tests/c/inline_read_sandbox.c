// A thread that a sandbox keeps from sending signals gets those of its reads all the same, from a library thread that may.
#include "sandbox.h"

int main(void) {
    int fd = temp_file(), number = SIGRTMIN + 1, call = SYS_rt_sigqueueinfo;
    put_pattern(fd, 0, 4096, 1);
    block_signal(number);
    static unsigned char data[100];
    struct aiocb cb = request(fd, data, 100, 0);
    for (int i = 0; i < 10; i++) {
        notify_by_signal(&cb, number, i);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(take_signal(number).si_value.sival_int, i);
        if (i > 0) continue;
        filter_flags = 0;
        forbid(&call, 1, EPERM);
    }
    return 0;
}
