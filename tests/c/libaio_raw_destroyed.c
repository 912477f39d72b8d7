// A context that a raw io_destroy has destroyed gives EINVAL in every call, and another one that is made at its address by whatever
// call is another one: it has all its room, and its syncs wait for its writes.
// interface: libaio
// glibc: fails: io_getevents looks into a ring that is no more
// timeout: 120
#include "rings.h"

enum { COUNT = 32 };

static int fd;
static char *data;

static void use(io_context_t made) {
    struct iocb block, *one = &block;
    struct io_event event;
    io_prep_pread(&block, fd, data, BLOCK, 0);
    submit(made, &one, 1);
    reap_all(made, BY_CALL, &event, 1);
}

static void check_gone(io_context_t made) {
    struct iocb blocks[2], *list[2] = {&blocks[0], &blocks[1]};
    struct io_event event;
    struct timespec no_time = {0, 0}, some_time = {0, 1000};
    io_prep_pread(&blocks[0], fd, data, BLOCK, 0);
    io_prep_fsync(&blocks[1], fd);
    CHECK_EQ(io_submit(made, 0, list), -EINVAL);
    CHECK_EQ(io_submit(made, 1, list), -EINVAL);
    CHECK_EQ(io_submit(made, 2, list), -EINVAL);
    CHECK_EQ(io_submit(made, 1, &list[1]), -EINVAL);
    CHECK_EQ(io_submit(made, LONG_MAX, list), -EINVAL);
    CHECK_EQ(io_submit(made, 1, NULL), -EINVAL);
    CHECK_EQ(io_getevents(made, 0, 1, &event, &no_time), -EINVAL);
    CHECK_EQ(io_getevents(made, 1, 1, &event, &no_time), -EINVAL);
    CHECK_EQ(io_pgetevents(made, 1, 1, &event, &no_time, NULL), -EINVAL);
    CHECK_EQ(io_queue_run(made), -EINVAL);
    CHECK_EQ(io_getevents(made, 1, 1, &event, NULL), -EINVAL);
    CHECK_EQ(io_getevents(made, 0, 1, &event, &some_time), -EINVAL);
    CHECK_EQ(io_queue_wait(made, &some_time), -EINVAL);
    CHECK_EQ(io_cancel(made, &blocks[0], &event), -EINVAL);
}

// Fills the context: whether it has room for that many.
static void check_room(io_context_t made, int most) {
    enum { MOST = 4096 };
    static struct iocb polls[MOST];
    static struct io_event events[MOST];
    struct iocb *list[MOST];
    int p[2];
    CHECK_EQ(pipe(p), 0);
    CHECK(most <= MOST);
    for (int i = 0; i < most; i++) {
        io_prep_poll(&polls[i], p[0], POLLIN);
        list[i] = &polls[i];
    }
    for (int done = 0; done < most;) {
        int accepted = io_submit(made, most - done, list + done);
        CHECK(accepted > 0, "%d after %d", accepted, done);
        done += accepted;
    }
    CHECK_EQ(write(p[1], "x", 1), 1);
    reap_all(made, BY_CALL, events, most);
    CHECK_EQ(close(p[0]) | close(p[1]), 0);
}

static void check_syncs_wait(io_context_t made, bool *overtook) {
    struct iocb writes[COUNT], sync, *list[COUNT + 1];
    struct io_event events[COUNT + 1];
    for (int i = 0; i < COUNT; i++) {
        io_prep_pwrite(&writes[i], fd, data, 4 * BLOCK, i * 4 * BLOCK);
        list[i] = &writes[i];
    }
    io_prep_fdsync(&sync, fd);
    list[COUNT] = &sync;
    go_on_by_itself(made, fd);
    submit(made, list, COUNT);
    submit(made, list + COUNT, 1);
    reap_all(made, BY_SYSTEM_CALL, events, COUNT + 1);
    *overtook |= place_of(events, COUNT + 1, &sync) != COUNT;
}

int main(void) {
    fd = direct_file(COUNT * 4 * BLOCK);
    data = buffer(COUNT * 4 * BLOCK);
    bool overtook = false;
    for (int round = 0; round < 12; round++) {
        io_context_t made = context(round % 2 ? 1 : 2000), again = 0;
        use(made);
        CHECK_EQ(syscall(SYS_io_destroy, made), 0);
        if (round % 3 == 0) check_gone(made);
        if (round % 3 == 1) CHECK_EQ(io_destroy(made), -EINVAL);
        int room = round % 2 ? 2000 : COUNT + 1;
        if (round % 4 < 2) CHECK_EQ(io_setup(room, &again), 0);
        else CHECK_EQ(syscall(SYS_io_setup, room, &again), 0);
        if (round % 5) check_syncs_wait(again, &overtook);
        check_room(again, room);
        check_syncs_wait(again, &overtook);
        CHECK_EQ(io_destroy(again), 0);
        check_gone(again);
    }
    CHECK(!overtook, "a sync overtook writes");
    return 0;
}
