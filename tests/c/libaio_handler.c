// A signal handler may submit, sync and reap in the middle of any of these calls; and threads that share a context may.
// interface: libaio
// glibc: races: a sync completes before the writes that were submitted before it
// takes: 4
#include "rings.h"
#include <sys/time.h>

enum { COUNT = 8, THREADS = 4, ROUNDS = 3000 };

static io_context_t shared;
static int fd;
static char *data;
static volatile sig_atomic_t handled;
static int submitted, synced, overtaken, writes_back, syncs_back, running;

// Writes and a sync on the shared context. What comes of them whoever reaps counts.
struct group {
    struct iocb writes[COUNT], sync;
    int left;
    bool free;
};

static struct group groups[64];

static struct group *take(void) {
    for (int i = 0; i < 64; i++)
        if (__atomic_exchange_n(&groups[i].free, false, __ATOMIC_ACQUIRE)) return &groups[i];
    return NULL;
}

static void hand_in(void) {
    struct group *group = take();
    if (!group) return;
    struct iocb *list[COUNT + 1];
    for (int i = 0; i < COUNT; i++) {
        io_prep_pwrite(&group->writes[i], fd, data, BLOCK, i * BLOCK);
        group->writes[i].data = group;
        list[i] = &group->writes[i];
    }
    io_prep_fdsync(&group->sync, fd);
    group->sync.data = group;
    list[COUNT] = &group->sync;
    group->left = COUNT + 1;
    int done = io_submit(shared, COUNT + 1, list), all = 0;
    // The rest later: there is room for some.
    for (all = done > 0 ? done : 0; all < COUNT + 1; all += done > 0 ? done : 0) {
        CHECK(done >= 0 || done == -EAGAIN, "%d", done);
        struct io_event event;
        struct timespec no_time = {0, 0};
        if (io_getevents(shared, 0, 1, &event, &no_time) == 1) {
            struct group *of = event.data;
            of == group && event.obj == &group->sync ? (void)__atomic_add_fetch(&overtaken, 1, __ATOMIC_RELAXED) : (void)0;
            if (__atomic_sub_fetch(&of->left, 1, __ATOMIC_ACQ_REL) == 0) __atomic_store_n(&of->free, true, __ATOMIC_RELEASE);
            event.obj == &of->sync ? __atomic_add_fetch(&syncs_back, 1, __ATOMIC_RELAXED)
                                   : __atomic_add_fetch(&writes_back, 1, __ATOMIC_RELAXED);
        }
        done = io_submit(shared, COUNT + 1 - all, list + all);
    }
    __atomic_add_fetch(&submitted, COUNT, __ATOMIC_RELAXED);
    __atomic_add_fetch(&synced, 1, __ATOMIC_RELAXED);
}

static void take_events(void) {
    struct io_event events[16];
    struct timespec short_time = {0, 1000000};
    int got = io_getevents(shared, 1, 16, events, &short_time);
    CHECK(got >= 0 || got == -EINTR, "%d", got);
    for (int i = 0; i < got; i++) {
        struct group *of = events[i].data;
        bool is_sync = events[i].obj == &of->sync;
        CHECK_EQ(events[i].res, is_sync ? 0 : BLOCK);
        is_sync ? __atomic_add_fetch(&syncs_back, 1, __ATOMIC_RELAXED)
                : __atomic_add_fetch(&writes_back, 1, __ATOMIC_RELAXED);
        if (__atomic_sub_fetch(&of->left, 1, __ATOMIC_ACQ_REL) == 0) __atomic_store_n(&of->free, true, __ATOMIC_RELEASE);
    }
}

static void handler(int number) {
    (void)number;
    int kept = errno;
    handled = handled + 1;
    hand_in();
    errno = kept;
}

static io_context_t own;

// Waits for a sync of its own, whatever it has interrupted.
static void waiting_handler(int number) {
    (void)number;
    struct iocb sync, *one = &sync;
    struct io_event event;
    io_prep_fdsync(&sync, fd);
    submit(own, &one, 1);
    reap_all(own, BY_CALL, &event, 1);
    handled = handled + 1;
}

static void wait_in_handler(void) {
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    own = context(4);
    on_signal(SIGALRM, waiting_handler);
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    double begin = now_s();
    while (now_s() < begin + 2 || (handled <= 20 && now_s() < begin + PATIENCE_S)) {
        struct iocb reads[32], *list[32];
        struct io_event events[32];
        for (int i = 0; i < 32; i++) {
            io_prep_pread(&reads[i], fd, data, 512, 0);
            list[i] = &reads[i];
        }
        submit(shared, list, 32);
        for (int got = 0; got < 32;) {
            int n = io_getevents(shared, 1, 32 - got, events + got, NULL);
            CHECK(n > 0 || n == -EINTR, "%d", n);
            got += n > 0 ? n : 0;
        }
    }
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK(handled > 20, "%d", handled);
    handled = 0;
    CHECK_EQ(io_destroy(own), 0);
}

static void *work(void *unused) {
    (void)unused;
    for (int i = 0; i < ROUNDS / THREADS; i++) {
        hand_in();
        take_events();
    }
    __atomic_sub_fetch(&running, 1, __ATOMIC_RELEASE);
    return NULL;
}

int main(void) {
    shared = context(128);
    fd = direct_file(COUNT * BLOCK);
    data = buffer(COUNT * BLOCK);
    // That syncs keep their promise at all.
    struct iocb writes[COUNT], sync, *list[COUNT + 1];
    for (int round = 0; round < 200; round++) {
        struct io_event events[COUNT + 1];
        for (int i = 0; i < COUNT; i++) {
            io_prep_pwrite(&writes[i], fd, data, BLOCK, i * BLOCK);
            list[i] = &writes[i];
        }
        io_prep_fdsync(&sync, fd);
        list[COUNT] = &sync;
        submit(shared, list, COUNT + 1);
        reap_all(shared, BY_SYSTEM_CALL, events, COUNT + 1);
        CHECK(place_of(events, COUNT + 1, &sync) == COUNT, "it overtook");
    }
    wait_in_handler();
    for (int i = 0; i < 64; i++) groups[i].free = true;
    on_signal(SIGALRM, handler);
    struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    running = THREADS;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) threads[i] = start_thread(work, NULL);
    while (__atomic_load_n(&running, __ATOMIC_ACQUIRE)) take_events();
    for (int i = 0; i < THREADS; i++) join_thread(threads[i]);
    WAIT_FOR(handled > 50);
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    double progress = now_s();
    for (int back = 0; writes_back < submitted || syncs_back < synced;) {
        CHECK(now_s() < progress + PATIENCE_S, "%d of %d writes, %d of %d syncs", writes_back, submitted, syncs_back, synced);
        take_events();
        if (writes_back + syncs_back > back) back = writes_back + syncs_back, progress = now_s();
    }
    CHECK_EQ(io_destroy(shared), 0);
    return 0;
}
