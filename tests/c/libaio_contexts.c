// 65,536 contexts, one after another and many at a time; one whose ring the program moves, and some that it makes by the system
// call; and a child of fork, which has none, and makes its own.
// interface: libaio
// glibc: races: a sync completes before the writes that were submitted before it
// timeout: 300
// glibc-timeout: 300
// takes: 30
#include "rings.h"

enum { THREADS = 64, COUNT = 32 };

static int fd;
static char *data;
static unsigned tried, late, running = THREADS;

// Writes and a sync: whether the sync came last is added up.
static void round_trip(io_context_t made, int count) {
    struct iocb writes[COUNT], sync, *list[COUNT + 1];
    struct io_event events[COUNT + 1];
    for (int i = 0; i < count; i++) {
        io_prep_pwrite(&writes[i], fd, data, 4 * BLOCK, i * 4 * BLOCK);
        list[i] = &writes[i];
    }
    io_prep_fdsync(&sync, fd);
    list[count] = &sync;
    submit(made, list, count + 1);
    reap_all(made, BY_SYSTEM_CALL, events, count + 1);
    if (count == 0) return;
    __atomic_add_fetch(&tried, 1, __ATOMIC_RELAXED);
    if (place_of(events, count + 1, &sync) == count) __atomic_add_fetch(&late, 1, __ATOMIC_RELAXED);
}

static void *many(void *unused) {
    (void)unused;
    // All of them take half a minute.
    int each = strcmp(test_mode(), "preload") == 0 ? 1024 : 64;
    for (int i = 0; i < each; i++) {
        io_context_t made = context(COUNT + 1);
        if (i % 64 == 0) round_trip(made, 4);
        CHECK_EQ(io_destroy(made), 0);
    }
    __atomic_sub_fetch(&running, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void moved(io_context_t made) {
    size_t bytes = (32 + ring_of(made)->size * sizeof(struct io_event) + 4095) & ~4095ul;
    char *place = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(place != MAP_FAILED);
    struct io_event event;
    struct timespec short_time = {0, 1000};
    void *now = mremap(made, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    CHECK(now == place, "mremap: %s", check_errno(errno));
    CHECK_EQ(io_getevents(made, 0, 1, &event, &short_time), -EINVAL);
    made = (io_context_t)place;
    for (int i = 0; i < 50; i++) round_trip(made, COUNT);
    CHECK_EQ(io_destroy(made), 0);
}

// Contexts that the library has neither made nor destroyed, many of them at one address, with rings of several sizes; and one
// that is gone when another one's sync comes.
static void raw(void) {
    io_context_t other = context(1);
    for (int i = 0; i < 60; i++) {
        io_context_t made = 0;
        int requests = i % 5 ? COUNT + 1 : 1000;
        CHECK_EQ(io_destroy(context(requests)), 0); // there is room
        CHECK_EQ(syscall(SYS_io_setup, requests, &made), 0);
        for (int k = 0; k < i % 4; k++) round_trip(made, COUNT);
        CHECK_EQ(i % 3 ? syscall(SYS_io_destroy, made) : io_destroy(made), 0);
        if (i % 7 == 0) round_trip(other, 0);
    }
    CHECK_EQ(io_destroy(other), 0);
}

static void forked(io_context_t made) {
    struct iocb sync, *one = &sync;
    struct io_event event;
    struct timespec no_time = {0, 0};
    io_prep_fsync(&sync, fd);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_EQ(io_submit(made, 1, &one), -EINVAL);
        CHECK_EQ(io_getevents(made, 1, 1, &event, &no_time) < 0, is_library()); // libaio looks into the ring, and says 0
        CHECK_EQ(io_destroy(made), -EINVAL);
        io_context_t own = context(COUNT + 1);
        for (int i = 0; i < 20; i++) round_trip(own, COUNT);
        CHECK_EQ(io_destroy(own), 0);
        _exit(late == tried ? 0 : 1);
    }
    int status = -1;
    for (int i = 0; i < 20; i++) round_trip(made, COUNT);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

int main(void) {
    fd = direct_file(COUNT * 4 * BLOCK);
    data = buffer(COUNT * 4 * BLOCK);
    io_context_t made = context(COUNT + 1);
    for (int i = 0; i < 50; i++) round_trip(made, COUNT);
    CHECK(late == tried, "overtook in %u rounds of %u", tried - late, tried);
    forked(made);
    moved(made);
    raw();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) threads[i] = start_thread(many, NULL);
    while (__atomic_load_n(&running, __ATOMIC_ACQUIRE)) pause_ms(10); // minutes, perhaps
    for (int i = 0; i < THREADS; i++) join_thread(threads[i]);
    CHECK(late == tried, "overtook in %u rounds of %u", tried - late, tried);
    return 0;
}
