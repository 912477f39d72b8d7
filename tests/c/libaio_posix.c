// A sync waits for earlier requests of POSIX's interface on its file, too; also by a descriptor that is open for reading, which
// an aio_fsync must not be made by in this configuration.
// interface: libaio
// env: AIO_RS=fsync=strict
// glibc: races: a sync completes before writes of aio_write
#include "rings.h"

enum { COUNT = 16, BYTES = 256 << 10, ROUNDS = 50 };

int main(void) {
    io_context_t made = context(4);
    int fd = direct_file(COUNT * BYTES), left = 0;
    char *data = buffer(BYTES), path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int for_reading = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(for_reading >= 0);
    for (int round = 0; round < ROUNDS; round++) {
        static struct aiocb writes[COUNT];
        struct iocb sync, *one = &sync;
        struct io_event event;
        for (int i = 0; i < COUNT; i++) {
            writes[i] = request(fd, data, BYTES, (off_t)i * BYTES);
            CHECK_EQ(aio_write(&writes[i]), 0);
        }
        io_prep_fdsync(&sync, round % 2 ? fd : for_reading);
        submit(made, &one, 1);
        reap_all(made, BY_SYSTEM_CALL, &event, 1);
        CHECK_EQ(event.res, 0);
        for (int i = 0; i < COUNT; i++) left += aio_error(&writes[i]) == EINPROGRESS;
        for (int i = 0; i < COUNT; i++) CHECK_DONE(&writes[i], 0, BYTES);
    }
    CHECK(left == 0, "%d writes were unfinished", left);
    CHECK_EQ(io_destroy(made), 0);
    return 0;
}
