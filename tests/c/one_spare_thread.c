// A program that always waits for its request needs one thread and a spare, however busy the processors are: while the spare is
// being made, no other one is asked for.
// glibc: skip: it has no figures
// env: AIO_RS=routes=worker
// once: it is about the threads alone
// alone: it keeps all processors busy
#include "check.h"

enum { SPINNERS = 6, REQUESTS = 10000 };

int main(void) {
    int fd = temp_file();
    char byte = 'x';
    pid_t spinners[SPINNERS];
    for (int i = 0; i < SPINNERS; i++) {
        spinners[i] = fork();
        CHECK(spinners[i] >= 0);
        if (spinners[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) __asm__ volatile("");
        }
    }
    double enough = now_s() + 6;
    for (int i = 0; i < REQUESTS && now_s() < enough; i++) {
        struct aiocb cb = request(fd, &byte, 1, i % 64);
        CHECK_EQ(aio_write(&cb), 0);
        wait_done(&cb);
        CHECK_EQ(aio_return(&cb), 1);
    }
    for (int i = 0; i < SPINNERS; i++) {
        kill(spinners[i], SIGKILL);
        waitpid(spinners[i], NULL, 0);
    }
    unsigned long most = counts().threads_most;
    CHECK(most >= 1 && most <= 4, "%lu threads", most);
    return 0;
}
