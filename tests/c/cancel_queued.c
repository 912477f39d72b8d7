// A queued request can be cancelled: aio_cancel says AIO_CANCELED, the status is ECANCELED when it returns, and the
// request never touches the file or the buffer.
// env: AIO_RS=threads=1
// holds-reads
#include "check.h"

int main(void) {
    aio_init(&(struct aioinit){.aio_threads = 1, .aio_num = 64}); // for libc
    int blocked = temp_file(), fd = temp_file();
    put_pattern(blocked, 0, 4096, 1);
    put_pattern(fd, 0, 4096, 2);
    struct held h;
    struct aiocb head;
    held_read(&h, &head, blocked, 4096, 0); // the only worker is busy

    unsigned char in[64], out[64];
    memset(in, 0x55, sizeof in);
    fill(out, sizeof out, 3);
    struct aiocb read_cb = request(fd, in, sizeof in, 0), write_cb = request(fd, out, sizeof out, 1000);
    CHECK_EQ(aio_write(&write_cb), 0);
    CHECK_EQ(aio_cancel(fd, &write_cb), AIO_CANCELED);
    CHECK_EQ(aio_error(&write_cb), ECANCELED);
    CHECK_EQ(aio_return(&write_cb), -1);
    CHECK_EQ(aio_read(&read_cb), 0);
    CHECK_EQ(aio_cancel(fd, &read_cb), AIO_CANCELED);
    CHECK_EQ(aio_error(&read_cb), ECANCELED);
    CHECK_EQ(aio_return(&read_cb), -1);
    CHECK_EQ(aio_error(&read_cb), ECANCELED); // it keeps its answer
    CHECK_EQ(aio_error(&head), EINPROGRESS);

    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    // The cancelled aiocbs can be used again.
    write_cb.aio_offset = 2000;
    CHECK_EQ(aio_write(&write_cb), 0);
    CHECK_DONE(&write_cb, 0, sizeof out);
    CHECK(file_holds(fd, 2000, sizeof out, 3));
    unsigned char now[4096], before[4096];
    fill(before, sizeof before, 2);
    memcpy(before + 2000, out, sizeof out);
    CHECK_EQ(pread(fd, now, sizeof now, 0), 4096);
    CHECK(memcmp(now, before, sizeof now) == 0, "a cancelled write was done");
    for (size_t i = 0; i < sizeof in; i++) CHECK_EQ(in[i], 0x55);
    return 0;
}
