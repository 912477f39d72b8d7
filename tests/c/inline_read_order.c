// A read never overtakes a write that was made before it through the same descriptor, although it could be served at once:
// not one that runs, not one that is queued, and not one of the same list.
// glibc: skip: the writes here hold each other up for ever
#include "check.h"

static void behind_a_write(bool queued) {
    int fd = temp_file(), other = temp_file();
    put_pattern(fd, 0, 8192, 1);
    struct held h;
    struct aiocb head, write_cb;
    unsigned char data[4096], back[4096];
    fill(data, sizeof data, 3);
    held_write(&h, &head, fd, 4096, 0, 2);
    if (queued) {
        write_cb = request(fd, data, sizeof data, 0);
        CHECK_EQ(aio_write(&write_cb), 0);
    }
    struct aiocb read_cb = request(fd, back, sizeof back, 0);
    CHECK_EQ(aio_read(&read_cb), 0);
    settle();
    CHECK_EQ(aio_error(&read_cb), EINPROGRESS);
    // Another descriptor is not concerned.
    struct aiocb cb = request(other, back, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 0);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    if (queued) CHECK_DONE(&write_cb, 0, 4096);
    CHECK_DONE(&read_cb, 0, 4096);
    CHECK(holds(back, sizeof back, queued ? 3 : 2), "the read was served before the write");
    free_held(&h);
    close(fd);
    close(other);
}

static void in_a_list(void) {
    int fd = temp_file();
    unsigned char data[512], back[512];
    for (unsigned i = 0; i < 500; i++) {
        fill(data, sizeof data, i);
        struct aiocb write_cb = request(fd, data, sizeof data, 0), read_cb = request(fd, back, sizeof back, 0);
        write_cb.aio_lio_opcode = LIO_WRITE;
        read_cb.aio_lio_opcode = LIO_READ;
        struct aiocb *list[2] = {&write_cb, &read_cb};
        CHECK_EQ(lio_listio(LIO_WAIT, list, 2, NULL), 0);
        CHECK_EQ(aio_return(&write_cb), 512);
        CHECK_EQ(aio_return(&read_cb), 512);
        CHECK(holds(back, sizeof back, i), "list %u", i);
    }
    // What was refused counts no more.
    struct aiocb bad = request(fd, data, sizeof data, 0), cb = request(fd, back, sizeof back, 0);
    bad.aio_reqprio = -1;
    CHECK_EQ(aio_write(&bad), -1);
    bad = request(fd, data, sizeof data, -1);
    CHECK_EQ(aio_write(&bad), 0);
    CHECK_DONE(&bad, EINVAL, -1);
    struct aio_rs_stats before = counts();
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 512);
    bool inside = counts().route_inline == before.route_inline + 1;
    if (has_inline_route() && can_read_cached(fd)) CHECK(inside);
    close(fd);
}

int main(void) {
    behind_a_write(false);
    behind_a_write(true);
    in_a_list();
    return 0;
}
