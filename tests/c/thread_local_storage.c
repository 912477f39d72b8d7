// The library's threads have room for themselves beside the thread-local storage of the program and its libraries, which
// glibc takes from each thread's stack: at any size of it.
// timeout: 120

#include "check.h"

enum { SMALLEST = 254000, COUNT = 32 };

// As large as the library's stacks were: what is left of such a one is too little.
static __thread volatile char storage[SMALLEST];

static int calls;

static void function(union sigval value) {
    storage[0] = (char)value.sival_int;
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELEASE);
}

// Each kind of thread that the library has.
static void use_all_threads(void) {
    int fd = temp_file(), p[2];
    char byte = 0, data[4096] = "data";
    storage[SMALLEST / 2] = 1;
    CHECK_EQ(pipe(p), 0);
    struct aiocb sync_cb = request(fd, NULL, 0, 0), wait_cb = request(p[0], &byte, 1, 0), cbs[COUNT];
    CHECK_EQ(aio_read(&wait_cb), 0);
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, data, sizeof data, i * (off_t)sizeof data);
        cbs[i].aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = function};
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    CHECK_EQ(aio_fsync(O_SYNC, &sync_cb), 0);
    for (int i = 0; i < COUNT; i++) CHECK_DONE(&cbs[i], 0, (ssize_t)sizeof data);
    CHECK_DONE(&sync_cb, 0, 0);
    int direct = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (direct >= 0) {
        void *block = aligned_alloc(4096, 4096);
        memset(block, 1, 4096);
        struct aiocb direct_cb = request(direct, block, 4096, 0);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(aio_write(&direct_cb), 0);
            CHECK_DONE(&direct_cb, 0, 4096);
        }
    }
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&wait_cb, 0, 1);
    WAIT_FOR(__atomic_load_n(&calls, __ATOMIC_ACQUIRE) == COUNT);
}

// Runs this program again with so much more of it, which glibc keeps for libraries that are loaded later.
static void with_more(const char *program, int bytes) {
    char tunables[64];
    snprintf(tunables, sizeof tunables, "glibc.rtld.optional_static_tls=%d", bytes);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        setenv("GLIBC_TUNABLES", tunables, 1);
        execl(program, program, "once", (char *)NULL);
        _exit(1);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(status == 0, "with %d bytes more: status %x", bytes, status);
}

int main(int argc, char **argv) {
    use_all_threads();
    if (argc > 1 || strcmp(test_mode(), "static") == 0 || emulated()) return 0; // one that is static has no more
    for (int bytes = 1 << 10; bytes <= 16 << 10; bytes += 1 << 10) with_more("/proc/self/exe", bytes);
    for (int bytes = 64 << 10; bytes <= 4 << 20; bytes *= 2) with_more("/proc/self/exe", bytes);
    (void)argv;
    return 0;
}
