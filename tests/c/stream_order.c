// Reads of one stream take its bytes in call order, and writes put them there in call order, however they are cut and
// whatever their priority.
#include "check.h"

enum { COUNT = 300, MOST = 20000 };

static struct aiocb cbs[COUNT];

static size_t size_of(int i) { return (size_t)(i * 7919 % MOST) + 1; }

struct reader {
    int fd;
    char *to;
    size_t length;
};

static void *read_all(void *argument) {
    struct reader *r = argument;
    for (size_t at = 0; at < r->length;) {
        ssize_t got = read(r->fd, r->to + at, r->length - at);
        CHECK(got > 0);
        at += (size_t)got;
    }
    return NULL;
}

static void writes_in_order(int from, int to) {
    size_t total = 0;
    for (int i = 0; i < COUNT; i++) total += size_of(i);
    char *data = malloc(total), *back = malloc(total);
    fill(data, total, 11);
    size_t at = 0;
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(from, data + at, size_of(i), 0);
        cbs[i].aio_reqprio = is_library() ? i * 5 % 20 : 0; // libc lets a lower priority overtake
        CHECK_EQ(aio_write(&cbs[i]), 0);
        at += size_of(i);
    }
    CHECK_EQ(aio_error(&cbs[COUNT - 1]), EINPROGRESS);
    struct reader r = {to, back, total};
    join_thread(start_thread(read_all, &r));
    for (int i = 0; i < COUNT; i++) CHECK_DONE(&cbs[i], 0, size_of(i));
    CHECK(holds(back, total, 11));
    free(data);
    free(back);
}

static void reads_in_order(int from, int to) {
    size_t total = 0;
    for (int i = 0; i < COUNT; i++) total += size_of(i);
    char *data = malloc(total), *back = calloc(1, total);
    fill(data, total, 12);
    size_t at = 0;
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(to, back + at, size_of(i), 0);
        cbs[i].aio_reqprio = is_library() ? (COUNT - i) % 20 : 0;
        CHECK_EQ(aio_read(&cbs[i]), 0);
        at += size_of(i);
    }
    // A read may return less than it asked for, so feed one at a time until they are all served.
    size_t sent = 0, taken = 0;
    for (int i = 0; i < COUNT; i++) {
        size_t piece = size_of(i) > 4096 ? 4096 : size_of(i);
        CHECK_EQ(write(from, data + sent, piece), (ssize_t)piece);
        sent += piece;
        wait_done(&cbs[i]);
        CHECK_EQ(aio_error(&cbs[i]), 0);
        ssize_t got = aio_return(&cbs[i]);
        CHECK(got > 0 && (size_t)got <= sent - taken, "read %d took %zd", i, got);
        CHECK(memcmp((char *)cbs[i].aio_buf, data + taken, (size_t)got) == 0, "read %d has other bytes", i);
        taken += (size_t)got;
    }
    free(data);
    free(back);
}

// All data first, so that all reads are ready together.
static void bytes_in_order(int from, int to) {
    enum { BYTES = 4000 };
    static struct aiocb each[BYTES];
    static unsigned char data[BYTES], back[BYTES];
    fill(data, sizeof data, 13);
    for (int i = 0; i < BYTES / 2; i++) {
        each[i] = request(to, &back[i], 1, 0);
        CHECK_EQ(aio_read(&each[i]), 0);
    }
    CHECK_EQ(write(from, data, sizeof data), (ssize_t)sizeof data);
    for (int i = BYTES / 2; i < BYTES; i++) {
        each[i] = request(to, &back[i], 1, 0);
        CHECK_EQ(aio_read(&each[i]), 0);
    }
    for (int i = 0; i < BYTES; i++) CHECK_DONE(&each[i], 0, 1);
    CHECK(memcmp(data, back, sizeof data) == 0);
}

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe(p), 0);
    writes_in_order(p[1], p[0]);
    reads_in_order(p[1], p[0]);
    CHECK_EQ(pipe(p), 0);
    bytes_in_order(p[1], p[0]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    writes_in_order(s[0], s[1]);
    reads_in_order(s[0], s[1]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    bytes_in_order(s[0], s[1]);
    return 0;
}
