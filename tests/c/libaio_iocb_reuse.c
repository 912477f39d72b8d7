// An iocb is the program's again when io_submit returns, a deferred sync's too: what it is prepared for next is not executed in
// the sync's place. A program that takes its events by itself finds its own iocb in the ring.
// interface: libaio
// glibc: skip: it defers nothing
// timeout: 120
// takes: 5
#include "rings.h"

enum { COUNT = 8, BYTES = 1 << 16 };

static int fd, other;

// The iocb in the ring's oldest event, which stays there.
static struct iocb *first_in_ring(io_context_t made) {
    struct ring *ring = ring_of(made);
    WAIT_FOR(ring_filled(made) > 0);
    return ring->events[ring->head].obj;
}

// Defers a sync until an aio_write ends; `change` is done to its iocb before. What the ring names.
static struct iocb *deferred(io_context_t made, struct iocb *sync, bool change, bool calls, struct io_event *event) {
    struct held h = hold(BLOCK);
    struct aiocb stuck;
    struct iocb *one = sync;
    static char data[BLOCK];
    held_write(&h, &stuck, fd, BLOCK, 0, 1);
    io_prep_fsync(sync, fd);
    sync->data = &fd;
    submit(made, &one, 1);
    if (change) io_prep_pwrite(sync, other, data, BLOCK, 0);
    struct timespec no_time = {0, 0};
    if (calls) CHECK_EQ(io_getevents(made, 0, 1, event, &no_time), 0);
    release_held(&h);
    struct iocb *named = first_in_ring(made);
    CHECK_DONE(&stuck, 0, BLOCK);
    free_held(&h);
    return named;
}

static void check_untouched(void) {
    struct stat of;
    CHECK_EQ(fstat(other, &of), 0);
    CHECK_EQ(of.st_size, 0);
}

static void take(io_context_t made, enum reaping way, struct iocb *sync) {
    struct io_event event;
    reap_all(made, way, &event, 1);
    CHECK(event.obj == sync && event.data == &fd && event.res == 0);
    check_untouched();
}

// By io_getevents: whether the first look at the context or a later one, the iocb that the kernel reads is the library's.
static void by_call(void) {
    io_context_t made = context(4);
    struct io_event event;
    for (int round = 0; round < 6; round++) {
        struct iocb sync;
        CHECK(deferred(made, &sync, round % 2, round == 0, &event) != &sync, "the kernel was given the program's iocb");
        take(made, BY_CALL, &sync);
    }
    CHECK_EQ(io_destroy(made), 0);
}

// By itself: it finds its own, in a new context, too; and if it calls io_getevents now and then.
static void by_itself(enum reaping way) {
    io_context_t made = context(4);
    struct io_event event;
    for (int round = 0; round < 4; round++) {
        struct iocb sync;
        CHECK(deferred(made, &sync, false, round == 3, &event) == &sync, "round %d", round);
        take(made, way, &sync);
    }
    // It was changed: the program's would not be a sync.
    struct iocb sync;
    CHECK(deferred(made, &sync, true, false, &event) != &sync);
    take(made, BY_CALL, &sync);
    CHECK_EQ(io_destroy(made), 0);
}

// The iocb is prepared for something else at any moment.
static void at_any_moment(void) {
    int direct = direct_file(COUNT * BYTES);
    char *data = buffer(BYTES);
    static char next[BLOCK];
    unsigned seed = 1;
    io_context_t made = 0;
    double end = now_s() + 3;
    for (int round = 0; now_s() < end; round++) {
        struct iocb write, one, *p = &write;
        struct io_event events[2];
        if (round % 16 == 0) made = context(8);
        io_prep_pwrite(&write, direct, data, BYTES, round % COUNT * (long long)BYTES);
        submit(made, &p, 1);
        io_prep_fsync(&one, direct);
        one.data = &one;
        p = &one;
        submit(made, &p, 1);
        for (unsigned spin = (unsigned)rand_r(&seed) % 200000; spin > 0; spin--) __asm__ volatile("");
        io_prep_pwrite(&one, other, next, BLOCK, 0);
        one.data = &one;
        reap_all(made, BY_CALL, events, 2);
        int place = place_of(events, 2, &one);
        CHECK_EQ(events[place].res, 0);
        if (round % 16 == 15) CHECK_EQ(io_destroy(made), 0);
    }
    check_untouched();
}

// Far more at a time than there are shadows at first, whoever takes their events.
static void many(void) {
    enum { SYNCS = 1000 };
    static struct iocb syncs[SYNCS];
    static struct io_event events[SYNCS];
    io_context_t made = context(SYNCS);
    for (int round = 0; round < 4; round++) {
        struct held h = hold(BLOCK);
        struct aiocb stuck;
        held_write(&h, &stuck, fd, BLOCK, 0, 1);
        for (int i = 0; i < SYNCS; i++) {
            struct iocb *one = &syncs[i];
            io_prep_fdsync(one, fd);
            one->data = one;
            submit(made, &one, 1);
            one->aio_lio_opcode = IO_CMD_PWRITE;
        }
        release_held(&h);
        reap_all(made, round == 2 ? BY_SYSTEM_CALL : BY_CALL, events, SYNCS);
        for (int i = 0; i < SYNCS; i++) {
            CHECK(events[i].data == &syncs[i] && events[i].res == 0, "place %d", i);
            if (round != 2) CHECK(events[i].obj == &syncs[i], "place %d", i);
        }
        CHECK_DONE(&stuck, 0, BLOCK);
        free_held(&h);
    }
    CHECK_EQ(io_destroy(made), 0);
}

int main(void) {
    fd = temp_file();
    other = temp_file();
    by_call();
    by_itself(BY_SYSTEM_CALL);
    by_itself(BY_RING);
    many();
    at_any_moment();
    return 0;
}
