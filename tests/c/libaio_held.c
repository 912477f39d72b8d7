// A sync that is held back can be cancelled, and is when its context is destroyed, which leaves no thread behind; its iocb and
// its descriptors are the program's to change as soon as it was submitted: its event names the iocb all the same, and tells
// the eventfd. What is submitted later does not wait. A context that is made later is a new one.
// interface: libaio
// glibc: skip: it holds nothing back
// timeout: 120
// may-skip: tmpfs and btrfs have nothing in flight
// takes: 3
#include "rings.h"
#include <sys/eventfd.h>

enum { COUNT = 8, BYTES = 1 << 20, TRIES = 200 };

static io_context_t made;
static int fd;
static char *data;
static struct iocb writes[COUNT];

static void hand_in_writes(void) {
    struct iocb *list[COUNT];
    for (int i = 0; i < COUNT; i++) {
        io_prep_pwrite(&writes[i], fd, data, BYTES, (long long)i * BYTES);
        list[i] = &writes[i];
    }
    submit(made, list, COUNT);
}

// Hands in large writes and a sync. How many of the writes had completed by then.
static int hand_in(struct iocb *sync) {
    struct iocb *list[COUNT + 1];
    for (int i = 0; i < COUNT; i++) {
        io_prep_pwrite(&writes[i], fd, data, BYTES, (long long)i * BYTES);
        list[i] = &writes[i];
    }
    list[COUNT] = sync;
    submit(made, list, COUNT + 1);
    return (int)ring_filled(made);
}

static void cancelled(void) {
    struct iocb sync;
    struct io_event event, events[COUNT + 1];
    for (int i = 0, held = 0; held < 5; i++) {
        CHECK(i < TRIES, "no sync was held");
        io_prep_fsync(&sync, fd);
        sync.data = &held;
        hand_in(&sync);
        int done = io_cancel(made, &sync, &event);
        if (done != 0) { // it was not held any more
            CHECK(done == -EINVAL || done == -EAGAIN || done == -EINPROGRESS, "%d", done);
            reap_all(made, BY_CALL, events, COUNT + 1);
            continue;
        }
        CHECK(event.obj == &sync && event.data == &held);
        CHECK_EQ(event.res, -ECANCELED);
        CHECK_EQ(io_cancel(made, &sync, &event), -EINVAL);
        reap_all(made, BY_SYSTEM_CALL, events, COUNT);
        held++;
        // The next one is not affected.
        struct iocb *one = &sync;
        submit(made, &one, 1);
        reap_all(made, BY_RING, events, 1);
        CHECK(events[0].obj == &sync && events[0].res == 0);
    }
}

// What was the sync's iocb says something else, its descriptors stand for others.
static void taken_back(const char *path) {
    for (int i = 0, held = 0; held < 20; i++) {
        CHECK(i < TRIES, "no sync was held");
        struct iocb *sync = calloc(1, sizeof *sync);
        struct io_event events[COUNT + 1];
        int own = open(path, O_RDWR | O_CLOEXEC), told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), kept = dup(told);
        CHECK(own >= 0 && told >= 0 && kept >= 0);
        io_prep_fdsync(sync, own);
        io_set_eventfd(sync, told);
        sync->data = &held;
        held += hand_in(sync) < COUNT;
        if (i % 2) memset(sync, 0xff, sizeof *sync);
        if (i % 3) {
            CHECK_EQ(close(own), 0);
            CHECK_EQ(dup2(STDERR_FILENO, own), own);
        }
        if (i % 5) {
            CHECK_EQ(close(told), 0);
            CHECK_EQ(dup2(STDERR_FILENO, told), told);
        }
        reap_all(made, BY_CALL, events, COUNT + 1);
        CHECK(events[COUNT].obj == sync, "not the sync's, or not its iocb");
        CHECK(events[COUNT].data == &held);
        CHECK_EQ(events[COUNT].res, 0);
        uint64_t count = 0;
        CHECK_EQ(read(kept, &count, sizeof count), sizeof count);
        CHECK_EQ(count, 1);
        CHECK_EQ(close(own) | close(told) | close(kept), 0);
        free(sync);
    }
}

// Everything is closed, the library's own descriptors excepted; and numbers that they have cannot be taken from them.
static void closed(void) {
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            struct iocb sync;
            struct io_event events[COUNT + 1];
            io_context_t inherited = made;
            made = context(COUNT + 3);
            CHECK(made != inherited);
            io_prep_fsync(&sync, fd);
            hand_in(&sync);
            if (i % 3 == 0) CHECK_EQ(close_range(3, ~0u, 0), 0);
            if (i % 3 == 1) for (int number = 3; number < 1024; number++) close(number);
            int mine = open("/dev/null", O_RDONLY), number = dup2(mine, 512);
            reap_all(made, BY_CALL, events, COUNT + 1);
            CHECK(events[COUNT].obj == &sync && events[COUNT].res == 0);
            CHECK(number == 512 ? fcntl(512, F_GETFD) != -1 : errno == EBADF || number == -1);
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
}

// A child of vfork closes its copies: the parent's sync is none the worse.
static void closed_by_vfork(void) {
    for (int i = 0; i < 20; i++) {
        struct iocb sync;
        struct io_event events[COUNT + 1];
        io_prep_fsync(&sync, fd);
        hand_in(&sync);
        pid_t pid = vfork();
        if (pid == 0) {
            close(fd);
            _exit(0);
        }
        reap_all(made, BY_SYSTEM_CALL, events, COUNT + 1);
        CHECK(events[COUNT].obj == &sync && events[COUNT].res == 0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
    }
}

// The iocb cannot be written to, the descriptor is none to synchronise, the event cannot be stored.
static void refused(const char *path) {
    struct io_event events[COUNT + 1];
    for (int i = 0; i < 10; i++) {
        struct iocb *sync = (struct iocb *)buffer(BLOCK);
        io_prep_fsync(sync, fd);
        struct iocb *list[COUNT + 1];
        for (int k = 0; k < COUNT; k++) {
            io_prep_pwrite(&writes[k], fd, data, BYTES, (long long)k * BYTES);
            list[k] = &writes[k];
        }
        list[COUNT] = sync;
        CHECK_EQ(mprotect(sync, BLOCK, PROT_READ), 0);
        int accepted = io_submit(made, COUNT + 1, list);
        CHECK(accepted == COUNT + 1 || accepted == COUNT, "%d", accepted);
        reap_all(made, BY_CALL, events, accepted);
        if (accepted > COUNT) CHECK(events[COUNT].obj == sync && events[COUNT].res == 0);
        CHECK_EQ(munmap(sync, BLOCK), 0);
    }
    int named = open(path, O_PATH | O_CLOEXEC);
    struct iocb sync, *one = &sync;
    CHECK(named >= 0);
    hand_in_writes();
    io_prep_fsync(&sync, named);
    CHECK_EQ(io_submit(made, 1, &one), -EBADF);
    reap_all(made, BY_CALL, events, COUNT);
    CHECK_EQ(close(named), 0);
    for (int i = 0, held = 0; held < 3; i++) {
        CHECK(i < TRIES, "no sync was held");
        io_prep_fsync(&sync, fd);
        hand_in(&sync);
        held += io_cancel(made, &sync, (struct io_event *)8) == -EFAULT;
        reap_all(made, BY_CALL, events, COUNT + 1); // it was not cancelled
        CHECK(events[COUNT].obj == &sync && events[COUNT].res == 0);
    }
}

// What is submitted after a sync that is held does not wait for it, on its own file or another.
static void later(void) {
    int other = memfd_create("other", MFD_CLOEXEC); // is in sync at once
    CHECK(other >= 0);
    for (int round = 0, reads = 0, syncs = 0; !reads || !syncs; round++) {
        CHECK(round < TRIES, "%d reads and %d syncs came before the sync", reads, syncs);
        struct iocb sync, read, sync_of_other, *list[] = {&read, &sync_of_other};
        struct io_event events[COUNT + 3];
        io_prep_fsync(&sync, fd);
        io_prep_pread(&read, fd, data, BLOCK, (long long)COUNT * BYTES); // the end of the file
        io_prep_fdsync(&sync_of_other, other);
        hand_in(&sync);
        submit(made, list, 2);
        reap_all(made, BY_CALL, events, COUNT + 3);
        int last = 0;
        for (int i = 0; i < COUNT; i++) {
            int place = place_of(events, COUNT + 3, &writes[i]);
            if (place > last) last = place;
        }
        CHECK(place_of(events, COUNT + 3, &sync) > last);
        reads += place_of(events, COUNT + 3, &read) < last;
        syncs += place_of(events, COUNT + 3, &sync_of_other) < last;
    }
    CHECK_EQ(close(other), 0);
}

// Syncs of one file come in their order.
static void chained(void) {
    enum { SYNCS = 100 };
    io_context_t large = context(SYNCS + 1);
    struct iocb write, syncs[SYNCS], *list[SYNCS + 1];
    struct io_event events[SYNCS + 1];
    for (int round = 0; round < 20; round++) {
        io_prep_pwrite(&write, fd, data, BYTES, 0);
        list[0] = &write;
        for (int i = 0; i < SYNCS; i++) {
            i % 2 ? io_prep_fsync(&syncs[i], fd) : io_prep_fdsync(&syncs[i], fd);
            list[i + 1] = &syncs[i];
        }
        submit(large, list, SYNCS + 1);
        reap_all(large, BY_SYSTEM_CALL, events, SYNCS + 1);
        for (int i = 0; i <= SYNCS; i++) CHECK(events[i].obj == list[i], "place %d", i);
    }
    CHECK_EQ(io_destroy(large), 0);
}

static void destroyed(void) {
    io_context_t other = context(8);
    for (int i = 0; i < 20; i++) {
        struct iocb sync, *one = &sync;
        struct io_event events[COUNT + 1];
        io_prep_fsync(&sync, fd);
        hand_in(&sync);
        // And one that waits for this context.
        struct iocb of_other;
        io_prep_fsync(&of_other, fd);
        one = &of_other;
        submit(other, &one, 1);
        CHECK_EQ(io_destroy(made), 0);
        reap_all(other, BY_CALL, events, 1);
        CHECK(events[0].obj == &of_other && events[0].res == 0);
        made = context(COUNT + 3);
        CHECK_EQ(ring_filled(made), 0);
        // Nothing of the old one is left.
        one = &sync;
        submit(made, &one, 1);
        reap_all(made, BY_CALL, events, 1);
        CHECK(events[0].obj == &sync && events[0].res == 0);
    }
    CHECK_EQ(io_destroy(other), 0);
    CHECK_EQ(io_destroy(made), 0);
    WAIT_FOR(thread_count() == 1);
}

int main(void) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/file", temp_dir());
    made = context(COUNT + 3);
    if (completes_at_once()) SKIP("nothing is in flight here");
    fd = direct_file_at(path, COUNT * BYTES);
    data = buffer(BYTES);
    cancelled();
    taken_back(path);
    closed();
    closed_by_vfork();
    refused(path);
    later();
    chained();
    destroyed();
    return 0;
}
