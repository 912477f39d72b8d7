// Datagrams keep their bounds and their order: a read takes one, a write sends one, an empty one too; too long a one is
// EMSGSIZE.
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>

static void datagrams(int from, int to) {
    char in[10][64];
    struct aiocb reads[10], writes[10];
    memset(in, 0, sizeof in);
    for (int i = 0; i < 10; i++) {
        reads[i] = request(to, in[i], i == 5 ? 3 : sizeof in[i], i);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    char out[10][64];
    for (int i = 0; i < 10; i++) {
        size_t length = i == 7 ? 0 : (size_t)snprintf(out[i], sizeof out[i], "datagram number %d", i);
        writes[i] = request(from, out[i], length, 100);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    for (int i = 0; i < 10; i++) {
        CHECK_DONE(&writes[i], 0, writes[i].aio_nbytes);
        size_t expected = i == 5 ? 3 : writes[i].aio_nbytes;
        CHECK_DONE(&reads[i], 0, expected);
        CHECK(memcmp(in[i], out[i], expected) == 0, "datagram %d: %s", i, in[i]);
    }
    // The rest of the one that was cut is gone.
    char last[8] = "";
    CHECK_EQ(write(from, "last", 4), 4);
    struct aiocb cb = request(to, last, sizeof last, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
    CHECK(strcmp(last, "last") == 0, "%s", last);

    static char huge[16 << 20];
    cb = request(from, huge, sizeof huge, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, EMSGSIZE, -1);
}

// More than the socket's queue takes: whole datagrams wait, none is cut or lost.
static void many(int from, int to) {
    enum { MANY = 500, LENGTH = 4000 };
    static struct aiocb writes[MANY];
    static char data[MANY][LENGTH], back[LENGTH + 1];
    for (int i = 0; i < MANY; i++) {
        fill(data[i], LENGTH, (unsigned)i);
        writes[i] = request(from, data[i], (size_t)(LENGTH - i), 0);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(read(to, back, sizeof back), LENGTH - i);
        CHECK(memcmp(back, data[i], (size_t)(LENGTH - i)) == 0, "datagram %d", i);
    }
    for (int i = 0; i < MANY; i++) CHECK_DONE(&writes[i], 0, LENGTH - i);
}

int main(void) {
    int s[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, s), 0);
    datagrams(s[0], s[1]);
    many(s[0], s[1]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
    many(s[0], s[1]);

    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof to;
    CHECK(a >= 0 && b >= 0);
    CHECK_EQ(bind(b, (struct sockaddr *)&to, sizeof to), 0);
    CHECK_EQ(getsockname(b, (struct sockaddr *)&to, &length), 0);
    CHECK_EQ(connect(a, (struct sockaddr *)&to, sizeof to), 0);
    datagrams(a, b);
    return 0;
}
