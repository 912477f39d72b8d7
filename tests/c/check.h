// What the C programs of the suite share. Include it first: it sets _GNU_SOURCE.
//
// A program tests one promise. It exits 0 when the promise is kept, 77 to skip (SKIP says why), anything else is a
// failure. The lines at its top are read by tests/c_suite.rs:
//
//     // The promise, in a sentence (it may take several lines).
//     // glibc: conforms                 (the default) also run on libc, and must pass there
//     // glibc: fails: DESCRIPTION       must fail on libc (in one of four tries: it may be a race); DESCRIPTION goes
//                                        into the table "what glibc gets wrong"
//     // glibc: races: DESCRIPTION       the same, but a run in which it passes there is no failure
//     // glibc: skip: WHY                not run on libc
//     // env: NAME=VALUE [NAME=VALUE]    environment of the runs on the library
//     // timeout: SECONDS                default 180
//     // glibc-timeout: SECONDS          default 5 where libc is expected to fail, else as timeout
//     // modes: shared,static,preload,portable   the default is all four
//     // root                            needs root; skipped visibly otherwise
//     // interface: libaio               calls libaio's functions instead of POSIX AIO's: includes rings.h; the oracle is
//                                        the system's libaio, which is also what the library is preloaded over; there is
//                                        no portable mode
//     // holds-reads                     holds the buffer of a read: runs without the inline route, where the call itself
//                                        would be held
//     // once: WHY                       long, and the same however it is linked: of the modes shared, static and preload
//                                        that are asked for it runs in the first only (beside glibc and portable)
//     // takes: SECONDS                  about so long: the longest programs start first
//     // alone: WHY                      takes what all processes share: runs when no other program does
//     // may-skip: WHY                   a skip is no failure even under AIO_RS_REQUIRE_ALL=1
//
// "Still running" is made certain, never slept for: see struct held, full_pipe, wait_thread_blocked.
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <aio.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define HELPER static UNUSED

// How long anything that must happen may take before the program gives up: on a busy machine, too.
#define PATIENCE_S 60

// ---- Verdicts -------------------------------------------------------------------------------------------------------

// _exit: a failed program may have requests that never end.
HELPER __attribute__((format(printf, 3, 4), noreturn)) void fail_at(const char *file, int line,
                                                                    const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dprintf(2, "%s:%d: %s\n", file, line, text);
    _exit(1);
}

HELPER const char *check_errno(int number) {
    const char *name = strerrorname_np(number);
    return name ? name : "?";
}

#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)

// CHECK(condition) or CHECK(condition, "format", ...); errno is shown.
#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            int errno_now_ = errno;                                                                                    \
            char why_[512] = "";                                                                                       \
            check_format(why_, sizeof why_, "" __VA_ARGS__);                                                           \
            FAIL("not true: %s%s%s (errno %s)", #condition, why_[0] ? ": " : "", why_, check_errno(errno_now_));   \
        }                                                                                                              \
    } while (0)

// CHECK_EQ(got, expected) for integers.
#define CHECK_EQ(got, expected)                                                                                        \
    do {                                                                                                               \
        long long got_ = (long long)(got);                                                                             \
        int errno_now_ = errno;                                                                                        \
        long long expected_ = (long long)(expected);                                                                   \
        if (got_ != expected_)                                                                                         \
            FAIL("%s is %lld, expected %s = %lld (errno %s)", #got, got_, #expected, expected_,                        \
                 check_errno(errno_now_));                                                                             \
    } while (0)

// CHECK_FAILS(call, EINVAL): the call returns -1 and sets that errno.
#define CHECK_FAILS(call, error)                                                                                       \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        long long got_ = (long long)(call);                                                                            \
        int errno_now_ = errno;                                                                                        \
        if (got_ != -1 || errno_now_ != (error))                                                                       \
            FAIL("%s gives %lld, errno %s; expected -1, %s", #call, got_, check_errno(errno_now_), #error);        \
    } while (0)

#define SKIP(...)                                                                                                      \
    do {                                                                                                               \
        dprintf(2, "skip: " __VA_ARGS__);                                                                              \
        dprintf(2, "\n");                                                                                              \
        _exit(77);                                                                                                     \
    } while (0)

HELPER void check_format(char *to, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    vsnprintf(to, size, format, args);
#pragma GCC diagnostic pop
    va_end(args);
}

// ---- What the program runs on ---------------------------------------------------------------------------------------

#include "../../include/aio_rs.h"
extern const char *aio_rs_version(void) __attribute__((weak));
extern int aio_rs_stats(struct aio_rs_stats *, size_t) __attribute__((weak));

HELPER const char *test_mode(void) {
    const char *mode = getenv("AIO_RS_TEST_MODE");
    return mode ? mode : "";
}

// Whether the AIO functions are the library's, not libc's.
HELPER bool is_library(void) { return aio_rs_version != NULL || dlsym(RTLD_DEFAULT, "aio_rs_version") != NULL; }

// Whether the program runs in QEMU's user-mode emulation, whose own threads and memory are in /proc too.
HELPER bool emulated(void) {
    const char *runner = getenv("AIO_RS_RUNNER");
    return runner && strstr(runner, "qemu");
}
static UNUSED int emulator_threads_;

// What the library has counted so far; zeroes on libc.
HELPER struct aio_rs_stats counts(void) {
    struct aio_rs_stats stats;
    memset(&stats, 0, sizeof stats);
    if (aio_rs_stats) aio_rs_stats(&stats, sizeof stats);
    return stats;
}

// Whether requests may take this route.
HELPER bool may_take_(const char *route) {
    const char *settings = getenv("AIO_RS"), *routes = settings ? strstr(settings, "routes=") : NULL;
    return is_library() && !getenv("AIO_RS_TEST_PORTABLE") && (!routes || strstr(routes, route));
}

// Whether reads may be served inside the call.
HELPER bool has_inline_route(void) { return may_take_("inline"); }

// Whether O_DIRECT transfers may go to the kernel's own AIO.
HELPER bool has_direct_route(void) { return may_take_("direct"); }

// Whether the file system can say what it has in the page cache of a file that was just written (musl has no preadv2).
HELPER bool can_read_cached(int fd) {
    char byte;
    struct iovec place = {&byte, 1};
    int no_wait = 8;
    return syscall(SYS_preadv2, fd, &place, 1L, 0L, 0L, no_wait) == 1;
}

HELPER bool is_portable(void) { return getenv("AIO_RS_TEST_PORTABLE") != NULL; }

// A program that ran on something else than the harness asked for would prove nothing.
__attribute__((constructor)) HELPER void check_mode(void) {
    if (test_mode()[0] && is_library() != (strcmp(test_mode(), "glibc") != 0))
        FAIL("mode %s, but the AIO functions are %s", test_mode(), is_library() ? "the library's" : "libc's");
}

// ---- Time -----------------------------------------------------------------------------------------------------------

HELPER double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

HELPER void pause_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

// Polls until the condition holds; fails when it does not within PATIENCE_S.
#define WAIT_FOR(condition)                                                                                            \
    do {                                                                                                               \
        double deadline_ = now_s() + PATIENCE_S;                                                                       \
        while (!(condition)) {                                                                                         \
            if (now_s() > deadline_) FAIL("still not true after %d s: %s", PATIENCE_S, #condition);                    \
            pause_ms(1);                                                                                               \
        }                                                                                                              \
    } while (0)

// ---- Files ----------------------------------------------------------------------------------------------------------

static char temp_dir_path_[256];
static pid_t temp_dir_owner_;

HELPER void remove_temp_dir_(void) {
    if (getpid() != temp_dir_owner_) return;
    DIR *dir = opendir(temp_dir_path_);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0)) unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
    }
    closedir(dir);
    rmdir(temp_dir_path_);
}

// A fresh directory of this process, removed at exit with the files in it.
HELPER const char *temp_dir(void) {
    if (!temp_dir_path_[0]) {
        const char *top = getenv("TMPDIR");
        snprintf(temp_dir_path_, sizeof temp_dir_path_, "%s/aio-rs-XXXXXX", top && top[0] ? top : "/tmp");
        CHECK(mkdtemp(temp_dir_path_) != NULL, "%s", temp_dir_path_);
        temp_dir_owner_ = getpid();
        atexit(remove_temp_dir_);
    }
    return temp_dir_path_;
}

// The path of a name in temp_dir(); the caller frees it (or not).
HELPER char *temp_path(const char *name) {
    char *path = NULL;
    CHECK(asprintf(&path, "%s/%s", temp_dir(), name) > 0);
    return path;
}

// Opens a file in temp_dir(), created if need be.
HELPER int temp_open(const char *name, int flags) {
    char *path = temp_path(name);
    int fd = open(path, flags | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0, "%s", path);
    free(path);
    return fd;
}

// A new file, open for reading and writing, of no name.
HELPER int temp_file(void) {
    static int count;
    char name[32];
    snprintf(name, sizeof name, "file%d", __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
    int fd = temp_open(name, O_RDWR | O_EXCL);
    char *path = temp_path(name);
    unlink(path);
    free(path);
    return fd;
}

// Bytes that differ by position and by seed.
HELPER unsigned char pattern_at(unsigned seed, size_t i) {
    return (unsigned char)((i * 2654435761u >> 8) ^ i ^ (seed * 40503u >> 3) ^ seed);
}

HELPER void fill(void *buffer, size_t length, unsigned seed) {
    for (size_t i = 0; i < length; i++) ((unsigned char *)buffer)[i] = pattern_at(seed, i);
}

HELPER bool holds(const void *buffer, size_t length, unsigned seed) {
    for (size_t i = 0; i < length; i++)
        if (((const unsigned char *)buffer)[i] != pattern_at(seed, i)) return false;
    return true;
}

// Writes the pattern at an offset, synchronously.
HELPER void put_pattern(int fd, off_t offset, size_t length, unsigned seed) {
    unsigned char *buffer = malloc(length + 1);
    fill(buffer, length, seed);
    CHECK_EQ(pwrite(fd, buffer, length, offset), (ssize_t)length);
    free(buffer);
}

// Whether the file holds the pattern at an offset.
HELPER bool file_holds(int fd, off_t offset, size_t length, unsigned seed) {
    unsigned char *buffer = calloc(1, length + 1);
    bool same = pread(fd, buffer, length, offset) == (ssize_t)length && holds(buffer, length, seed);
    free(buffer);
    return same;
}

// ---- Requests -------------------------------------------------------------------------------------------------------

// A request without notification.
HELPER struct aiocb request(int fd, void *buffer, size_t length, off_t offset) {
    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_buf = buffer;
    cb.aio_nbytes = length;
    cb.aio_offset = offset;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

HELPER void wait_done_at_(const char *file, int line, struct aiocb *cb) {
    double deadline = now_s() + PATIENCE_S;
    while (aio_error(cb) == EINPROGRESS) {
        const struct aiocb *list[1] = {cb};
        struct timespec timeout = {0, 100000000};
        int got = aio_suspend(list, 1, &timeout);
        if (got != 0 && errno != EAGAIN && errno != EINTR)
            fail_at(file, line, "aio_suspend: %s", check_errno(errno));
        if (now_s() > deadline) fail_at(file, line, "still EINPROGRESS after %d s", PATIENCE_S);
    }
}

// Waits until the request has ended; a request that hangs fails the program.
#define wait_done(cb) wait_done_at_(__FILE__, __LINE__, cb)

// Waits, then checks aio_error and aio_return.
#define CHECK_DONE(cb, error, result)                                                                                  \
    do {                                                                                                               \
        wait_done(cb);                                                                                                 \
        CHECK_EQ(aio_error(cb), error);                                                                                \
        CHECK_EQ(aio_return(cb), result);                                                                              \
    } while (0)

// The error of a call that may refuse at once or through the status: ERROR_OF(aio_read(&cb), &cb).
HELPER int error_of_(int returned, int error, struct aiocb *cb) {
    if (returned != 0) return error;
    wait_done(cb);
    return aio_error(cb);
}
#define ERROR_OF(call, cb)                                                                                             \
    ({                                                                                                                 \
        errno = 0;                                                                                                     \
        int returned_ = (call);                                                                                        \
        error_of_(returned_, errno, (cb));                                                                             \
    })

// Makes the request notify by a signal that carries a value: block it first, and take_signal() gets it. Real-time
// signals (SIGRTMIN) are queued in the order of the notifications, which need not be that of the requests' ends.
HELPER void notify_by_signal(struct aiocb *cb, int number, int value) {
    memset(&cb->aio_sigevent, 0, sizeof cb->aio_sigevent);
    cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb->aio_sigevent.sigev_signo = number;
    cb->aio_sigevent.sigev_value.sival_int = value;
}

// Gives the library every chance to do now what it must not do yet: syncs of another file, one after the other.
HELPER void settle(void) {
    int fd = temp_file();
    for (int round = 0; round < 5; round++) {
        char byte = (char)round;
        CHECK_EQ(pwrite(fd, &byte, 1, 0), 1);
        struct aiocb cb = request(fd, NULL, 0, 0);
        CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
        CHECK_DONE(&cb, 0, 0);
    }
    close(fd);
}

// ---- Held for certain -----------------------------------------------------------------------------------------------

// An I/O buffer that nobody can touch until release_held(): the kernel blocks whoever reads or writes it, by
// userfaultfd or, where there is none (or AIO_RS_TEST_GATES is set), by a FUSE file mapped as the buffer, see gate.h.
// As the buffer of a write it delivers `content`; as that of a read it then takes the data. On most file systems a
// held write holds the file's lock against other writes; a held read holds nothing (see drop_cache, held_read).
struct held {
    char *buffer;  // what to pass as aio_buf
    size_t length; // whole pages
    char *content; // what the buffer contains after the release: fill it before
    int uffd;
    int gate; // instead of uffd, when that is -1
    bool released;
};

#include "gate.h"

HELPER int open_userfaultfd_(void) {
    if (getenv("AIO_RS_TEST_GATES")) return -1;
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) return fd;
#ifdef USERFAULTFD_IOC_NEW
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device >= 0) {
        fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        close(device);
    }
#endif
    return fd;
}

HELPER struct held hold(size_t length) {
    struct held h;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    memset(&h, 0, sizeof h);
    h.length = (length + page - 1) / page * page;
    h.uffd = open_userfaultfd_();
    if (h.uffd < 0) {
        char *path = temp_path("gates");
        h.gate = gate_new(path, h.length, &h.buffer, &h.content);
        free(path);
        return h;
    }
    struct uffdio_api api = {.api = UFFD_API};
    if (ioctl(h.uffd, UFFDIO_API, &api)) SKIP("UFFDIO_API: %s", check_errno(errno));
    h.buffer = mmap(NULL, h.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    h.content = mmap(NULL, h.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(h.buffer != MAP_FAILED && h.content != MAP_FAILED);
    struct uffdio_register area = {
        .range = {.start = (uintptr_t)h.buffer, .len = h.length},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    CHECK_EQ(ioctl(h.uffd, UFFDIO_REGISTER, &area), 0);
    return h;
}

// Returns when somebody is blocked on the buffer: the request is running, and cannot end.
HELPER void wait_held_at_(const char *file, int line, struct held *h) {
    struct pollfd p = {.fd = h->uffd, .events = POLLIN};
    double deadline = now_s() + PATIENCE_S;
    struct uffd_msg message;
    for (;;) {
        if (h->uffd < 0 && gate_touched(h->gate)) return;
        ssize_t got = read(h->uffd, &message, sizeof message);
        if (got == (ssize_t)sizeof message && message.event == UFFD_EVENT_PAGEFAULT) return;
        if (now_s() > deadline) fail_at(file, line, "nobody touched the held buffer in %d s", PATIENCE_S);
        poll(&p, 1, h->uffd < 0 ? 1 : 100);
    }
}
#define wait_held(h) wait_held_at_(__FILE__, __LINE__, h)

// Whether nobody has touched the buffer so far (before wait_held).
HELPER bool untouched(struct held *h) {
    struct pollfd p = {.fd = h->uffd, .events = POLLIN};
    return h->uffd < 0 ? !gate_touched(h->gate) : poll(&p, 1, 0) == 0;
}

HELPER void release_held(struct held *h) {
    if (h->released) return;
    h->released = true;
    if (h->uffd < 0) {
        gate_open(h->gate);
        return;
    }
    struct uffdio_copy copy = {.dst = (uintptr_t)h->buffer, .src = (uintptr_t)h->content, .len = h->length};
    CHECK_EQ(ioctl(h->uffd, UFFDIO_COPY, &copy), 0);
    struct uffdio_range range = {.start = (uintptr_t)h->buffer, .len = h->length};
    CHECK_EQ(ioctl(h->uffd, UFFDIO_UNREGISTER, &range), 0);
    close(h->uffd);
}

// After release and end: gives the memory back.
HELPER void free_held(struct held *h) {
    release_held(h);
    munmap(h->buffer, h->length);
    munmap(h->content, h->length);
}

// XFS: a buffered write waits for every buffered read of its file that runs, so none can be made while one is held.
HELPER void need_writes_beside_reads(void) {
    enum { XFS = 0x58465342 };
    struct statfs fs;
    CHECK_EQ(statfs(temp_dir(), &fs), 0);
    if (fs.f_type == XFS) SKIP("on xfs a read that hangs holds up the writes of its file");
}

// Btrfs: an fsync waits for a buffered write of its file that runs.
HELPER bool syncs_beside_writes(void) {
    enum { BTRFS = 0x9123683e };
    struct statfs fs;
    CHECK_EQ(statfs(temp_dir(), &fs), 0);
    return (unsigned)fs.f_type != (unsigned)BTRFS;
}

// Puts the file's pages out of the page cache, so that a read of it is never answered at once.
HELPER void drop_cache(int fd) {
    fdatasync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

// Submits a write of `length` bytes whose data is held, and returns when it runs and cannot end.
HELPER void held_write(struct held *h, struct aiocb *cb, int fd, size_t length, off_t offset, unsigned seed) {
    *h = hold(length);
    fill(h->content, length, seed);
    *cb = request(fd, h->buffer, length, offset);
    CHECK_EQ(aio_write(cb), 0);
    wait_held(h);
}

// Submits a read into held memory (the file must have data there), and returns when it runs and cannot end; it
// notifies by signal `number` with the value (number 0: not at all), see notify_by_signal.
HELPER void held_read_signal(struct held *h, struct aiocb *cb, int fd, size_t length, off_t offset, int number,
                             int value) {
    const char *mode = getenv("AIO_RS_TEST_MODE"), *settings = getenv("AIO_RS");
    if (mode && strcmp(mode, "glibc") && !(settings && strstr(settings, "routes=")))
        FAIL("the call itself may be held: the program must declare `holds-reads`");
    *h = hold(length);
    drop_cache(fd);
    *cb = request(fd, h->buffer, length, offset);
    if (number) notify_by_signal(cb, number, value);
    CHECK_EQ(aio_read(cb), 0);
    wait_held(h);
}

// The same without a notification.
HELPER void held_read(struct held *h, struct aiocb *cb, int fd, size_t length, off_t offset) {
    held_read_signal(h, cb, fd, length, offset, 0, 0);
}

// aio_fsync through each of the other descriptors of fd's file must wait for a write queued through fd.
HELPER void check_fsync_waits(int fd, const int others[], size_t count) {
    for (size_t i = 0; i < count; i++) {
        CHECK(others[i] >= 0, "descriptor %zu", i);
        struct held h;
        struct aiocb write, barrier = request(others[i], NULL, 0, 0);
        held_write(&h, &write, fd, 4096, 0, (unsigned)i);
        CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &barrier), 0);
        settle();
        CHECK_EQ(aio_error(&barrier), EINPROGRESS);
        CHECK_EQ(aio_error(&write), EINPROGRESS);

        release_held(&h);
        CHECK_DONE(&barrier, 0, 0);
        CHECK_EQ(aio_error(&write), 0);
        free_held(&h);
    }
}

// A pipe that takes no byte more: a write to it waits until drain_pipe(). `p[0]` is the read end.
HELPER void full_pipe(int p[2]) {
    static const char zeros[65536];
    CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
    CHECK_EQ(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
    while (write(p[1], zeros, sizeof zeros) > 0) {}
    while (write(p[1], zeros, 1) > 0) {}
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(fcntl(p[1], F_SETFL, 0), 0);
}

// Takes everything out that is in the pipe now; returns how many bytes.
HELPER size_t drain_pipe(int read_end) {
    char buffer[65536];
    size_t total = 0;
    struct pollfd p = {.fd = read_end, .events = POLLIN};
    while (poll(&p, 1, 0) == 1 && p.revents & POLLIN) {
        ssize_t got = read(read_end, buffer, sizeof buffer);
        if (got <= 0) break;
        total += (size_t)got;
    }
    return total;
}

// ---- Threads --------------------------------------------------------------------------------------------------------

// The threads of this process; with a prefix, only those whose name begins so.
HELPER int threads_named(const char *prefix) {
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], name[64] = "";
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue; // it ended meanwhile
        if (read(fd, name, sizeof name - 1) > 0 && strncmp(name, prefix, strlen(prefix)) == 0) count++;
        close(fd);
    }
    closedir(dir);
    return count;
}

// Without those that an emulator brings along.
HELPER int thread_count(void) { return threads_named("") - emulator_threads_; }

__attribute__((constructor)) HELPER void count_emulator_threads_(void) {
    if (emulated()) emulator_threads_ = threads_named("") - 1;
}

// Lets the user have so many threads. Root is above this limit.
HELPER void limit_threads(rlim_t most) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NPROC, &limit), 0);
    limit.rlim_cur = most < limit.rlim_max ? most : limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
}

HELPER void become(uid_t user) {
    if (setresuid(user, user, user)) SKIP("cannot become another user: %s", check_errno(errno));
}

// Becomes a user of no other process, who may have this many threads besides the caller.
HELPER void allow_threads(int more) {
    become(20000 + (uid_t)getpid() % 40000);
    limit_threads((rlim_t)(1 + more + emulator_threads_));
}

HELPER void *nothing_(void *unused) { return unused; }

// Else what follows would prove nothing.
HELPER void check_no_thread_left(void) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, nothing_, NULL), EAGAIN);
}

// Has the signals queued to this process counted for it alone from here on, before its first thread: the limit (RLIMIT_SIGPENDING)
// counts those of all processes of the user, and their timers. Root becomes a user of no other process; others get one of a
// namespace of their own (Linux 5.14 and later count there).
HELPER void own_signal_queue(void) {
    uid_t user = 20000 + (uid_t)getpid() % 40000;
    if (geteuid() != 0) {
        if (unshare(CLONE_NEWUSER)) SKIP("neither root nor a user namespace: %s", check_errno(errno));
        return;
    }
    // The files of the directory are still removed at the end.
    CHECK_EQ(chown(temp_dir(), user, user), 0);
    become(user);
    CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0);
}

// Lets so many signals be queued.
HELPER void limit_signals(rlim_t most) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_SIGPENDING, &limit), 0);
    limit.rlim_cur = most < limit.rlim_max ? most : limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
}

// The exit status of a child that runs this as a user without privileges, who may write to the directory for tests.
HELPER int run_unprivileged(void (*run)(void)) {
    const uid_t nobody = 65534;
    if (chown(temp_dir(), nobody, nobody)) {}
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0) become(nobody);
        run();
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status), "status %x", status);
    return WEXITSTATUS(status);
}

HELPER pid_t thread_id(void) { return (pid_t)syscall(SYS_gettid); }

// Looks once: sleeping in the kernel? `switches` gets the count of its voluntary context switches.
HELPER bool thread_sleeps_(pid_t pid, pid_t tid, long *switches) {
    char path[80], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%d/status", (int)pid, (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return false;
    text[got] = 0;
    char *state = strstr(text, "State:\t"), *count = strstr(text, "\nvoluntary_ctxt_switches:\t");
    if (!state || !count) return false;
    *switches = atol(count + strlen("\nvoluntary_ctxt_switches:\t"));
    return state[7] == 'S' || state[7] == 'D';
}

// Returns when the thread (of this process, or the child `pid`) is blocked in the kernel, seen so three times running.
HELPER void wait_thread_blocked_of(pid_t pid, pid_t tid) {
    double deadline = now_s() + PATIENCE_S;
    long before = -1, switches = 0;
    for (int seen = 0; seen < 3; pause_ms(1)) {
        bool sleeps = thread_sleeps_(pid, tid, &switches);
        seen = !sleeps ? 0 : switches == before ? seen + 1 : 1;
        before = switches;
        if (now_s() > deadline) FAIL("thread %d is still running after %d s", (int)tid, PATIENCE_S);
    }
}
HELPER void wait_thread_blocked(pid_t tid) { wait_thread_blocked_of(getpid(), tid); }

// A thread that fails the program when it does not end in time.
HELPER pthread_t start_thread(void *(*run)(void *), void *argument) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, run, argument), 0);
    return thread;
}

HELPER void *join_thread(pthread_t thread) {
    struct timespec deadline;
    void *result = NULL;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    CHECK_EQ(pthread_timedjoin_np(thread, &result, &deadline), 0);
    return result;
}

struct late_write_ {
    pid_t tid;
    int fd;
};

HELPER void *write_late_(void *argument) {
    struct late_write_ late = *(struct late_write_ *)argument;
    free(argument);
    wait_thread_blocked(late.tid);
    CHECK_EQ(write(late.fd, "x", 1), 1);
    return NULL;
}

// Starts a thread that writes a byte when the calling one is blocked. Check first and join it then: the join blocks
// too, and would bring the byte to a wait that did not wait.
HELPER pthread_t write_when_blocked(int fd) {
    struct late_write_ *late = malloc(sizeof *late);
    CHECK(late != NULL);
    *late = (struct late_write_){thread_id(), fd};
    return start_thread(write_late_, late);
}

struct cancelled_wait_ {
    void (*wait)(struct aiocb *cb);
    struct aiocb *cb;
    pid_t id;
    int cleaned;
};

HELPER void count_cleaned_(void *count) { ++*(int *)count; }

HELPER void *wait_for_ever_(void *argument) {
    struct cancelled_wait_ *waiter = argument;
    pthread_cleanup_push(count_cleaned_, &waiter->cleaned);
    __atomic_store_n(&waiter->id, thread_id(), __ATOMIC_RELEASE);
    waiter->wait(waiter->cb);
    pthread_cleanup_pop(0);
    FAIL("the wait ended, errno %s", check_errno(errno));
    return NULL;
}

// Cancels threads that are blocked in `wait`, which waits for a read of a pipe; `submit` starts that read, or is NULL
// when `wait` does. Each must run its cleanup handler, and leave the read and everything else as they were.
HELPER void check_cancelled_in(void (*wait)(struct aiocb *cb), int (*submit)(struct aiocb *cb)) {
    int ends[2], fd = temp_file();
    CHECK_EQ(pipe(ends), 0);
    for (int round = 0; round < 50; round++) {
        char byte = 0;
        struct aiocb cb = request(ends[0], &byte, 1, 0);
        if (submit) CHECK_EQ(submit(&cb), 0);
        struct cancelled_wait_ waiter = {.wait = wait, .cb = &cb};
        pthread_t thread = start_thread(wait_for_ever_, &waiter);
        WAIT_FOR(__atomic_load_n(&waiter.id, __ATOMIC_ACQUIRE) != 0);
        wait_thread_blocked(waiter.id);
        CHECK_EQ(pthread_cancel(thread), 0);
        CHECK(join_thread(thread) == PTHREAD_CANCELED);
        CHECK_EQ(waiter.cleaned, 1);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);

        // The request goes on, and so does everything else.
        struct aiocb other = request(fd, "y", 1, 0);
        CHECK_EQ(aio_write(&other), 0);
        CHECK_DONE(&other, 0, 1);
        byte = 0;
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_DONE(&cb, 0, 1);
        CHECK_EQ(byte, 'x');
    }
}

// ---- Other processes ------------------------------------------------------------------------------------------------

// Runs a copy of this program with AIO_RS set and one argument; returns what it wrote to stderr, valid until the next
// call, and the code it exited with.
HELPER char *stderr_of(const char *path, const char *configuration, const char *argument, int *code) {
    int p[2];
    CHECK_EQ(pipe(p), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(p[1], 2);
        close(p[0]);
        close(p[1]);
        setenv("AIO_RS", configuration, 1);
        execl(path, program_invocation_name, argument, NULL);
        _exit(99);
    }
    close(p[1]);
    static char text[8192];
    size_t length = 0;
    for (ssize_t got; length < sizeof text - 1 && (got = read(p[0], text + length, sizeof text - 1 - length)) > 0;)
        length += (size_t)got;
    text[length] = 0;
    close(p[0]);
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status), "%s: status %x, stderr: %s", configuration, status, text);
    *code = WEXITSTATUS(status);
    return text;
}

// The same for this program itself, which must exit with 0.
HELPER char *stderr_with(const char *configuration, const char *argument) {
    int code;
    char *text = stderr_of("/proc/self/exe", configuration, argument, &code);
    CHECK(code == 0, "%s: exit %d, stderr: %s", configuration, code, text);
    return text;
}

// ---- Memory and signals ---------------------------------------------------------------------------------------------

// The process's own memory, exactly. (The kernel's count of resident pages may be wrong by hundreds of KiB, and has the code in it
// that was run so far.)
HELPER long anonymous_kib(void) {
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    CHECK(f != NULL);
    while (kib < 0 && fgets(line, sizeof line, f)) sscanf(line, "Anonymous: %ld", &kib);
    fclose(f);
    CHECK(kib >= 0);
    return kib;
}

// Installs a handler without SA_RESTART.
HELPER void on_signal(int number, void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    CHECK_EQ(sigaction(number, &action, NULL), 0);
}

HELPER void block_signal(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

// Takes a (blocked) signal out of the queue, and fails when none comes.
HELPER siginfo_t take_signal(int number) {
    sigset_t set;
    siginfo_t info;
    struct timespec timeout = {PATIENCE_S, 0};
    sigemptyset(&set);
    sigaddset(&set, number);
    int got;
    do got = sigtimedwait(&set, &info, &timeout);
    while (got < 0 && errno == EINTR);
    CHECK(got == number, "waiting for signal %d", number);
    return info;
}

#endif
