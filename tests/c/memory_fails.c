// Whichever allocation, mapping or thread cannot be had, once or from then on: what a request needs is EAGAIN at its submission,
// or comes later; what was accepted completes and is announced once. Each is refused in its turn, until none is left.
// glibc: fails: a request is lost, or its notification, when memory or a thread is short
// env: AIO_RS=idle=60s
// modes: shared,preload,portable
// timeout: 200
// takes: 7
#include "check.h"

enum { REQUESTS = 24, BLOCK = 4096 };

// ---- What can be refused ----

// The next to be refused is number `refused_next`, and if it is `for_good` all after it. 0: none.
static int count_to, for_good;
static int refusals;

static bool is_refused(void) {
    int left = __atomic_load_n(&count_to, __ATOMIC_RELAXED);
    while (left > 0 && !(left == 1 && for_good))
        if (__atomic_compare_exchange_n(&count_to, &left, left - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) break;
    if (left != 1) return false;
    __atomic_add_fetch(&refusals, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return true;
}

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t size) { return is_refused() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return is_refused() ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return is_refused() ? NULL : __libc_realloc(block, size); }
void *aligned_alloc(size_t alignment, size_t size) { return is_refused() ? NULL : __libc_memalign(alignment, size); }
int posix_memalign(void **block, size_t alignment, size_t size) {
    return is_refused() ? ENOMEM : (*block = __libc_memalign(alignment, size)) ? 0 : ENOMEM;
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return is_refused() ? MAP_FAILED : (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(at, length, protection, flags, fd, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) real = dlsym(RTLD_NEXT, "pthread_create");
    return is_refused() ? EAGAIN : real(thread, attributes, run, argument);
}

// ---- What must go well all the same ----

static int file, direct, streams[REQUESTS][2], called[4 * REQUESTS];
static char *block, bytes[REQUESTS];
static struct aiocb cbs[4 * REQUESTS], sync_cb;
static bool accepted[4 * REQUESTS];

static void function(union sigval value) { __atomic_add_fetch(&called[value.sival_int], 1, __ATOMIC_RELEASE); }

static bool taken(int returned, struct aiocb *cb) {
    CHECK(returned == 0 || errno == EAGAIN);
    CHECK(returned == 0 || aio_error(cb) != EINPROGRESS);
    return returned == 0;
}

static void submit(int i, int fd, void *buffer, size_t length, bool write) {
    cbs[i] = request(fd, buffer, length, 0);
    if (i % 3 == 0) {
        cbs[i].aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = function};
        cbs[i].aio_sigevent.sigev_value.sival_int = i;
    }
    accepted[i] = taken(write ? aio_write(&cbs[i]) : aio_read(&cbs[i]), &cbs[i]);
}

static void run(void) {
    for (int i = 0; i < REQUESTS; i++) submit(i, streams[i][0], &bytes[i], 1, false);
    for (int i = REQUESTS; i < 2 * REQUESTS; i++) submit(i, file, block, BLOCK, i % 2);
    for (int i = 2 * REQUESTS; i < 3 * REQUESTS; i++) submit(i, direct, block, BLOCK, i % 2);
    struct aiocb *list[REQUESTS];
    for (int i = 0; i < REQUESTS; i++) {
        struct aiocb *cb = list[i] = &cbs[3 * REQUESTS + i];
        *cb = request(file, block, BLOCK, 0);
        cb->aio_lio_opcode = LIO_WRITE;
    }
    bool listed = lio_listio(LIO_NOWAIT, list, REQUESTS, NULL) == 0;
    CHECK(listed || errno == EAGAIN || errno == EIO);
    for (int i = 0; i < REQUESTS; i++) accepted[3 * REQUESTS + i] = listed || aio_error(list[i]) != EAGAIN;
    sync_cb = request(file, NULL, 0, 0);
    bool synced = taken(aio_fsync(O_SYNC, &sync_cb), &sync_cb);
    for (int i = 0; i < REQUESTS; i++) CHECK_EQ(write(streams[i][1], "x", 1), 1);
    for (int i = 0; i < 3 * REQUESTS; i++)
        if (accepted[i]) CHECK_DONE(&cbs[i], 0, i < REQUESTS ? 1 : BLOCK);
    for (int i = 3 * REQUESTS; i < 4 * REQUESTS; i++) {
        wait_done(&cbs[i]);
        CHECK(aio_error(&cbs[i]) == 0 || (!listed && aio_error(&cbs[i]) == EAGAIN) || aio_return(&cbs[i]) == 0);
    }
    if (synced) CHECK_DONE(&sync_cb, 0, 0);
    // From here on there is enough of everything: what is owed comes.
    __atomic_store_n(&count_to, 0, __ATOMIC_RELAXED);
    for (int i = 0; i < 3 * REQUESTS; i += 3) WAIT_FOR(__atomic_load_n(&called[i], __ATOMIC_ACQUIRE) == accepted[i]);
}

// Whether anything was refused. `started`: after a first request.
static bool fails_at(int number, bool good, bool started) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        for (int i = 0; i < REQUESTS; i++) CHECK_EQ(pipe(streams[i]), 0);
        if (started) {
            sync_cb = request(file, block, BLOCK, 0);
            CHECK_EQ(aio_write(&sync_cb), 0);
            CHECK_DONE(&sync_cb, 0, BLOCK);
        }
        for_good = good;
        __atomic_store_n(&count_to, number, __ATOMIC_RELAXED);
        run();
        _exit(refusals > 0 ? 10 : 0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 10),
          "number %d refused%s%s: status %x", number, good ? " for good" : "", started ? ", later" : "", status);
    return WEXITSTATUS(status) == 10;
}

int main(void) {
    enum { ENOUGH = 400 };
    file = temp_file();
    direct = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (direct < 0) direct = temp_file();
    block = aligned_alloc(BLOCK, BLOCK);
    memset(block, 1, BLOCK);
    CHECK_EQ(pwrite(file, block, BLOCK, 0), BLOCK);
    CHECK_EQ(pwrite(direct, block, BLOCK, 0), BLOCK);
    for (int way = 0; way < 4; way++)
        for (int number = 1; number < ENOUGH && fails_at(number, way & 1, way & 2); number++) {}
    return 0;
}
