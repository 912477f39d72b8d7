// A thousand deferred syncs leave a program with a low RLIMIT_NOFILE all its descriptors: it can open as many as before, and close
// the one that the syncs are on.
// interface: libaio
// glibc: skip: it defers nothing
// timeout: 60
#include "rings.h"

enum { SYNCS = 1000, LIMIT = 40 };

static struct iocb syncs[SYNCS];
static struct io_event events[SYNCS];
static io_context_t made;

// How many more the program can have.
static int free_numbers(void) {
    int numbers[LIMIT], count = 0;
    while (count < LIMIT && (numbers[count] = dup(0)) >= 0) count++;
    for (int i = 0; i < count; i++) CHECK_EQ(close(numbers[i]), 0);
    return count;
}

int main(void) {
    struct held h = hold(BLOCK);
    struct aiocb stuck;
    struct rlimit limit = {LIMIT, LIMIT};
    made = context(SYNCS + 10);
    int fd = temp_file(), writer = dup(fd);
    held_write(&h, &stuck, writer, BLOCK, 0, 1);
    struct iocb *one = &syncs[0];
    io_prep_fsync(one, fd);
    submit(made, &one, 1);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int before = free_numbers();
    CHECK(before > 2, "%d", before);
    for (int i = 1; i < SYNCS; i++) {
        one = &syncs[i];
        i % 2 ? io_prep_fsync(one, fd) : io_prep_fdsync(one, fd);
        submit(made, &one, 1);
    }
    CHECK_EQ(free_numbers(), before);
    // Its number is free again; a duplicate, shared by all of them, takes another.
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(free_numbers(), before);
    release_held(&h);
    reap_all(made, BY_CALL, events, SYNCS);
    for (int i = 0; i < SYNCS; i++) CHECK(events[i].obj == &syncs[i] && events[i].res == 0, "place %d", i);
    CHECK_DONE(&stuck, 0, BLOCK);
    CHECK_EQ(close(writer), 0);
    free_held(&h);
    CHECK_EQ(io_destroy(made), 0);
    return 0;
}
