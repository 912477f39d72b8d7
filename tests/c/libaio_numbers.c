// Numbers that make no sense are answered as the kernel answers them, and leave nothing behind: a sync still waits for the writes
// before it, and a context has all its room.
// interface: libaio
// glibc: races: a sync completes before the writes that were submitted before it
#include "rings.h"

enum { COUNT = 32 };

static int fd;
static char *data;
static unsigned late, tried;

static void check_syncs_wait(io_context_t made) {
    struct iocb writes[COUNT], sync, *list[COUNT + 1];
    struct io_event events[COUNT + 1];
    for (int i = 0; i < COUNT; i++) {
        io_prep_pwrite(&writes[i], fd, data, 4 * BLOCK, i * 4 * BLOCK);
        list[i] = &writes[i];
    }
    io_prep_fdsync(&sync, fd);
    list[COUNT] = &sync;
    go_on_by_itself(made, fd);
    CHECK_EQ(io_submit(made, COUNT + 1, list), COUNT + 1);
    reap_all(made, BY_SYSTEM_CALL, events, COUNT + 1);
    tried++;
    late += place_of(events, COUNT + 1, &sync) == COUNT;
}

static void counts_of_requests(io_context_t made) {
    const long none[] = {-1, LONG_MIN, INT_MIN, -65536}, many[] = {LONG_MAX, LONG_MAX - 1, INT_MAX, 1l << 32, (1l << 32) + 1, 3};
    struct iocb one, sync, *reads[] = {&one, (struct iocb *)8, &one}, *syncs[] = {&sync, &one, (struct iocb *)8};
    struct io_event events[2];
    io_prep_pread(&one, fd, data, BLOCK, 0);
    io_prep_fsync(&sync, fd);
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++) {
        CHECK_EQ(io_submit(made, none[i], reads), -EINVAL);
        CHECK_EQ(io_submit(made, none[i], NULL), -EINVAL);
    }
    for (unsigned i = 0; i < sizeof many / sizeof *many; i++) {
        CHECK_EQ(io_submit(made, many[i], reads), 1);
        reap_all(made, BY_CALL, events, 1);
        CHECK_EQ(io_submit(made, many[i], syncs), 2);
        reap_all(made, BY_CALL, events, 2);
        CHECK_EQ(io_submit(made, many[i], NULL), -EFAULT);
        CHECK_EQ(io_submit(made, many[i], (struct iocb **)-8l), -EFAULT);
        CHECK_EQ(io_submit(made, many[i], reads + 1), -EFAULT);
        check_syncs_wait(made);
    }
    CHECK_EQ(io_submit(made, 0, NULL), 0);
}

// A list that never ends: as many as there is room for.
static void endless(io_context_t made, unsigned room) {
    enum { MOST = 1 << 16 };
    static struct iocb one, *list[MOST];
    static struct io_event events[MOST];
    io_prep_pread(&one, fd, data, BLOCK, 0);
    for (int i = 0; i < MOST; i++) list[i] = &one;
    for (int round = 0; round < 3; round++) {
        int done = io_submit(made, MOST, list);
        CHECK(done >= COUNT + 1, "%d of %u", done, room);
        int more;
        while ((more = io_submit(made, 1, list)) == 1) done++; // another processor may have a place left
        CHECK_EQ(more, -EAGAIN);
        CHECK(done < (int)room, "%d of %u", done, room);
        reap_all(made, BY_CALL, events, done);
        check_syncs_wait(made);
    }
}

static void counts_of_events(io_context_t made) {
    struct io_event events[4];
    struct timespec some_time = {0, 1000}, wrong[] = {{-1, 0}, {0, -1}, {0, 1000000000}};
    const struct { long least, most; int answer; } numbers[] = {
        {-1, 1, -EINVAL}, {2, 1, -EINVAL}, {1, -1, -EINVAL}, {LONG_MIN, LONG_MAX, -EINVAL}, {LONG_MAX, 0, -EINVAL},
        {LONG_MAX, LONG_MIN, -EINVAL}, {0, -1, -EINVAL}, {0, 0, 0}, {0, LONG_MAX, 0}, {LONG_MAX, LONG_MAX, 0}};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        CHECK_EQ(io_getevents(made, numbers[i].least, numbers[i].most, events, &some_time), numbers[i].answer);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (is_library()) CHECK_EQ(io_queue_wait(made, &wrong[i]), -EINVAL); // libaio does not wait at all
    struct iocb one, *list = &one;
    io_prep_pread(&one, fd, data, BLOCK, 0);
    submit(made, &list, 1);
    CHECK_EQ(io_getevents(made, 1, LONG_MAX, NULL, NULL), -EFAULT);
    if (is_library()) { // libaio reads both before it asks the kernel
        CHECK_EQ(io_getevents(made, 1, 1, events, (struct timespec *)8), -EFAULT);
        CHECK_EQ(io_queue_wait(made, (struct timespec *)8), -EFAULT);
    }
    // Events need not be aligned.
    char odd[sizeof(struct io_event) + 1];
    CHECK_EQ(io_getevents(made, 1, LONG_MAX, (struct io_event *)(odd + 1), NULL), 1);
}

static void contexts(void) {
    const long none[] = {1, 8, 4096, -1, LONG_MIN, -4096};
    struct io_event event;
    struct timespec no_time = {0, 0};
    struct iocb one, *list = &one;
    io_prep_pread(&one, fd, data, BLOCK, 0);
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++) {
        io_context_t made = (io_context_t)none[i];
        CHECK_EQ(io_submit(made, 1, &list), -EINVAL);
        CHECK_EQ(io_submit(made, LONG_MAX, NULL), -EINVAL);
        CHECK_EQ(io_cancel(made, &one, &event), -EINVAL);
        CHECK_EQ(io_destroy(made), -EINVAL);
        if (!is_library()) continue; // libaio looks into the ring first
        CHECK_EQ(io_getevents(made, 1, 1, &event, NULL), -EINVAL);
        CHECK_EQ(io_getevents(made, 1, 1, &event, &no_time), -EINVAL);
    }
    const int many[] = {0, -1, INT_MIN, INT_MAX, 1 << 30};
    for (unsigned i = 0; i < sizeof many / sizeof *many; i++) {
        io_context_t made = 0;
        int done = io_setup(many[i], &made);
        CHECK(done == -EINVAL || done == -EAGAIN, "%d: %d", many[i], done);
        CHECK_EQ(made, 0);
    }
}

int main(void) {
    fd = direct_file(COUNT * 4 * BLOCK);
    data = buffer(COUNT * 4 * BLOCK);
    io_context_t made = context(COUNT + 1);
    counts_of_requests(made);
    endless(made, ring_of(made)->size);
    counts_of_events(made);
    contexts();
    check_syncs_wait(made);
    CHECK_EQ(io_destroy(made), 0);
    CHECK(late == tried, "overtook in %u rounds of %u", tried - late, tried);
    return 0;
}
