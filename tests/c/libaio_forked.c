// A child of fork has no contexts: every call with one of its parent's gives EINVAL and waits for nothing, whatever the parent has in
// flight; its own are its own, also at the same address, and the parent's go on.
// interface: libaio
#include "rings.h"

enum { COUNT = 8 };

// A child uses `other`: on some file systems a read or a sync waits for a write of its file that runs.
static int fd, other, ends[2];
static char data[COUNT];

static void in_child(io_context_t inherited, struct iocb *polls) {
    struct iocb block, sync, *list[] = {&block, &sync}, *again = polls;
    struct io_event event;
    struct timespec no_time = {0, 0}, some_time = {0, 1000};
    io_prep_pread(&block, other, data, 1, 0);
    io_prep_fsync(&sync, other);
    for (int round = 0; round < 2; round++) {
        CHECK_EQ(io_submit(inherited, 1, list), -EINVAL);
        CHECK_EQ(io_submit(inherited, 1, list + 1), -EINVAL);
        CHECK_EQ(io_submit(inherited, 2, list), -EINVAL);
        CHECK_EQ(io_submit(inherited, 1, &again), -EINVAL);
        CHECK_EQ(io_submit(inherited, 0, list), -EINVAL);
        CHECK_EQ(io_getevents(inherited, 1, 1, &event, NULL), -EINVAL);
        CHECK_EQ(io_getevents(inherited, 1, 1, &event, &some_time), -EINVAL);
        if (is_library()) { // libaio looks into the ring first, and finds none
            CHECK_EQ(io_getevents(inherited, 1, 1, &event, &no_time), -EINVAL);
            CHECK_EQ(io_pgetevents(inherited, 1, 1, &event, &no_time, NULL), -EINVAL);
            CHECK_EQ(io_queue_run(inherited), -EINVAL);
            CHECK_EQ(io_queue_wait(inherited, NULL), -EINVAL);
        }
        CHECK_EQ(io_cancel(inherited, polls, &event), -EINVAL);
        CHECK_EQ(io_destroy(inherited), -EINVAL);
        CHECK_EQ(close(dup(fd)), 0);
        // Its own, wherever it is.
        io_context_t own = context(COUNT);
        submit(own, list, 2);
        struct io_event events[2];
        reap_all(own, BY_CALL, events, 2);
        CHECK_EQ(io_destroy(own), 0);
    }
}

static void fork_with(pid_t (*how)(void), io_context_t made, struct iocb *polls) {
    pid_t pid = how();
    CHECK(pid >= 0);
    if (pid == 0) {
        in_child(made, polls);
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

// ---- inside a call, by a signal handler ----

static bool is_child;

static void forks(int number) {
    (void)number;
    pid_t pid = fork();
    CHECK(pid >= 0);
    is_child |= pid == 0;
}

static void in_handlers(void) {
    io_context_t made = context(COUNT);
    struct iocb blocks[COUNT], *list[COUNT];
    struct io_event events[COUNT];
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    unsigned seed = 7;
    for (int i = 0; i < COUNT; i++) {
        io_prep_pread(&blocks[i], fd, data + i, 1, 0);
        list[i] = &blocks[i];
    }
    on_signal(SIGUSR1, forks);
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &how, &timer), 0);
    for (int round = 0; round < 300; round++) {
        struct itimerspec soon = {.it_value = {0, 1 + rand_r(&seed) % 30000}}, left = soon;
        CHECK_EQ(timer_settime(timer, 0, &soon, NULL), 0);
        while (!is_child && left.it_value.tv_nsec) {
            int done = io_submit(made, COUNT, list);
            // The child's, if the parent's has accepted them.
            for (int taken = 0; done > 0 && !is_child && taken < done;) {
                int got = io_getevents(made, 1, COUNT - taken, events, NULL);
                if (got == -EINTR) continue;
                CHECK(got > 0 || is_child, "%d", got);
                taken += got;
            }
            CHECK(done == COUNT || (is_child && done == -EINVAL), "%d", done);
            CHECK_EQ(timer_gettime(timer, &left) && !is_child, 0);
        }
        if (is_child) {
            CHECK_EQ(io_submit(made, COUNT, list), -EINVAL);
            CHECK_EQ(io_destroy(made), -EINVAL);
            _exit(0);
        }
        int status = -1;
        CHECK(wait(&status) > 0);
        CHECK_EQ(status, 0);
    }
    CHECK_EQ(timer_delete(timer), 0);
    CHECK_EQ(io_destroy(made), 0);
}

static pid_t raw_fork(void) { return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }

int main(void) {
    io_context_t made = context(2 * COUNT);
    struct iocb polls[COUNT], sync, *list[COUNT], *one = &sync;
    struct io_event events[COUNT + 1];
    struct held h = hold(BLOCK);
    struct aiocb stuck;
    fd = temp_file();
    other = temp_file();
    CHECK_EQ(pipe(ends), 0);
    for (int i = 0; i < COUNT; i++) {
        io_prep_poll(&polls[i], ends[0], POLLIN);
        list[i] = &polls[i];
    }
    submit(made, list, COUNT);
    fork_with(fork, made, polls);
    // With a sync that waits.
    if (is_library()) held_write(&h, &stuck, fd, BLOCK, 0, 1);
    io_prep_fsync(&sync, fd);
    submit(made, &one, 1);
    fork_with(fork, made, polls);
    fork_with(_Fork, made, polls);
    fork_with(raw_fork, made, polls);
    if (is_library()) {
        release_held(&h);
        CHECK_DONE(&stuck, 0, BLOCK);
    }
    CHECK_EQ(write(ends[1], "x", 1), 1);
    reap_all(made, BY_CALL, events, COUNT + 1);
    CHECK_EQ(events[place_of(events, COUNT + 1, &sync)].res, 0);
    CHECK_EQ(io_destroy(made), 0);
    in_handlers();
    return 0;
}
