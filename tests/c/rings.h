// What the programs of libaio's interface share.
#ifndef RINGS_H
#define RINGS_H

#include "check.h"
#ifdef SYSTEM_LIBAIO
#include <libaio.h>
extern int io_queue_wait(io_context_t, struct timespec *);
#else
#include <aio_rs/libaio.h>
#endif

enum { BLOCK = 4096 };

HELPER unsigned long number_of_(const char *path) {
    unsigned long number = 0;
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lu", &number) != 1) number = 0;
    if (f) fclose(f);
    return number;
}

// Whether the contexts of all processes together leave no room for another one (fs.aio-max-nr is the system's).
HELPER bool others_have_the_contexts_(int requests) {
    unsigned long margin = 4 * (unsigned long)requests + 1024, all = number_of_("/proc/sys/fs/aio-max-nr");
    return number_of_("/proc/sys/fs/aio-nr") + margin > all;
}

HELPER io_context_t context(int requests) {
    io_context_t made = 0;
    double deadline = now_s() + PATIENCE_S;
    int done;
    while ((done = io_setup(requests, &made)) == -EAGAIN && others_have_the_contexts_(requests)) {
        if (now_s() > deadline) SKIP("other processes use up fs.aio-max-nr");
        pause_ms(10);
    }
    if (done == -ENOSYS) SKIP("no kernel AIO");
    CHECK_EQ(done, 0);
    return made;
}

HELPER char *buffer(size_t bytes) {
    char *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(made != MAP_FAILED);
    return made;
}

// A new file of so many allocated bytes, open for O_DIRECT, and where it is.
HELPER int direct_file_at(const char *path, size_t bytes) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0, "%s", path);
    char *data = buffer(bytes);
    CHECK_EQ(pwrite(fd, data, bytes, 0), bytes);
    CHECK_EQ(fsync(fd), 0);
    CHECK_EQ(munmap(data, bytes), 0);
    CHECK_EQ(close(fd), 0);
    fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0) SKIP("no O_DIRECT here: %s", check_errno(errno));
    return fd;
}

HELPER int direct_file(size_t bytes) {
    static int count;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/direct-%d", temp_dir(), count++);
    return direct_file_at(path, bytes);
}

// Whether the file system has every request done when io_submit returns.
HELPER bool completes_at_once(void) {
    const long tmpfs = 0x01021994, btrfs = 0x9123683e; // the latter where it has checksums
    struct statfs of;
    return statfs(temp_dir(), &of) == 0 && (of.f_type == tmpfs || of.f_type == btrfs);
}

// ---- The ring, as fs/aio.c lays it out ----

struct ring {
    unsigned id, size, head, tail, magic, compatible, incompatible, header;
    struct io_event events[];
};

HELPER struct ring *ring_of(io_context_t made) { return (struct ring *)made; }

HELPER unsigned ring_tail(io_context_t made) { return __atomic_load_n(&ring_of(made)->tail, __ATOMIC_ACQUIRE); }

// Events that have come and were not taken.
HELPER unsigned ring_filled(io_context_t made) {
    struct ring *ring = ring_of(made);
    return (ring_tail(made) + ring->size - ring->head) % ring->size;
}

enum reaping { BY_CALL, BY_SYSTEM_CALL, BY_RING, WAYS };

// Takes at least one event.
HELPER int reap(io_context_t made, enum reaping way, struct io_event *events, int most) {
    switch (way) {
    case BY_CALL: return io_getevents(made, 1, most, events, NULL);
    case BY_SYSTEM_CALL: return (int)syscall(SYS_io_getevents, made, 1L, (long)most, events, NULL);
    default:
        for (struct ring *ring = ring_of(made);;) {
            int got = 0;
            unsigned head = ring->head;
            while (got < most && head != ring_tail(made)) {
                events[got++] = ring->events[head];
                head = (head + 1) % ring->size;
            }
            __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
            if (got > 0) return got;
            sched_yield();
        }
    }
}

// Takes so many events, in the order in which they came.
HELPER void reap_all(io_context_t made, enum reaping way, struct io_event *events, int count) {
    for (int got = 0; got < count;) {
        int n = reap(made, way, events + got, count - got);
        CHECK(n > 0, "%d", n);
        got += n;
    }
}

// Takes an event by itself. After that it finds its own iocb in the event of each sync, too, as long as it leaves the iocb alone; before
// that, in a context whose events io_getevents took, it may find the library's.
HELPER void go_on_by_itself(io_context_t made, int fd) {
    struct iocb block, *one = &block;
    struct io_event event;
    char nothing;
    io_prep_pread(&block, fd, &nothing, 0, 0); // is done at once
    CHECK_EQ(io_submit(made, 1, &one), 1);
    reap_all(made, BY_SYSTEM_CALL, &event, 1);
    CHECK(event.obj == one);
}

// Where the event of this request stands.
HELPER int place_of(const struct io_event *events, int count, const struct iocb *block) {
    for (int i = 0; i < count; i++)
        if (events[i].obj == block) return i;
    FAIL("no event for it");
}

HELPER void submit(io_context_t made, struct iocb **list, int count) {
    errno = ENOTTY;
    int done = io_submit(made, count, list);
    CHECK_EQ(errno, ENOTTY);
    CHECK(done == count, "io_submit gives %d of %d", done, count);
}

#endif
