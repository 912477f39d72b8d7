// Even a negative aio_offset is ignored on a stream.
// glibc: fails: a negative offset on a pipe or socket is refused although it has no meaning there
#include "check.h"

static void negative_offset(int reader, int writer) {
    char back[16] = "";
    struct aiocb out = request(writer, "text", 4, -1), in = request(reader, back, sizeof back, -4096);
    CHECK_EQ(aio_write(&out), 0);
    CHECK_DONE(&out, 0, 4);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_DONE(&in, 0, 4);
    CHECK(strcmp(back, "text") == 0, "%s", back);
}

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe(p), 0);
    negative_offset(p[0], p[1]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    negative_offset(s[0], s[1]);
    return 0;
}
