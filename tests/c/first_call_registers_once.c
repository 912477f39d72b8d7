// When several threads make the first call at the same time, the configuration is complained of once, and the figures are
// printed once at exit.
// glibc: skip: it has neither
// env: AIO_RS=stats,unheard_of
#include "check.h"

enum { THREADS = 8, ROUNDS = 100 };

static pthread_barrier_t barrier;
static int fd;

static void *first_call(void *unused) {
    struct aiocb cb = request(fd, "data", 4, 0);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
    return unused;
}

static void race(void) {
    pthread_t threads[THREADS];
    fd = temp_file();
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) threads[i] = start_thread(first_call, NULL);
    for (int i = 0; i < THREADS; i++) join_thread(threads[i]);
    exit(0);
}

static int times(const char *text, const char *what) {
    int count = 0;
    for (const char *at = text; (at = strstr(at, what)); at++) count++;
    return count;
}

int main(int argc, char **argv) {
    static char text[65536];
    if (argc > 1) race();
    if (emulated()) SKIP("under an emulator it cannot start itself again");
    for (int round = 0; round < ROUNDS; round++) {
        int p[2], status;
        CHECK_EQ(pipe(p), 0);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            dup2(p[1], 2);
            close(p[0]);
            close(p[1]);
            // The library writes only to what was its standard error from the start.
            execl("/proc/self/exe", argv[0], "race", NULL);
            _exit(127);
        }
        close(p[1]);
        size_t length = 0;
        for (ssize_t got; (got = read(p[0], text + length, sizeof text - 1 - length)) > 0;) length += (size_t)got;
        text[length] = 0;
        close(p[0]);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
        CHECK_EQ(times(text, "unheard_of"), 1);
        CHECK_EQ(times(text, "aio_rs: queue depth"), 1);
    }
    return 0;
}
