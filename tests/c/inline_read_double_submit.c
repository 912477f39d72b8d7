// While a read is being served inside the call, its aiocb cannot be handed in a second time: EINVAL, and the first is
// undisturbed.
// glibc: skip: it takes an aiocb twice
// modes: shared,static,preload
// env: AIO_RS=routes=inline+stream
// may-skip: the file system of the temporary directory decides
#include "check.h"

static struct aiocb cb;

static void *reads(void *unused) {
    CHECK_EQ(aio_read(&cb), 0);
    return unused;
}

int main(void) {
    if (is_portable()) return 0; // there no read is served inside the call
    int fd = temp_file();
    put_pattern(fd, 0, 8192, 1);
    struct held h = hold(4096);
    char byte;
    if (!can_read_cached(fd)) SKIP("the file system cannot say what it has in the page cache");
    cb = request(fd, h.buffer, 4096, 0);
    struct aiocb other = request(fd, &byte, 1, 0);
    pthread_t thread = start_thread(reads, NULL);
    wait_held(&h);
    bool inside = aio_error(&cb) != EINPROGRESS; // nobody has opened its status
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(i == 0 ? aio_read(&cb) : i == 1 ? aio_write(&cb) : aio_fsync(O_SYNC, &cb), -1);
        CHECK_EQ(errno, EINVAL);
    }
    cb.aio_lio_opcode = LIO_READ;
    struct aiocb *list[1] = {&cb};
    CHECK_EQ(lio_listio(LIO_WAIT, list, 1, NULL), -1);
    CHECK_EQ(errno, EIO);
    CHECK_EQ(aio_read(&other), 0);
    CHECK_DONE(&other, 0, 1);
    memcpy(h.content, "content that the read replaces", 30);
    release_held(&h);
    join_thread(thread);
    CHECK_DONE(&cb, 0, 4096);
    CHECK(holds(h.buffer, 4096, 1));
    CHECK(inside);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 4096);
    return 0;
}
