// A sync of a descriptor that is open for nothing (O_PATH) fails with EBADF and spoils no other sync of its file: in a
// list the entry of a good descriptor succeeds, before the bad one or after it, at once or when both had to wait.
#include "check.h"

enum { DSYNC_ENTRY = 3, SYNC_ENTRY = 4 };

static int good, path_only;

static void lists(int opcode, bool bad_first) {
    struct aiocb ok = request(good, NULL, 0, 0), bad = request(path_only, NULL, 0, 0);
    struct aiocb *list[] = {bad_first ? &bad : &ok, bad_first ? &ok : &bad};
    ok.aio_lio_opcode = bad.aio_lio_opcode = opcode;
    CHECK_FAILS(lio_listio(LIO_WAIT, list, 2, NULL), EIO);
    CHECK_DONE(&bad, EBADF, -1);
    CHECK_DONE(&ok, 0, 0);

    struct held h;
    struct aiocb head;
    held_write(&h, &head, good, 4096, 0, 1);
    errno = 0;
    CHECK(lio_listio(LIO_NOWAIT, list, 2, NULL) == 0 || errno == EIO);
    CHECK_EQ(aio_error(&ok), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_DONE(&bad, EBADF, -1);
    CHECK_DONE(&ok, 0, 0);
    free_held(&h);
}

int main(void) {
    good = temp_open("file", O_RDWR);
    path_only = temp_open("file", O_PATH);
    struct aiocb cb = request(path_only, NULL, 0, 0);
    CHECK_EQ(ERROR_OF(aio_fsync(O_SYNC, &cb), &cb), EBADF);
    CHECK_EQ(ERROR_OF(aio_fsync(O_DSYNC, &cb), &cb), EBADF);
    for (int opcode = DSYNC_ENTRY; opcode <= SYNC_ENTRY; opcode++) {
        lists(opcode, true);
        lists(opcode, false);
    }
    return 0;
}
