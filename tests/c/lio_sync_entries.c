// A list may hold syncs, with glibc's opcodes LIO_SYNC (4) and LIO_DSYNC (3): barriers for what stands before them.
#include "check.h"

enum { DSYNC_ENTRY = 3, SYNC_ENTRY = 4 };

int main(void) {
    for (int opcode = DSYNC_ENTRY; opcode <= SYNC_ENTRY; opcode++) {
        int fd = temp_file();
        struct held h = hold(4096);
        struct aiocb held_one = request(fd, h.buffer, 4096, 0), write = request(fd, "x", 1, 10);
        struct aiocb barrier = request(fd, NULL, 0, 0), *list[] = {&held_one, &write, &barrier};
        held_one.aio_lio_opcode = write.aio_lio_opcode = LIO_WRITE;
        barrier.aio_lio_opcode = opcode;
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, 3, NULL), 0);
        wait_held(&h);
        settle();
        CHECK_EQ(aio_error(&barrier), EINPROGRESS);
        release_held(&h);
        CHECK_DONE(&barrier, 0, 0);
        CHECK_EQ(aio_error(&held_one), 0);
        CHECK_EQ(aio_error(&write), 0);

        CHECK_EQ(lio_listio(LIO_WAIT, &list[2], 1, NULL), 0);
        CHECK_EQ(aio_error(&barrier), 0);
    }
    return 0;
}
