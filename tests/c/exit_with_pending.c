// A process that exits with requests outstanding - running, queued, waiting for data, waiting to sync, with
// notifications due - ends at once with its own exit code.
// holds-reads
#include "check.h"
#include <sys/prctl.h>

enum ways { EXIT, RETURN, UNDERSCORE_EXIT, QUICK_EXIT, PTHREAD_EXIT, EXIT_IN_THREAD, EXIT_IN_CALLBACK, WAYS };
static const char *const names[] = {"exit",         "return from main", "_exit",           "quick_exit",
                                    "pthread_exit", "exit in a thread", "exit in a callback"};

static void never(union sigval value) { (void)value; }
static void exit_42(union sigval value) {
    (void)value;
    exit(42);
}
static void *exit_in_thread(void *unused) {
    (void)unused;
    exit(42);
}

static int leave(enum ways way) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    static struct held h;
    static struct aiocb head, queued[20], waiting, out, barrier, last;
    static char byte, much[1 << 20];
    int fd = temp_file(), p[2], q[2];
    put_pattern(fd, 0, 4096, 1);
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(q), 0);
    held_read(&h, &head, fd, 4096, 0);
    for (int i = 0; i < 20; i++) {
        queued[i] = request(fd, "data", 4, i);
        queued[i].aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = never};
        CHECK_EQ(aio_write(&queued[i]), 0);
    }
    barrier = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    waiting = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    out = request(q[1], much, sizeof much, 0);
    CHECK_EQ(aio_write(&out), 0);
    last = request(temp_file(), "data", 4, 0);
    if (way == EXIT_IN_CALLBACK)
        last.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = exit_42};
    CHECK_EQ(aio_write(&last), 0);
    switch (way) {
    case EXIT: exit(42);
    case RETURN: return 42;
    case UNDERSCORE_EXIT: _exit(42);
    case QUICK_EXIT: quick_exit(42);
    case PTHREAD_EXIT: start_thread(exit_in_thread, NULL); pthread_exit(NULL);
    case EXIT_IN_THREAD: join_thread(start_thread(exit_in_thread, NULL)); return 1;
    case EXIT_IN_CALLBACK: pause_ms(60000); return 1;
    case WAYS: break;
    }
    return 1;
}

int main(int argc, char **argv) {
    if (argc > 1) return leave((enum ways)atoi(argv[1]));
    for (int way = EXIT; way < WAYS; way++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            char number[8];
            snprintf(number, sizeof number, "%d", way);
            execl("/proc/self/exe", argv[0], number, NULL);
            _exit(99);
        }
        int status = -1;
        double deadline = now_s() + PATIENCE_S;
        while (waitpid(pid, &status, WNOHANG) != pid) {
            if (now_s() > deadline) {
                kill(pid, SIGKILL);
                FAIL("%s: the process hangs", names[way]);
            }
            pause_ms(1);
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) SKIP("no userfaultfd");
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42, "%s: status %x", names[way], status);
    }
    return 0;
}
