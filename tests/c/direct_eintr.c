// A wait for O_DIRECT transfers ends with EINTR exactly as a sleep does: when a signal handler without SA_RESTART has run;
// not when the process was only stopped and continued, and (on Linux) without a timeout not by handlers with SA_RESTART.
// may-skip: the file system of the temporary directory decides
// takes: 3
#include "check.h"
#include <sys/time.h>

enum { BLOCK = 4096 };

static int fd;
static void *buffer;

static int suspends_interrupted(int rounds, const struct timespec *timeout) {
    int interrupted = 0;
    for (int i = 0; i < rounds; i++) {
        struct aiocb cb = request(fd, buffer, BLOCK, i % 16 * BLOCK);
        const struct aiocb *list[] = {&cb};
        CHECK_EQ(aio_read(&cb), 0);
        while (aio_error(&cb) == EINPROGRESS) {
            if (aio_suspend(list, 1, timeout) == 0) continue;
            CHECK_EQ(errno, EINTR);
            interrupted++;
        }
        CHECK_EQ(aio_return(&cb), BLOCK);
    }
    return interrupted;
}

static int lists_interrupted(int rounds) {
    int interrupted = 0;
    for (int i = 0; i < rounds; i++) {
        struct aiocb cb = request(fd, buffer, BLOCK, i % 16 * BLOCK);
        struct aiocb *list[] = {&cb};
        cb.aio_lio_opcode = LIO_READ;
        if (lio_listio(LIO_WAIT, list, 1, NULL) < 0) {
            CHECK_EQ(errno, EINTR);
            interrupted++;
            wait_done(&cb);
        }
        CHECK_EQ(aio_return(&cb), BLOCK);
    }
    return interrupted;
}

static void nothing(int number) { (void)number; }

static void every_us(long us, int flags) {
    struct sigaction action = {.sa_handler = nothing, .sa_flags = flags};
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval timer = {{0, us}, {0, us}};
    CHECK_EQ(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

int main(void) {
    fd = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    if (fd < 0) SKIP("no O_DIRECT here: %s", check_errno(errno));
    buffer = aligned_alloc(BLOCK, 16 * BLOCK);
    CHECK(buffer != NULL);
    memset(buffer, 1, 16 * BLOCK);
    CHECK_EQ(pwrite(fd, buffer, 16 * BLOCK, 0), 16 * BLOCK);
    struct timespec long_time = {PATIENCE_S, 0};
    CHECK_EQ(suspends_interrupted(500, NULL), 0);

    if (!is_portable()) {
        every_us(170, SA_RESTART);
        CHECK_EQ(suspends_interrupted(2000, NULL), 0);
        CHECK_EQ(lists_interrupted(2000), 0);
        every_us(0, SA_RESTART);
    }

    // It ends by itself: killed after its SIGSTOP it would leave this process stopped for ever.
    bool *over = mmap(NULL, sizeof *over, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(over != MAP_FAILED);
    pid_t tormentor = fork();
    CHECK(tormentor >= 0);
    if (tormentor == 0) {
        pid_t victim = getppid();
        for (;;) {
            if (__atomic_load_n(over, __ATOMIC_ACQUIRE) || getppid() != victim || kill(victim, SIGSTOP) < 0) _exit(0);
            kill(victim, SIGCONT);
            pause_ms(1);
        }
    }
    CHECK_EQ(suspends_interrupted(2000, NULL), 0);
    CHECK_EQ(suspends_interrupted(2000, &long_time), 0);
    CHECK_EQ(lists_interrupted(2000), 0);
    __atomic_store_n(over, true, __ATOMIC_RELEASE);
    CHECK_EQ(waitpid(tormentor, NULL, 0), tormentor);

    every_us(170, 0);
    int interrupted = 0;
    for (int i = 0; i < 50 && interrupted == 0; i++) interrupted = suspends_interrupted(1000, NULL);
    CHECK(interrupted > 0);
    every_us(0, 0);
    return 0;
}
