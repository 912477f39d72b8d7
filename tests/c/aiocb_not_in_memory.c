// A request whose aiocb is not in memory when it ends (swapped out; here held by userfaultfd) waits for that, but no other request
// does.
// glibc: fails: all requests wait for the page of one aiocb
// env: AIO_RS=threads=4
#include "check.h"

int main(void) {
    struct held page = hold(4096), data;
    if (page.uffd < 0) SKIP("no userfaultfd");
    struct uffdio_zeropage now = {.range = {.start = (uintptr_t)page.buffer, .len = page.length}};
    CHECK_EQ(ioctl(page.uffd, UFFDIO_ZEROPAGE, &now), 0);
    struct aiocb *cb = (struct aiocb *)page.buffer;
    int fd = temp_file(), other = temp_file();
    held_write(&data, cb, fd, 4096, 0, 1);
    memcpy(page.content, page.buffer, page.length);
    CHECK_EQ(madvise(page.buffer, page.length, MADV_DONTNEED), 0);
    release_held(&data);
    wait_held(&page);
    for (int round = 0; round < 20; round++) {
        struct aiocb write = request(other, "data", 4, round * 4), sync = request(other, NULL, 0, 0);
        CHECK_EQ(aio_write(&write), 0);
        CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
        CHECK_DONE(&write, 0, 4);
        CHECK_DONE(&sync, 0, 0);
    }
    release_held(&page);
    CHECK_DONE(cb, 0, 4096);
    CHECK(file_holds(fd, 0, 4096, 1));
    return 0;
}
