// Requests on a descriptor that was closed count for its file, not for the next one of that number.
// interface: libaio
// glibc: races: a sync completes before writes on a descriptor that was closed since
#include "rings.h"

enum { COUNT = 16, BYTES = 256 << 10, ROUNDS = 40 };

int main(void) {
    io_context_t made = context(2 * COUNT), other = context(4);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/file", temp_dir());
    int fd = direct_file_at(path, COUNT * BYTES), different = direct_file(BLOCK), left = 0;
    char *data = buffer(BYTES);
    for (int round = 0; round < ROUNDS; round++) {
        struct iocb writes[COUNT], *list[COUNT], sync, *one = &sync;
        struct io_event event, events[COUNT];
        for (int i = 0; i < COUNT; i++) {
            io_prep_pwrite(&writes[i], fd, data, BYTES, (long long)i * BYTES);
            list[i] = &writes[i];
        }
        submit(made, list, COUNT);
        int number = fd;
        if (round % 3 == 1) CHECK_EQ(close(fd), 0);
        if (round % 3 == 2) CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, 0), 0);
        CHECK_EQ(dup2(different, fd), fd);
        fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
        CHECK(fd >= 0);
        bool of_file = round % 2;
        struct aio_rs_stats before = counts();
        io_prep_fdsync(&sync, of_file ? fd : number);
        submit(other, &one, 1);
        reap_all(other, BY_SYSTEM_CALL, &event, 1);
        if (of_file) left += COUNT - (int)ring_filled(made);
        else CHECK(counts().libaio_syncs_held == before.libaio_syncs_held, "the other file's sync waited");
        reap_all(made, BY_CALL, events, COUNT);
        for (int i = 0; i < COUNT; i++) CHECK_EQ(events[i].res, BYTES);
        CHECK_EQ(close(number), 0);
    }
    CHECK(left == 0, "%d writes were unfinished", left);
    CHECK_EQ(io_destroy(made), 0);
    return 0;
}
