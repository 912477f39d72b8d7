// Pipes, sockets and terminals have no position: aio_offset is ignored.
#include "check.h"

static void any_offset(int reader, int writer) {
    static const off_t offsets[] = {0, 1, 4096, 12345, (off_t)1 << 40, INT64_MAX};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        char text[16] = "", back[16] = "";
        int length = snprintf(text, sizeof text, "text %zu", i);
        struct aiocb out = request(writer, text, (size_t)length, offsets[i]);
        struct aiocb in = request(reader, back, sizeof back, offsets[i]);
        CHECK_EQ(aio_write(&out), 0);
        CHECK_DONE(&out, 0, length);
        CHECK_EQ(aio_read(&in), 0);
        CHECK_DONE(&in, 0, length);
        CHECK(strcmp(text, back) == 0, "%s", back);
    }
}

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe(p), 0);
    any_offset(p[0], p[1]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    any_offset(s[0], s[1]);
    return 0;
}
