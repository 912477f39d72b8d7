// Requests of one descriptor that do not overlap run in parallel: one that hangs does not hold up the others.
// glibc: fails: one slow request of a descriptor holds up all others of it
// holds-reads
#include "check.h"

int main(void) {
    need_writes_beside_reads();
    int fd = temp_file();
    put_pattern(fd, 0, 65536, 1);
    struct held h[3];
    struct aiocb heads[3];
    for (int i = 0; i < 3; i++) held_read(&h[i], &heads[i], fd, 4096, i * 8192);
    unsigned char data[4096], back[4096];
    for (unsigned i = 0; i < 20; i++) {
        fill(data, sizeof data, 50 + i);
        struct aiocb cb = request(fd, data, sizeof data, 32768);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4096);
        cb = request(fd, back, sizeof back, 32768);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, 4096);
        CHECK(holds(back, sizeof back, 50 + i));
    }
    // Two reads of the same bytes do not wait for each other either.
    struct aiocb same = request(fd, back, sizeof back, 8192 + 100);
    CHECK_EQ(aio_read(&same), 0);
    CHECK_DONE(&same, 0, 4096);
    // The neighbours of a range are not in it.
    for (int i = 0; i < 2; i++) {
        struct aiocb cb = request(fd, data, 4096, i ? 8192 + 4096 : 8192 - 4096);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4096);
    }
    for (int i = 0; i < 3; i++) CHECK_EQ(aio_error(&heads[i]), EINPROGRESS);
    for (int i = 2; i >= 0; i--) {
        release_held(&h[i]);
        CHECK_DONE(&heads[i], 0, 4096);
    }
    return 0;
}
