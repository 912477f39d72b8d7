// A caller that waits for an O_DIRECT transfer takes its result itself, and no other thread has to run; still every transfer
// ends for whoever looks, however it looks, and whatever becomes of those that waited: handlers that wait inside a wait, jumps
// out of one, cancelled threads.
// glibc: skip: its aio_suspend cannot be called in a handler
// may-skip: the file system of the temporary directory decides
// takes: 5
// once: it is about the wait alone
#include "check.h"
#include <setjmp.h>
#include <sys/time.h>

enum { BLOCK = 4096, BLOCKS = 256, LONG = 32 * BLOCK };

static int fd;

static void *aligned_block(void) {
    void *block = aligned_alloc(BLOCK, BLOCK);
    CHECK(block != NULL);
    return block;
}

static struct aiocb read_of(void *buffer, unsigned block) {
    memset(buffer, 0, BLOCK);
    return request(fd, buffer, BLOCK, (off_t)(block % BLOCKS) * BLOCK);
}

static void suspend_until_done(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) {
        if (aio_suspend(list, 1, NULL) < 0) CHECK_EQ(errno, EINTR);
    }
}

static void check_read(struct aiocb *cb, unsigned block) {
    CHECK_EQ(aio_error(cb), 0);
    CHECK_EQ(aio_return(cb), BLOCK);
    CHECK(holds((void *)cb->aio_buf, BLOCK, block % BLOCKS + 1), "block %u", block % BLOCKS);
}

static void read_and_suspend(void *buffer, unsigned block) {
    struct aiocb cb = read_of(buffer, block);
    CHECK_EQ(aio_read(&cb), 0);
    suspend_until_done(&cb);
    check_read(&cb, block);
}

// ---- who runs ----

static pid_t reaper(void) {
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    pid_t found = 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        int comm = open(path, O_RDONLY);
        if (comm < 0) continue;
        if (read(comm, name, sizeof name - 1) > 0 && strcmp(name, "aio_rs/reaper\n") == 0) found = atoi(entry->d_name);
        CHECK_EQ(close(comm), 0);
    }
    closedir(tasks);
    return found;
}

static long times_slept(pid_t thread) {
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
    FILE *status = fopen(path, "r");
    CHECK(status != NULL);
    long count = -1;
    while (fgets(line, sizeof line, status)) sscanf(line, "voluntary_ctxt_switches: %ld", &count);
    fclose(status);
    return count;
}

// A waiter that loses its processor for long, as on a busy machine, leaves its results to the reaper for a while.
static void waiter_alone_runs(void *buffer, const char *when) {
    enum { ROUNDS = 2000, ATTEMPTS = 4 };
    WAIT_FOR(reaper() != 0);
    pid_t thread = reaper();
    for (int attempt = 1;; attempt++) {
        for (unsigned i = 0; i < 100; i++) read_and_suspend(buffer, i);
        struct aio_rs_stats before = counts();
        long slept = times_slept(thread);
        double begin = now_s();
        for (unsigned i = 0; i < ROUNDS; i++) read_and_suspend(buffer, i * 7);
        // It looks every two milliseconds.
        long looks = (long)((now_s() - begin) * 1000 / 2);
        slept = times_slept(thread) - slept;
        unsigned long served = counts().route_direct - before.route_direct;
        if (slept < looks + (long)served / 4) return;
        CHECK(attempt < ATTEMPTS, "%s: %ld times, %ld looks, %lu reads", when, slept, looks, served);
    }
}

// ---- ways to look ----

static void whoever_looks(void *buffer) {
    for (unsigned i = 0; i < 200; i++) {
        struct aiocb cb = read_of(buffer, i);
        CHECK_EQ(aio_read(&cb), 0);
        if (i % 2) {
            WAIT_FOR(aio_error(&cb) != EINPROGRESS);
        } else {
            // glibc's __error_code: some programs read it without a call.
            WAIT_FOR(*(const volatile int *)((const char *)&cb + 112) != EINPROGRESS);
        }
        check_read(&cb, i);
    }
}

static void *reads_of_one_thread(void *number) {
    void *buffers[] = {aligned_block(), aligned_block(), aligned_block()};
    for (unsigned i = 0; i < 400; i++) {
        struct aiocb cbs[3];
        const struct aiocb *list[3];
        unsigned first = i * 13 + (unsigned)(uintptr_t)number;
        for (unsigned k = 0; k < 3; k++) {
            cbs[k] = read_of(buffers[k], first + k);
            list[k] = &cbs[k];
            CHECK_EQ(aio_read(&cbs[k]), 0);
        }
        CHECK_EQ(aio_suspend(list, 3, NULL), 0);
        for (unsigned k = 0; k < 3; k++) {
            suspend_until_done(&cbs[k]);
            check_read(&cbs[k], first + k);
        }
    }
    for (int k = 0; k < 3; k++) free(buffers[k]);
    return NULL;
}

static void many_threads(void) {
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) threads[i] = start_thread(reads_of_one_thread, (void *)i);
    for (int i = 0; i < THREADS; i++) join_thread(threads[i]);
}

static bool enough;

static void *read_on_and_on(void *buffer) {
    for (unsigned i = 0; !__atomic_load_n(&enough, __ATOMIC_ACQUIRE); i++) read_and_suspend(buffer, i);
    return NULL;
}

// Runs a check beside a thread that waits for its own reads all the time.
static void beside_another(void (*check)(void *), void *buffer) {
    enough = false;
    void *other = aligned_block();
    sigset_t before;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    block_signal(SIGALRM); // the handlers are this thread's
    pthread_t thread = start_thread(read_on_and_on, other);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    check(buffer);
    __atomic_store_n(&enough, true, __ATOMIC_RELEASE);
    join_thread(thread);
    free(other);
}

static void only_waiters_run(void *buffer) { waiter_alone_runs(buffer, "beside a thread that waits, too"); }

// A thread waits for a short read while another waits for a long one. If it does nothing then until that has ended, the other
// one takes its place: it does not have to wait until the reaper finds the result, which takes milliseconds.
static unsigned begun, over;
static bool leaves;

static void *short_reads(void *rounds) {
    void *buffer = aligned_block();
    for (unsigned i = 1; i <= (uintptr_t)rounds; i++) {
        struct aiocb cb = read_of(buffer, i);
        CHECK_EQ(aio_read(&cb), 0);
        __atomic_store_n(&begun, i, __ATOMIC_RELEASE);
        suspend_until_done(&cb);
        check_read(&cb, i);
        while (__atomic_load_n(&over, __ATOMIC_ACQUIRE) < i)
            if (leaves) sched_yield();
            else read_and_suspend(buffer, i);
    }
    free(buffer);
    return NULL;
}

static double long_reads(bool short_one_leaves) {
    enum { ROUNDS = 500 };
    void *buffer = aligned_alloc(BLOCK, LONG);
    begun = over = 0;
    leaves = short_one_leaves;
    pthread_t thread = start_thread(short_reads, (void *)(uintptr_t)ROUNDS);
    double begin = now_s();
    for (unsigned i = 1; i <= ROUNDS; i++) {
        while (__atomic_load_n(&begun, __ATOMIC_ACQUIRE) < i) sched_yield();
        struct aiocb cb = request(fd, buffer, LONG, 0);
        CHECK_EQ(aio_read(&cb), 0);
        suspend_until_done(&cb);
        CHECK_EQ(aio_return(&cb), LONG);
        __atomic_store_n(&over, i, __ATOMIC_RELEASE);
    }
    double time = now_s() - begin;
    join_thread(thread);
    free(buffer);
    return time;
}

static void another_takes_its_place(void) {
    for (int attempt = 1;; attempt++) {
        double stays = long_reads(false), goes = long_reads(true);
        if (goes < 2 * stays) return;
        CHECK(attempt < 5, "%g s where one leaves, %g s where none does", goes, stays);
    }
}

// One that follows may be called to attend when its time is up.
static void times_out(void *buffer) {
    int timeouts = 0;
    for (unsigned i = 0; i < 2000; i++) {
        struct aiocb cb = read_of(buffer, i);
        const struct aiocb *list[] = {&cb};
        struct timespec timeout = {0, i % 60 * 1000};
        CHECK_EQ(aio_read(&cb), 0);
        while (aio_error(&cb) == EINPROGRESS) {
            if (aio_suspend(list, 1, &timeout) == 0) continue;
            CHECK_EQ(errno, EAGAIN);
            timeouts++;
        }
        check_read(&cb, i);
    }
    CHECK(timeouts > 0);
}

// Another thread's waiting takes the results; the notifications come all the same.
static void signals_come(void *buffer) {
    for (unsigned i = 0; i < 300; i++) {
        struct aiocb cb = read_of(buffer, i);
        notify_by_signal(&cb, SIGUSR1, (int)i);
        CHECK_EQ(aio_read(&cb), 0);
        siginfo_t info = take_signal(SIGUSR1);
        CHECK_EQ(info.si_value.sival_int, (int)i);
        check_read(&cb, i);
    }
}

// ---- waits that are interrupted ----

static void *handlers_buffer;
static volatile sig_atomic_t handled;
static sigjmp_buf back;
static volatile sig_atomic_t may_jump;

static void wait_in_handler(int number) {
    (void)number;
    read_and_suspend(handlers_buffer, (unsigned)handled++);
}

static void jump_out(int number) {
    (void)number;
    if (may_jump) {
        may_jump = 0;
        siglongjmp(back, 1);
    }
}

static void every_us(long us) {
    struct itimerval timer = {{0, us}, {0, us}};
    CHECK_EQ(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void waits_inside_waits(void *buffer) {
    handlers_buffer = aligned_block();
    handled = 0;
    on_signal(SIGALRM, wait_in_handler);
    every_us(300);
    for (unsigned i = 0; handled < 500; i++) read_and_suspend(buffer, i);
    every_us(0);
}

static void jumps_out_of_waits(void *buffer) {
    on_signal(SIGALRM, jump_out);
    // What a jump leaves behind.
    static struct aiocb cb;
    static volatile int jumps;
    static volatile unsigned block;
    jumps = 0;
    const struct aiocb *list[] = {&cb};
    every_us(170);
    for (block = 0; jumps < 100 && block < 50000; block++) {
        cb = read_of(buffer, block);
        CHECK_EQ(aio_read(&cb), 0);
        if (sigsetjmp(back, 1) == 0) {
            may_jump = 1;
            while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
            may_jump = 0;
        } else {
            jumps++;
        }
        suspend_until_done(&cb);
        check_read(&cb, block);
    }
    every_us(0);
    CHECK(jumps > 0);
}

static void *read_until_cancelled(void *cb) {
    for (;;) {
        struct aiocb *mine = cb;
        const struct aiocb *list[] = {mine};
        CHECK_EQ(aio_read(mine), 0);
        while (aio_error(mine) == EINPROGRESS) aio_suspend(list, 1, NULL);
        pthread_testcancel();
    }
    return NULL;
}

static void cancelled_threads(void *buffer) {
    void *others = aligned_block();
    for (unsigned i = 0; i < 100; i++) {
        struct aiocb cb = read_of(others, i);
        pthread_t thread = start_thread(read_until_cancelled, &cb);
        for (unsigned k = 0; k < i % 8 + 1; k++) read_and_suspend(buffer, i + k);
        CHECK_EQ(pthread_cancel(thread), 0);
        CHECK(join_thread(thread) == PTHREAD_CANCELED);
        suspend_until_done(&cb);
        check_read(&cb, i);
    }
    free(others);
}

int main(void) {
    fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (fd < 0) SKIP("no O_DIRECT here: %s", check_errno(errno));
    void *buffer = aligned_block();
    for (unsigned i = 0; i < BLOCKS; i++) {
        fill(buffer, BLOCK, i + 1);
        CHECK_EQ(pwrite(fd, buffer, BLOCK, (off_t)i * BLOCK), BLOCK);
    }
    block_signal(SIGUSR1);
    block_signal(SIGUSR2);
    // With the library's first one.
    struct aiocb first = read_of(buffer, 0);
    notify_by_signal(&first, SIGUSR2, 1);
    CHECK_EQ(aio_read(&first), 0);
    take_signal(SIGUSR2);
    for (unsigned i = 0; i < 300; i++) read_and_suspend(buffer, i);
    bool used = counts().route_direct > 0;
    if (used) waiter_alone_runs(buffer, "alone");
    int idle[2];
    char byte;
    CHECK_EQ(pipe(idle), 0);
    struct aiocb waiting = request(idle[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    if (used) waiter_alone_runs(buffer, "beside a read of a pipe");
    CHECK_EQ(write(idle[1], "x", 1), 1);
    CHECK_DONE(&waiting, 0, 1);
    whoever_looks(buffer);
    many_threads();
    if (used) beside_another(only_waiters_run, buffer);
    if (used) another_takes_its_place();
    beside_another(times_out, buffer);
    beside_another(signals_come, buffer);
    if (used) waiter_alone_runs(buffer, "after notifications");
    waits_inside_waits(buffer);
    jumps_out_of_waits(buffer);
    cancelled_threads(buffer);
    beside_another(waits_inside_waits, buffer);
    beside_another(jumps_out_of_waits, buffer);
    beside_another(cancelled_threads, buffer);
    whoever_looks(buffer);
    if (has_direct_route() && !used) SKIP("the file system cannot transfer without waiting");
    return 0;
}
