// A sync that waits takes a place of its context, and so does an event until it is taken: over maxevents a sync, and what comes after
// one that waits, gets EAGAIN, and nothing that was accepted lacks a place later, whichever processor it is submitted from.
// interface: libaio
#include "rings.h"

enum { ASKED = 20, MOST = 1024 };

static int fd, other;
static char byte;

// Fills the context with events that nobody takes. How many there are.
static int fill_up(io_context_t made) {
    static struct iocb reads[MOST];
    for (int count = 0;; count++) {
        CHECK(count < MOST);
        struct iocb *one = &reads[count];
        io_prep_pread(one, other, &byte, 1, 0);
        int done = io_submit(made, 1, &one);
        if (done == -EAGAIN) return count;
        CHECK_EQ(done, 1);
    }
}

static bool is_accepted(io_context_t made, struct iocb *block) {
    int done = io_submit(made, 1, &block);
    CHECK(done == 1 || done == -EAGAIN, "%d", done);
    return done == 1;
}

int main(void) {
    static struct io_event events[MOST];
    static struct iocb syncs[MOST], reads[MOST];
    other = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    fd = temp_file();
    for (int way = 0; way < WAYS; way++) {
        struct held h = hold(BLOCK);
        struct aiocb stuck;
        io_context_t made = context(ASKED);
        if (is_library()) held_write(&h, &stuck, fd, BLOCK, 0, 1); // the syncs have to wait for it
        int room = fill_up(made), accepted = 0, read = 0;
        io_prep_fdsync(&syncs[0], fd);
        for (int i = 0; i < 3; i++) CHECK(!is_accepted(made, &syncs[0]));
        // As many places as were asked for, and what more there is.
        reap_all(made, way, events, room);
        for (; accepted < MOST; accepted++) {
            io_prep_fdsync(&syncs[accepted], fd);
            if (!is_accepted(made, &syncs[accepted])) break;
            io_prep_pread(&reads[read], other, &byte, 1, 0);
            read += is_accepted(made, &reads[read]);
        }
        CHECK(accepted + read >= ASKED && accepted < MOST, "%d syncs and %d reads", accepted, read);
        for (int i = 0; i < 3; i++) CHECK(!is_accepted(made, &reads[read]));
        if (is_library()) {
            CHECK_EQ(ring_filled(made), read);
            release_held(&h);
            CHECK_DONE(&stuck, 0, BLOCK);
        }
        // All events come without one of them being taken.
        WAIT_FOR(ring_filled(made) == (unsigned)(accepted + read));
        reap_all(made, way, events, accepted + read);
        for (int i = 0; i < accepted; i++) CHECK_EQ(events[place_of(events, accepted + read, &syncs[i])].res, 0);
        // And then there is room as before.
        CHECK(fill_up(made) >= ASKED);
        CHECK_EQ(io_destroy(made), 0);
        if (is_library()) free_held(&h);
    }
    return 0;
}
