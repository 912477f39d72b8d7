// Whatever is in an aiocb, a sigevent, a list or an argument: nothing crashes, what was accepted ends or can be cancelled, each
// function is called once for each end, and no byte is written outside of a buffer. The seed is printed:
// AIO_RS_FUZZ_SEED=N repeats it, AIO_RS_FUZZ_SECONDS=N takes longer.
// glibc: skip: it dies of what it is given
#include "check.h"
#include <sys/eventfd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { BLOCKS = 48, ROOM = 1 << 20, MOST_FDS = 40, GUARD = 64 };

static uint64_t state;
static int fds[MOST_FDS];
static unsigned descriptors;
static char *writable, *readable;
static unsigned long calls, owed, made;

static uint64_t any(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
static unsigned below(unsigned n) { return (unsigned)(any() >> 20) % n; }

static void function(union sigval value) {
    (void)value;
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
}

static void *address(void) {
    switch (below(10)) {
    case 0: return NULL;
    case 1: return (void *)(uintptr_t)below(4096);
    case 2: return (void *)0xffff888000000000ul;
    case 3: return (void *)-1L;
    case 4: return (void *)(uintptr_t)any();
    case 5: return readable + below(4096);
    case 6: return writable + ROOM - below(64);
    case 7: return writable + below(ROOM);
    default: return writable + 512 * below(1024);
    }
}

static long number(void) {
    switch (below(10)) {
    case 0: return 0;
    case 1: return -1;
    case 2: return LONG_MAX;
    case 3: return LONG_MIN;
    case 4: return 1l << 40;
    case 5: return INT_MAX;
    case 6: return (long)any();
    case 7: return LONG_MAX - (long)below(5000);
    default: return below(70000);
    }
}

// Signals that are ignored here, and what are none; not those of the C library, or that end a program.
static int signal_number(void) {
    static const int deadly[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP, SIGSYS, 32, 33, 34};
    int n = below(2) ? (int)below(70) : (int)number();
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        if (n == deadly[i]) return 0;
    return n;
}

static struct sigevent event(void) {
    struct sigevent e;
    for (size_t i = 0; i < sizeof e; i++) ((unsigned char *)&e)[i] = (unsigned char)any();
    e.sigev_notify = below(3) ? SIGEV_NONE : below(2) ? (int)below(6) : (int)number();
    e.sigev_signo = signal_number();
    if (e.sigev_notify == SIGEV_THREAD_ID) {
        e.sigev_notify_thread_id = below(2) ? getpid() : (int)number();
    } else {
        e.sigev_notify_function = below(4) ? function : NULL;
        e.sigev_notify_attributes = NULL;
    }
    return e;
}

static void fill_in(struct aiocb *cb) {
    if (below(4) == 0) // its internal fields, too
        for (size_t i = 0; i < sizeof *cb; i++) ((unsigned char *)cb)[i] = (unsigned char)any();
    cb->aio_fildes = fds[below(descriptors)];
    cb->aio_buf = address();
    cb->aio_nbytes = (size_t)number();
    cb->aio_offset = number();
    cb->aio_reqprio = below(3) ? (int)below(21) : (int)number();
    cb->aio_lio_opcode = below(3) ? (int)below(6) : (int)number();
    cb->aio_sigevent = event();
}

// Functions that one accepted aiocb owes.
static unsigned functions(const struct sigevent *e) { return e->sigev_notify == SIGEV_THREAD && e->sigev_notify_function; }

// It ends by itself, or it can be cancelled.
static void end(struct aiocb *cb, int fd, unsigned long seed) {
    double deadline = now_s() + PATIENCE_S;
    while (aio_error(cb) == EINPROGRESS) {
        aio_cancel(fd, NULL);
        CHECK(now_s() < deadline, "seed %lu, call %lu: a request of descriptor %d does not end", seed, made, fd);
        if (aio_error(cb) == EINPROGRESS) pause_ms(1);
    }
}

static void one_call(struct aiocb *cb, bool *in_flight) {
    struct aiocb *list[3] = {cb, NULL, cb};
    const struct aiocb *waiting[2] = {cb, NULL};
    struct timespec timeout = {below(2) ? 0 : -(long)below(5), below(2) ? 0 : number()};
    unsigned one = functions(&cb->aio_sigevent);
    struct sigevent all = event();
    bool tell = below(2);
    int n, returned;
    made++;
    switch (below(6)) {
    case 0: returned = aio_write(cb); break;
    case 1: returned = aio_fsync(below(3) ? O_SYNC : below(2) ? O_DSYNC : (int)number(), cb); break;
    case 2: {
        // The aiocb twice: the second one is in flight, or begins when the first has ended. So functions are not counted here.
        if (functions(&cb->aio_sigevent)) cb->aio_sigevent.sigev_notify = SIGEV_NONE;
        if (functions(&all)) all.sigev_notify = SIGEV_NONE;
        n = 1 + (int)below(2);
        int mode = below(4) ? LIO_NOWAIT : (int)number();
        // LIO_WAIT would wait for the pipe that nobody writes to.
        lio_listio(mode == LIO_WAIT ? LIO_NOWAIT : mode, list, n, tell ? &all : NULL);
        *in_flight = true;
        return;
    }
    case 3: aio_suspend(waiting, below(2) ? 2 : -(int)below(3), &timeout); return;
    case 4: aio_cancel(below(2) ? cb->aio_fildes : fds[below(descriptors)], below(2) ? cb : NULL); return;
    default: returned = aio_read(cb); break;
    }
    if (returned == 0) {
        owed += one;
        *in_flight = true;
    }
}

static void open_all(void) {
    int p[2], file = temp_open("file", O_RDWR);
    char *path = temp_path("file");
    CHECK_EQ(ftruncate(file, 1 << 16), 0);
    fds[descriptors++] = file;
    fds[descriptors++] = open(path, O_RDWR | O_DIRECT | O_CLOEXEC); // or -1
    fds[descriptors++] = open(path, O_RDONLY | O_CLOEXEC);
    fds[descriptors++] = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    fds[descriptors++] = open(path, O_PATH | O_CLOEXEC);
    CHECK_EQ(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0);
    fds[descriptors++] = p[0], fds[descriptors++] = p[1];
    CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
    fds[descriptors++] = p[0];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p), 0);
    fds[descriptors++] = p[0], fds[descriptors++] = p[1];
    static const char *const others[] = {"/tmp", "/dev/zero", "/dev/null", "/dev/full", "/proc/self/maps"};
    for (int i = 0; i < 5; i++) fds[descriptors++] = open(others[i], (i % 4 ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    fds[descriptors++] = eventfd(5, EFD_NONBLOCK | EFD_CLOEXEC);
    fds[descriptors++] = -1, fds[descriptors++] = 9999, fds[descriptors++] = INT_MIN;
}

// Writable, and readable, memory with nothing around it for as far as a count may reach.
static void map_all(void) {
    char *area = mmap(NULL, 1l << 33, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(area != MAP_FAILED);
    writable = mmap(area, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    readable = mmap(area + (1l << 32), 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(writable != MAP_FAILED && readable != MAP_FAILED);
}

int main(void) {
    const char *given = getenv("AIO_RS_FUZZ_SEED"), *time = getenv("AIO_RS_FUZZ_SECONDS");
    unsigned long seed = given ? strtoul(given, NULL, 10) : (unsigned long)(now_s() * 1e6) ^ (unsigned long)getpid() << 32;
    state = seed | 1;
    dprintf(1, "seed %lu\n", seed);
    for (int i = 1; i <= SIGRTMAX; i++) signal(i, SIG_IGN);
    struct rlimit most = {1 << 26, 1 << 26};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &most), 0);
    map_all();
    open_all();
    // Between guards that nobody may touch.
    static struct {
        unsigned char before[GUARD];
        struct aiocb cb;
        unsigned char behind[GUARD];
    } blocks[BLOCKS];
    static bool in_flight[BLOCKS];
    static int handed_in_with[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        memset(blocks[i].before, 0xee, GUARD);
        memset(blocks[i].behind, 0xee, GUARD);
    }
    double until = now_s() + (time ? strtod(time, NULL) : 2);
    while (now_s() < until) {
        unsigned i = below(BLOCKS);
        if (in_flight[i]) end(&blocks[i].cb, handed_in_with[i], seed);
        in_flight[i] = false;
        fill_in(&blocks[i].cb);
        handed_in_with[i] = blocks[i].cb.aio_fildes;
        one_call(&blocks[i].cb, &in_flight[i]);
    }
    for (int i = 0; i < BLOCKS; i++) {
        if (in_flight[i]) end(&blocks[i].cb, handed_in_with[i], seed);
        for (int k = 0; k < GUARD; k++)
            CHECK(blocks[i].before[k] == 0xee && blocks[i].behind[k] == 0xee, "seed %lu: a guard was written over", seed);
    }
    WAIT_FOR(__atomic_load_n(&calls, __ATOMIC_RELAXED) == owed);
    dprintf(1, "%lu calls, %lu functions\n", made, owed);
    _exit(0);
}
