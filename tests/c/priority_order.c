// Among requests that wait for a worker a lower aio_reqprio runs first; equal ones run in call order.
// glibc: skip: its one queue per descriptor keeps the order only within a descriptor
// env: AIO_RS=threads=1
// holds-reads
#include "check.h"

enum { COUNT = 20 };

int main(void) {
    int file = temp_file(), fd[COUNT], p[2];
    put_pattern(file, 0, 4096, 1);
    CHECK_EQ(pipe(p), 0);
    struct held h, gates[COUNT];
    struct aiocb head, cbs[COUNT];
    held_read(&h, &head, file, 4096, 0);
    for (int i = 0; i < COUNT; i++) {
        fd[i] = temp_file();
        put_pattern(fd[i], 0, 4096, 1);
        drop_cache(fd[i]);
        gates[i] = hold(4096);
        cbs[i] = request(fd[i], gates[i].buffer, 4096, 0);
        cbs[i].aio_reqprio = i * 7 % COUNT / 2; // 0..9, each twice
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    release_held(&h);
    for (int prio = 0; prio < COUNT / 2; prio++)
        for (int i = 0; i < COUNT; i++) {
            if (cbs[i].aio_reqprio != prio) continue;
            wait_held(&gates[i]); // the only worker is here
            for (int n = 0; n < COUNT; n++) CHECK(n == i || gates[n].released || untouched(&gates[n]));
            release_held(&gates[i]);
            CHECK_DONE(&cbs[i], 0, 4096);
        }
    return 0;
}
