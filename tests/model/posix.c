// Random programs on the POSIX interface, each checked against a sequential model: threads, files (through dups, second opens, O_DIRECT,
// O_APPEND, memfd), pipes, sockets, terminals; reads, writes, syncs, lists, waits, cancellation, closing and reuse of numbers,
// fork, signal handlers that make requests of their own, threads that are cancelled while they wait.
//
// What is checked: bytes read and left in the files are those of each thread's requests in call order; an fsync ends after all
// that was submitted on its file before; each notification comes once, and after the status; results; no other file is touched; no
// descriptor stays open.
//
//     posix FIRST-SEED COUNT|SECONDSs
#include "model.h"
#include <pty.h>
#include <stdatomic.h>
#include <termios.h>

#ifndef LIO_DSYNC
enum { LIO_DSYNC = 3, LIO_SYNC = 4 };
#endif

// MOST_THREADS of the schedule, one that is cancelled again and again, and the main thread.
enum { MOST_THREADS = 4, CANCELLED = MOST_THREADS, MAIN, THREADS };
enum { REQUESTS = 70, AREA = 32768, BUFFER = 8192, AREAS = 16, MEMBERS = 16, RECORD = 16 };

// What requests go to. Each thread has an area of its own behind each of the first, so that it knows what is there.
enum target { FILE_A, DUP_A, REOPENED_A, DIRECT_B, CACHED_B, MEMORY, PRIVATE, APPENDED, PIPE, SOCKET, DATAGRAMS, TERMINAL, TARGETS };
static const enum target last_with_areas = PRIVATE;
static const char *const target_names[] = {"a",       "dup of a", "a again", "b by O_DIRECT", "b",         "memfd",
                                           "private", "append",   "pipe",    "socket",        "datagrams", "terminal"};

enum kind { READ, WRITE, SYNC, APPEND, RECEIVE, SEND };
static const char *const kind_names[] = {"read", "write", "fsync", "append", "receive", "send"};

enum note { NO_NOTE, SIGNAL, FUNCTION, TO_THREAD, SIGNAL_ZERO };

enum state { UNUSED_, SUBMITTING, SUBMITTED, REFUSED };

struct request {
    struct aiocb cb;
    _Atomic enum state state;
    enum kind kind;
    enum target target;
    enum note note;
    int thread, number, fd, area;
    off_t offset; // in its area
    int size;
    unsigned char *buffer;
    atomic_int notified, notified_early, wrong_code;
    int error;
    ssize_t returned;
    struct request **covered; // of a sync
    int covers;
};

struct list {
    struct request *member[MEMBERS];
    int members;
    enum note note;
    atomic_int notified, notified_early;
};

static struct request requests[THREADS][REQUESTS];
static atomic_int request_count[THREADS];
static struct list lists[THREADS][REQUESTS];
static int list_count[THREADS];
static int descriptors[TARGETS][2], threads;
// The private file of each thread, and how often its descriptor was given up: each time it goes on in the next area.
static int private_fd[THREADS], private_area[THREADS];
// Files that got the number of a descriptor with requests: nothing may reach them.
static int victims[THREADS][AREAS], victim_count[THREADS];
static _Thread_local int self;
static atomic_bool signals_stop, streams_overflow;

static struct request *request_of(int thread, int number) { return &requests[thread][number]; }

#define EACH_REQUEST(r)                                                                                                \
    for (int t_ = 0; t_ < THREADS; t_++)                                                                               \
        for (struct request *r = requests[t_], *end_ = r + request_count[t_]; r < end_; r++)                           \
            if (r->state == SUBMITTED)

static const char *describe(const struct request *r) {
    static _Thread_local char texts[4][100];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "%s %d of thread %d on %s (fd %d, %d bytes)", kind_names[r->kind], r->number, r->thread,
             target_names[r->target], r->fd, r->size);
    return text;
}

static bool is_stream(enum target target) { return target > APPENDED; }
static bool in_progress(const struct request *r) { return aio_error(&r->cb) == EINPROGRESS; }

// Where an area lies in its file. Those of several descriptors of one file lie apart.
static off_t area_start(enum target target, int thread, int area) {
    int descriptor = target == DUP_A || target == CACHED_B ? 1 : target == REOPENED_A ? 2 : 0;
    return ((off_t)descriptor * THREADS + thread + area) * AREA;
}

static int file_of(const struct request *r) {
    switch (r->target) {
    case FILE_A:
    case DUP_A:
    case REOPENED_A: return FILE_A;
    case DIRECT_B:
    case CACHED_B: return DIRECT_B;
    case PRIVATE: return TARGETS + r->thread;
    default: return r->target;
    }
}

// ---- notifications ----

static int wanted_notes(enum note note) { return note == SIGNAL || note == FUNCTION || note == TO_THREAD; }

// A list's notification carries its address plus 1.
static void notified(void *what, bool right_code) {
    uintptr_t address = (uintptr_t)what;
    if (address & 1) {
        struct list *l = (struct list *)(address - 1);
        for (int i = 0; i < l->members; i++) l->notified_early += in_progress(l->member[i]);
        l->notified++;
        return;
    }
    struct request *r = what;
    r->notified_early += in_progress(r);
    r->wrong_code += !right_code;
    r->notified++;
}

static void on_note(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    int error = errno;
    notified(info->si_value.sival_ptr, info->si_code == SI_ASYNCIO);
    errno = error;
}

static void on_function(union sigval value) { notified(value.sival_ptr, true); }

static void set_note(struct sigevent *event, enum note note, void *value) {
    memset(event, 0, sizeof *event);
    event->sigev_value.sival_ptr = value;
    event->sigev_notify = SIGEV_NONE;
    if (note == FUNCTION) {
        event->sigev_notify = SIGEV_THREAD;
        event->sigev_notify_function = on_function;
    } else if (note == SIGNAL || note == SIGNAL_ZERO) {
        event->sigev_notify = SIGEV_SIGNAL;
        event->sigev_signo = note == SIGNAL ? SIGRTMIN + 1 + (int)below(3) : 0;
    } else if (note == TO_THREAD) {
        event->sigev_notify = SIGEV_THREAD_ID;
        event->sigev_signo = SIGRTMIN + 1;
        event->_sigev_un._tid = getpid();
    }
}

static enum note some_note(void) {
    unsigned choice = below(10);
    return choice < 6 ? NO_NOTE : (enum note)(choice - 5);
}

// ---- requests ----

static struct request *new_request(void) {
    int number = request_count[self];
    if (number >= REQUESTS) return NULL;
    struct request *r = request_of(self, number);
    *r = (struct request){.buffer = r->buffer, .covered = r->covered, .thread = self, .number = number, .error = -1};
    request_count[self] = number + 1;
    return r;
}

static void on_file(struct request *r) {
    r->fd = r->target == PRIVATE ? private_fd[self] : descriptors[r->target][0];
    r->area = r->target == PRIVATE ? private_area[self] : 0;
    r->kind = one_in(8) ? SYNC : one_in(2) ? READ : WRITE;
    enum { PAGE = 4096 };
    bool direct = r->target == DIRECT_B;
    r->size = direct ? PAGE * (1 + (int)below(2)) : 1 + (int)below(one_in(3) ? BUFFER - 1 : 600);
    r->offset = direct ? PAGE * below(AREA / PAGE - 2) : below(AREA - BUFFER);
    r->cb.aio_offset = area_start(r->target, self, r->area) + r->offset;
}

static void on_appended(struct request *r) {
    r->fd = descriptors[APPENDED][0];
    r->kind = one_in(8) ? SYNC : APPEND;
    r->size = RECORD * (1 + (int)below(20));
    r->cb.aio_offset = one_in(2) ? 0 : below(100000);
}

// One thread sends and one receives; false: this one is neither.
static bool on_stream(struct request *r) {
    int receiver = threads > 1;
    if (self != 0 && self != receiver) return false;
    bool sends = self == 0 && (receiver || one_in(2));
    r->kind = sends ? SEND : RECEIVE;
    r->fd = descriptors[r->target][sends];
    r->size = 1 + (int)below(r->target == TERMINAL ? 40 : r->target == DATAGRAMS ? 300 : one_in(4) ? 8000 : 500);
    if (r->target == DATAGRAMS && !sends) r->size = 400;
    r->cb.aio_offset = one_in(2) ? 0 : -5;
    return true;
}

static void set_bytes(struct request *r) {
    if (r->kind == WRITE || r->kind == SEND) pattern(r->buffer, (size_t)r->size, (unsigned)(r->thread * 1009 + r->number));
    if (r->kind == READ || r->kind == RECEIVE) memset(r->buffer, 0xEE, (size_t)r->size);
    for (int at = 0; r->kind == APPEND && at < r->size; at += RECORD) {
        int record[] = {r->thread, r->number, r->size, at};
        memcpy(r->buffer + at, record, RECORD);
    }
}

static void plan(struct request *r) {
    for (;;) {
        unsigned choice = below(100);
        r->target = choice < 60 ? below(last_with_areas + 1) : choice < 72 ? APPENDED : PIPE + below(TARGETS - PIPE);
        if (r->target <= last_with_areas)
            on_file(r);
        else if (r->target == APPENDED)
            on_appended(r);
        else if (!on_stream(r))
            continue;
        break;
    }
    r->note = some_note();
    r->cb.aio_reqprio = one_in(4) ? (int)below(21) : 0;
    r->cb.aio_fildes = r->fd;
    r->cb.aio_buf = r->buffer;
    r->cb.aio_nbytes = (size_t)r->size;
    set_note(&r->cb.aio_sigevent, r->note, r);
    set_bytes(r);
}

// What must have ended when this sync has: all of its file that was submitted before.
static void note_covered(struct request *r) {
    static _Thread_local struct request *found[THREADS * REQUESTS];
    int count = 0;
    EACH_REQUEST(other)
    if (other->kind != SYNC && file_of(other) == file_of(r)) found[count++] = other;
    r->covered = realloc(r->covered, ((size_t)count + 1) * sizeof *found);
    memcpy(r->covered, found, (size_t)count * sizeof *found);
    r->covers = count;
}

static void check_covered(const struct request *r) {
    int error = aio_error(&r->cb);
    if (r->kind != SYNC || error == EINPROGRESS || error == ECANCELED) return;
    for (int i = 0; i < r->covers; i++)
        if (in_progress(r->covered[i])) BAD("%s has ended before %s", describe(r), describe(r->covered[i]));
}

// The library has read the fields: a program may do with them what it likes.
static void scribble(struct request *r) {
    if (!one_in(4)) return;
    r->cb.aio_buf = (void *)0x1234;
    r->cb.aio_nbytes = below(1000000);
    r->cb.aio_offset = -(off_t)below(100);
    r->cb.aio_reqprio = 99;
    r->cb.aio_lio_opcode = 77;
    memset(&r->cb.aio_sigevent, (int)below(256), sizeof r->cb.aio_sigevent);
}

static void submit(struct request *r) {
    r->state = SUBMITTING;
    if (r->kind == SYNC) note_covered(r);
    bool reads = r->kind == READ || r->kind == RECEIVE;
    int failed = r->kind == SYNC ? aio_fsync(one_in(2) ? O_SYNC : O_DSYNC, &r->cb) : reads ? aio_read(&r->cb) : aio_write(&r->cb);
    if (failed && errno != EAGAIN) BAD("%s is refused: %s", describe(r), check_errno(errno));
    r->state = failed ? REFUSED : SUBMITTED;
    if (!failed) scribble(r);
}

// ---- what threads do beside single requests ----

static int opcode(const struct request *r) {
    switch (r->kind) {
    case SYNC: return one_in(2) ? LIO_SYNC : LIO_DSYNC;
    case READ:
    case RECEIVE: return LIO_READ;
    default: return LIO_WRITE;
    }
}

static void check_list_result(const struct list *l, int mode, int result, int error) {
    if (result && error != EINTR && error != EIO) BAD("lio_listio: %s", check_errno(error));
    bool failed = false;
    for (int i = 0; i < l->members; i++) {
        int status = aio_error(&l->member[i]->cb);
        failed |= status != 0 && status != EINPROGRESS;
        if (mode == LIO_WAIT && error != EINTR && status == EINPROGRESS)
            BAD("LIO_WAIT is over, %s is not", describe(l->member[i]));
    }
    if (result && error == EIO && !failed) BAD("lio_listio says EIO, no member failed");
}

static void submit_list(void) {
    struct list *l = &lists[self][list_count[self]];
    struct aiocb *entries[2 * MEMBERS];
    int count = 0;
    *l = (struct list){.members = 0};
    bool streams = false;
    for (int wanted = 1 + (int)below(10); l->members < wanted;) {
        struct request *r = new_request();
        if (!r) break;
        plan(r);
        streams |= is_stream(r->target);
        r->cb.aio_lio_opcode = opcode(r);
        if (one_in(6)) entries[count++] = NULL;
        entries[count++] = &r->cb;
        l->member[l->members++] = r;
    }
    if (!l->members) return;
    list_count[self]++;
    // A read of a stream may wait for a request that this thread makes later.
    int mode = !streams && one_in(2) ? LIO_WAIT : LIO_NOWAIT;
    if (mode == LIO_NOWAIT && one_in(2)) l->note = one_in(2) ? SIGNAL : FUNCTION;
    struct sigevent event;
    set_note(&event, l->note, (char *)l + 1);
    for (int i = 0; i < l->members; i++) {
        l->member[i]->state = SUBMITTING;
        if (l->member[i]->kind == SYNC) note_covered(l->member[i]);
    }
    errno = 0;
    int result = lio_listio(mode, entries, count, l->note == NO_NOTE && one_in(2) ? NULL : &event), error = errno;
    memset(&event, 0xff, sizeof event);
    bool partly = result && error == EAGAIN;
    for (int i = 0; i < l->members; i++) {
        struct request *r = l->member[i];
        r->state = partly && aio_error(&r->cb) == EAGAIN ? REFUSED : SUBMITTED;
    }
    if (!partly) check_list_result(l, mode, result, error);
    if (mode == LIO_NOWAIT)
        for (int i = 0; i < l->members; i++)
            if (l->member[i]->state == SUBMITTED) scribble(l->member[i]);
}

static struct request *some_own_request(void) {
    struct request *r = request_count[self] ? request_of(self, (int)below((unsigned)request_count[self])) : NULL;
    return r && r->state == SUBMITTED ? r : NULL;
}

static void cancel(void) {
    struct request *r = some_own_request();
    if (!r || (r->target == PRIVATE && r->fd != private_fd[self])) return;
    // aio_cancel compares the descriptor, which may have been scribbled upon: it is never, see `scribble`.
    bool all = one_in(4);
    int before = aio_error(&r->cb), result = aio_cancel(r->fd, all ? NULL : &r->cb), after = aio_error(&r->cb);
    if (result == -1) BAD("aio_cancel of %s: %s", describe(r), check_errno(errno));
    if (!all && result == AIO_CANCELED && after != ECANCELED) BAD("AIO_CANCELED, but the status of %s is %d", describe(r), after);
    if (!all && result == AIO_ALLDONE && after == EINPROGRESS) BAD("AIO_ALLDONE, but %s is in progress", describe(r));
    if (all && result == AIO_CANCELED && after == EINPROGRESS) BAD("all canceled, but %s is in progress", describe(r));
    if (before != EINPROGRESS && after != before) BAD("%s had ended with %d, now it says %d", describe(r), before, after);
}

static void wait_for_some(void) {
    const struct aiocb *entries[20];
    int count = 0;
    for (int i = 1 + (int)below(8); i > 0; i--) {
        struct request *r = some_own_request();
        if (r) entries[count++] = &r->cb;
        if (one_in(5)) entries[count++] = NULL;
    }
    struct timespec timeout = {0, one_in(3) ? 0 : below(3000000)};
    if (aio_suspend(entries, count, &timeout)) {
        if (errno != EAGAIN && errno != EINTR) BAD("aio_suspend: %s", check_errno(errno));
        return;
    }
    bool any = false, ended = false;
    for (int i = 0; i < count; i++) {
        any |= entries[i] != NULL;
        ended |= entries[i] && aio_error(entries[i]) != EINPROGRESS;
    }
    if (any && !ended) BAD("aio_suspend returned 0, and nothing has ended");
}

// Gives up the private descriptor with whatever is queued on it; another file gets its number.
static void close_private(void) {
    if (private_area[self] + 2 >= AREAS) return;
    int old = private_fd[self], victim;
    char name[40];
    snprintf(name, sizeof name, "victim-%d-%d", self, victim_count[self]);
    unsigned way = below(3);
    if (way == 0) {
        close(old);
        victim = temp_open(name, O_RDWR | O_TRUNC);
    } else {
        int opened = temp_open(name, O_RDWR | O_TRUNC);
        victim = way == 1 ? dup2(opened, old) : dup3(opened, old, O_CLOEXEC);
        if (victim != old) BAD("dup2: %s", check_errno(errno));
        close(opened);
    }
    victims[self][victim_count[self]++] = victim;
    snprintf(name, sizeof name, "private-%d", self);
    private_fd[self] = temp_open(name, O_RDWR);
    private_area[self]++;
}

static void child(void) {
    enum { SIZE = 64 };
    char out[SIZE] = "child", in[SIZE] = "";
    int fd = memfd_create("child", 0);
    struct aiocb write = {.aio_fildes = fd, .aio_buf = out, .aio_nbytes = SIZE, .aio_sigevent.sigev_notify = SIGEV_NONE};
    struct aiocb sync = {.aio_fildes = fd, .aio_sigevent.sigev_notify = SIGEV_NONE};
    struct aiocb read = {.aio_fildes = fd, .aio_buf = in, .aio_nbytes = SIZE, .aio_sigevent.sigev_notify = SIGEV_NONE};
    const struct aiocb *wait[] = {&sync};
    if (aio_write(&write) || aio_fsync(O_SYNC, &sync)) _exit(10);
    while (aio_error(&sync) == EINPROGRESS) aio_suspend(wait, 1, NULL);
    if (aio_error(&sync) || aio_error(&write) || aio_read(&read)) _exit(11);
    wait[0] = &read;
    while (aio_error(&read) == EINPROGRESS) aio_suspend(wait, 1, NULL);
    _exit(memcmp(out, in, SIZE) ? 12 : 0);
}

static void fork_one(void) {
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        signal(SIGUSR1, SIG_IGN);
        sigset_t all_but_alarm;
        sigfillset(&all_but_alarm);
        sigdelset(&all_but_alarm, SIGALRM);
        sigprocmask(SIG_SETMASK, &all_but_alarm, NULL);
        alarm(PATIENCE_S);
        child();
    }
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) BAD("waitpid: %s", check_errno(errno));
    if (pid > 0 && status) BAD("a child of fork ended with status %#x", status);
}

static void *run_thread(void *argument) {
    self = (int)(intptr_t)argument;
    start_random((unsigned)self);
    for (int steps = 5 + (int)below(45); steps > 0; steps--) {
        unsigned choice = below(100);
        struct request *r;
        if (choice < 62) {
            if (!(r = new_request())) break;
            plan(r);
            submit(r);
        } else if (choice < 72) {
            submit_list();
        } else if (choice < 82) {
            cancel();
        } else if (choice < 90) {
            wait_for_some();
        } else if (choice < 95) {
            close_private();
        } else if (choice == 95) {
            if (one_in(3)) fork_one();
        } else if (choice < 98) {
            nap_us(below(300));
        } else if ((r = some_own_request())) {
            check_covered(r);
        }
    }
    return NULL;
}

// ---- disturbers ----

// A handler that makes requests of its own, whatever it interrupts.
enum { OF_HANDLER = 4, HANDLER_BYTES = 16 };
static struct aiocb handler_cbs[THREADS][OF_HANDLER];
static char handler_bytes[THREADS][OF_HANDLER * HANDLER_BYTES];
static int handler_fd[THREADS];

static void on_usr1(int number) {
    (void)number;
    int error = errno;
    for (int i = 0; i < OF_HANDLER; i++) {
        struct aiocb *cb = &handler_cbs[self][i];
        if (aio_error(cb) == EINPROGRESS) continue;
        *cb = (struct aiocb){.aio_fildes = handler_fd[self],
                             .aio_buf = handler_bytes[self] + i * HANDLER_BYTES,
                             .aio_nbytes = HANDLER_BYTES,
                             .aio_offset = i * HANDLER_BYTES,
                             .aio_sigevent.sigev_notify = SIGEV_NONE};
        int ignored = i == 0 ? aio_write(cb) : i == 1 ? aio_read(cb) : i == 2 ? aio_fsync(O_DSYNC, cb) : aio_cancel(handler_fd[self], NULL);
        (void)ignored;
        break;
    }
    errno = error;
}

static void one_cancellable_wait(struct request *r) {
    const struct aiocb *wait[] = {NULL, &r->cb};
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    while (in_progress(r)) aio_suspend(wait, 2, NULL);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
}

static void *be_cancelled(void *unused) {
    (void)unused;
    self = CANCELLED;
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    start_random((unsigned)CANCELLED + (unsigned)request_count[CANCELLED]);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (struct request *r; (r = new_request());) {
        r->target = DIRECT_B;
        r->kind = one_in(2) ? READ : WRITE;
        r->fd = descriptors[DIRECT_B][0];
        r->size = 4096;
        r->offset = 4096 * below(6);
        set_bytes(r);
        r->cb = (struct aiocb){.aio_fildes = r->fd,
                               .aio_buf = r->buffer,
                               .aio_nbytes = 4096,
                               .aio_offset = area_start(DIRECT_B, CANCELLED, 0) + r->offset,
                               .aio_lio_opcode = r->kind == READ ? LIO_READ : LIO_WRITE,
                               .aio_sigevent.sigev_notify = SIGEV_NONE};
        submit(r);
        if (r->state == SUBMITTED) one_cancellable_wait(r);
    }
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    for (;;) pause();
    return NULL;
}

// Sends signals to the threads, and cancels one that waits.
static void *disturb(void *argument) {
    pthread_t *ids = argument, waiter;
    self = MAIN;
    start_random(MAIN + 1);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    bool cancels = one_in(3), has_waiter = false;
    while (!signals_stop) {
        pthread_kill(ids[below((unsigned)threads)], SIGUSR1);
        if (cancels && !has_waiter && request_count[CANCELLED] < REQUESTS - 2) {
            has_waiter = !pthread_create(&waiter, NULL, be_cancelled, NULL);
        } else if (has_waiter && one_in(3)) {
            pthread_cancel(waiter);
            join(waiter, "one that was cancelled");
            has_waiter = false;
        }
        nap_us(20 + below(300));
    }
    if (has_waiter) {
        pthread_cancel(waiter);
        join(waiter, "one that was cancelled");
    }
    return NULL;
}

// ---- the end of a schedule ----

static void wait_until_ended(bool which(const struct request *)) {
    double deadline = now_s() + PATIENCE_S;
    EACH_REQUEST(r) {
        while (which(r) && in_progress(r)) {
            if (now_s() > deadline) BAD("%s never ends", describe(r));
            nap_us(100);
        }
        check_covered(r);
    }
}

static bool is_of_file(const struct request *r) { return !is_stream(r->target); }
static bool is_receive(const struct request *r) { return r->kind == RECEIVE; }
static bool is_any(const struct request *r) { return r != NULL; }

static int sends_in_progress(void) {
    int count = 0;
    EACH_REQUEST(r) count += r->kind == SEND && in_progress(r);
    return count;
}

// Takes what is in a stream by one more request of the receiver. False: nothing is there.
static bool receive_once(enum target target) {
    struct pollfd ready = {descriptors[target][0], POLLIN, 0};
    if (poll(&ready, 1, 0) != 1) return false;
    struct request *r = new_request();
    if (!r) {
        // Without a record of it the bytes cannot be compared.
        static char sink[65536];
        streams_overflow = true;
        return read(ready.fd, sink, sizeof sink) > 0;
    }
    *r = (struct request){.buffer = r->buffer, .covered = r->covered, .thread = r->thread, .number = r->number,
                          .kind = RECEIVE, .target = target, .fd = ready.fd, .size = BUFFER};
    r->cb = (struct aiocb){.aio_fildes = ready.fd, .aio_buf = r->buffer, .aio_nbytes = BUFFER, .aio_sigevent.sigev_notify = SIGEV_NONE};
    submit(r);
    const struct aiocb *wait[] = {&r->cb};
    struct timespec patience = {PATIENCE_S, 0};
    while (r->state == SUBMITTED && in_progress(r))
        if (aio_suspend(wait, 1, &patience) && errno == EAGAIN) BAD("%s never ends", describe(r));
    return true;
}

static void end_streams(void) {
    for (enum target t = PIPE; t < TARGETS; t++)
        if (aio_cancel(descriptors[t][0], NULL) == -1) BAD("aio_cancel: %s", check_errno(errno));
    wait_until_ended(is_receive);
    double deadline = now_s() + PATIENCE_S;
    self = threads > 1;
    while (sends_in_progress()) {
        if (now_s() > deadline) BAD("%d sends never end", sends_in_progress());
        bool received = false;
        for (enum target t = PIPE; t < TARGETS; t++) received |= receive_once(t);
        if (!received) nap_us(200);
    }
    self = MAIN;
}

static void check_results(void) {
    EACH_REQUEST(r) {
        check_covered(r);
        r->error = aio_error(&r->cb);
        r->returned = aio_return(&r->cb);
        if (r->error && r->error != ECANCELED) BAD("%s: %s", describe(r), check_errno(r->error));
        bool right = r->error                 ? r->returned == -1
                     : r->kind == RECEIVE     ? r->returned > 0 && r->returned <= r->size
                                              : r->returned == (r->kind == SYNC ? 0 : r->size);
        if (!right) BAD("%s returns %zd (status %d)", describe(r), r->returned, r->error);
    }
}

static void check_notifications(void) {
    double deadline = now_s() + PATIENCE_S;
    EACH_REQUEST(r) while (r->notified < wanted_notes(r->note) && now_s() < deadline) nap_us(100);
    for (int t = 0; t < THREADS; t++)
        for (struct list *l = lists[t]; l < lists[t] + list_count[t]; l++)
            while (l->notified < wanted_notes(l->note) && now_s() < deadline) nap_us(100);
    // One too many would come about now.
    if (one_in(4)) nap_us(500);
    EACH_REQUEST(r) {
        if (r->notified != wanted_notes(r->note)) BAD("%s (status %d): %d notifications", describe(r), r->error, r->notified);
        if (r->notified_early) BAD("%s was announced before its status", describe(r));
        if (r->wrong_code) BAD("%s was announced with another si_code", describe(r));
    }
    for (int t = 0; t < THREADS; t++)
        for (struct list *l = lists[t]; l < lists[t] + list_count[t]; l++)
            if (l->notified != wanted_notes(l->note) || l->notified_early)
                BAD("a list of %d: %d notifications, %d members in progress then", l->members, l->notified, l->notified_early);
}

static int first_difference(const unsigned char *one, const unsigned char *other, int size) {
    int at = 0;
    while (at < size && one[at] == other[at]) at++;
    return at;
}

// Runs a thread's requests on one area in call order, and compares what it read and what is there in the end.
static void replay_area(int thread, enum target target, int area) {
    static unsigned char expected[AREA], found[AREA] __attribute__((aligned(4096)));
    memset(expected, 0, AREA);
    for (int i = 0; i < request_count[thread]; i++) {
        struct request *r = request_of(thread, i);
        if (r->state != SUBMITTED || r->error || r->target != target || r->area != area) continue;
        if (r->kind == WRITE) memcpy(expected + r->offset, r->buffer, (size_t)r->size);
        int differs = r->kind == READ ? first_difference(expected + r->offset, r->buffer, r->size) : r->size;
        if (differs < r->size) BAD("%s at %ld: other bytes from %d on", describe(r), (long)r->offset, differs);
    }
    int fd = target == PRIVATE ? private_fd[thread] : descriptors[target][0];
    if (pread(fd, found, AREA, area_start(target, thread, area)) != AREA) BAD("pread: %s", check_errno(errno));
    int differs = first_difference(expected, found, AREA);
    if (differs < AREA) BAD("area %d of thread %d in %s: other bytes from %d on", area, thread, target_names[target], differs);
}

static void check_files(void) {
    for (int t = 0; t < threads; t++)
        for (enum target target = FILE_A; target <= last_with_areas; target++)
            for (int area = 0; area <= (target == PRIVATE ? private_area[t] : 0); area++) replay_area(t, target, area);
}

static void check_appended(void) {
    static bool seen[THREADS][REQUESTS];
    memset(seen, 0, sizeof seen);
    int next[THREADS] = {0};
    static unsigned char bytes[BUFFER];
    int fd = descriptors[APPENDED][1], record[4];
    for (off_t at = 0; pread(fd, record, sizeof record, at) == sizeof record; at += record[2]) {
        int thread = record[0], number = record[1];
        if (thread < 0 || thread >= threads || number < next[thread] || number >= request_count[thread])
            BAD("appends are out of order: request %d of thread %d at %ld", number, thread, (long)at);
        struct request *r = request_of(thread, number);
        if (pread(fd, bytes, (size_t)r->size, at) != r->size || memcmp(bytes, r->buffer, (size_t)r->size))
            BAD("%s is torn", describe(r));
        seen[thread][number] = true;
        next[thread] = number + 1;
    }
    EACH_REQUEST(r)
    if (r->kind == APPEND && seen[r->thread][r->number] != !r->error)
        BAD("%s (status %d) is %sthere", describe(r), r->error, r->error ? "" : "not ");
}

static void check_stream(enum target target) {
    static unsigned char sent[1 << 20], received[1 << 20];
    long out = 0, in = 0;
    EACH_REQUEST(r) {
        if (r->target != target || r->error) continue;
        memcpy(r->kind == SEND ? sent + out : received + in, r->buffer, (size_t)r->returned);
        *(r->kind == SEND ? &out : &in) += r->returned;
    }
    fcntl(descriptors[target][0], F_SETFL, fcntl(descriptors[target][0], F_GETFL) | O_NONBLOCK);
    for (ssize_t more; (more = read(descriptors[target][0], received + in, 65536)) > 0;) in += more;
    if (in != out || memcmp(sent, received, (size_t)out)) BAD("%s: %ld bytes sent, %ld received", target_names[target], out, in);
}

static void check_victims(void) {
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < victim_count[t]; i++) {
            struct stat found;
            if (fstat(victims[t][i], &found) || found.st_size != 0) BAD("a request has reached the file that got its number");
            close(victims[t][i]);
        }
}

// ---- a schedule ----

static void open_targets(void) {
    descriptors[FILE_A][0] = temp_open("a", O_RDWR | O_TRUNC);
    CHECK_EQ(ftruncate(descriptors[FILE_A][0], (off_t)3 * THREADS * AREA), 0);
    descriptors[DUP_A][0] = dup(descriptors[FILE_A][0]);
    descriptors[REOPENED_A][0] = temp_open("a", O_RDWR);
    descriptors[CACHED_B][0] = temp_open("b", O_RDWR | O_TRUNC);
    static const char zeroes[AREA];
    // Either it is a hole, or its blocks are there.
    if (one_in(2)) CHECK_EQ(ftruncate(descriptors[CACHED_B][0], (off_t)2 * THREADS * AREA), 0);
    for (off_t at = 0; at < 2 * THREADS; at++) {
        struct stat found;
        if (!fstat(descriptors[CACHED_B][0], &found) && found.st_size >= (off_t)2 * THREADS * AREA && at == 0) break;
        CHECK_EQ(pwrite(descriptors[CACHED_B][0], zeroes, AREA, at * AREA), AREA);
    }
    char *path = temp_path("b");
    descriptors[DIRECT_B][0] = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    free(path);
    if (descriptors[DIRECT_B][0] < 0) descriptors[DIRECT_B][0] = temp_open("b", O_RDWR);
    descriptors[MEMORY][0] = memfd_create("memory", MFD_CLOEXEC);
    CHECK_EQ(ftruncate(descriptors[MEMORY][0], (off_t)THREADS * AREA), 0);
    descriptors[APPENDED][0] = temp_open("appended", O_RDWR | O_TRUNC | O_APPEND);
    descriptors[APPENDED][1] = temp_open("appended", O_RDONLY);
    CHECK_EQ(pipe2(descriptors[PIPE], O_CLOEXEC), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, descriptors[SOCKET]), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, descriptors[DATAGRAMS]), 0);
    CHECK_EQ(openpty(&descriptors[TERMINAL][0], &descriptors[TERMINAL][1], NULL, NULL, NULL), 0);
    struct termios raw;
    tcgetattr(descriptors[TERMINAL][1], &raw);
    cfmakeraw(&raw);
    tcsetattr(descriptors[TERMINAL][1], TCSANOW, &raw);
    for (int t = 0; t < THREADS; t++) {
        char name[40];
        snprintf(name, sizeof name, "private-%d", t);
        private_fd[t] = temp_open(name, O_RDWR | O_TRUNC);
        CHECK_EQ(ftruncate(private_fd[t], (off_t)(THREADS + AREAS) * AREA), 0);
        handler_fd[t] = memfd_create("handler", MFD_CLOEXEC);
        memset(handler_cbs[t], 0, sizeof handler_cbs[t]);
    }
}

static void close_targets(void) {
    for (enum target t = 0; t < TARGETS; t++)
        for (int end = 0; end < (t >= APPENDED ? 2 : 1); end++)
            if (t != PRIVATE) close(descriptors[t][end]);
    for (int t = 0; t < THREADS; t++) {
        close(private_fd[t]);
        close(handler_fd[t]);
    }
}

static void run_threads(void) {
    pthread_t ids[MOST_THREADS], disturber;
    for (int i = 0; i < threads; i++) CHECK_EQ(pthread_create(&ids[i], NULL, run_thread, (void *)(intptr_t)i), 0);
    bool disturbed = !one_in(3);
    if (disturbed) {
        CHECK_EQ(pthread_create(&disturber, NULL, disturb, ids), 0);
        // Before the threads are joined: their numbers are not valid for pthread_kill any more then.
        nap_us(2000 * (1 + (long)below(10)));
        signals_stop = true;
        join(disturber, "the disturber");
    }
    for (int i = 0; i < threads; i++) join(ids[i], "one of the schedule's");
}

static void schedule(void) {
    self = MAIN;
    start_random(MAIN);
    threads = 1 + (int)below(MOST_THREADS);
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < REQUESTS; i++) requests[t][i].state = UNUSED_;
        request_count[t] = list_count[t] = private_area[t] = victim_count[t] = 0;
    }
    signals_stop = streams_overflow = false;
    struct sigaction action = {.sa_handler = on_usr1, .sa_flags = seed % 2 ? SA_RESTART : 0};
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    open_targets();
    run_threads();
    wait_until_ended(is_of_file);
    end_streams();
    wait_until_ended(is_any);
    check_results();
    check_notifications();
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < OF_HANDLER; i++) WAIT_FOR(aio_error(&handler_cbs[t][i]) != EINPROGRESS);
    check_files();
    check_appended();
    for (enum target t = PIPE; t < TARGETS && !streams_overflow; t++) check_stream(t);
    check_victims();
    close_targets();
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_sigaction = on_note, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (int i = 1; i < 4; i++) CHECK_EQ(sigaction(SIGRTMIN + i, &action, NULL), 0);
    signal(SIGPIPE, SIG_IGN);
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < REQUESTS; i++) {
            requests[t][i].buffer = mmap(NULL, BUFFER + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(requests[t][i].buffer != MAP_FAILED);
        }
    run_schedules(argc, argv, schedule);
    return 0;
}
