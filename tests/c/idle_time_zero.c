// An idle time of zero, by aio_init or by the configuration, keeps no thread busy: while a read waits on a pipe the
// process uses no processor time.
#include "check.h"

static double used_s(void) {
    struct timespec t;
    CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void child(bool by_aio_init) {
    if (by_aio_init)
        aio_init(&(struct aioinit){.aio_threads = 4, .aio_num = 16, .aio_idle_time = 0});
    else
        setenv("AIO_RS", "idle=0ms", 1);
    int p[2];
    char byte = 0;
    CHECK_EQ(pipe(p), 0);
    struct aiocb in = request(p[0], &byte, 1, 0), out = request(temp_file(), "data", 4, 0);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_EQ(aio_write(&out), 0); // so that more threads come, and have nothing to do
    CHECK_DONE(&out, 0, 4);
    double before = used_s();
    pause_ms(1000); // the time that is measured; a thread that does not sleep would use nearly all of it
    double used = used_s() - before;
    CHECK(used < 0.5, "%s: %.2f s of processor time in a second", by_aio_init ? "aio_init" : "AIO_RS", used);
    CHECK_EQ(aio_error(&in), EINPROGRESS);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&in, 0, 1);
}

int main(void) {
    temp_dir();
    for (int by_aio_init = 0; by_aio_init < 2; by_aio_init++) {
        pid_t pid = fork(); // the configuration is read once in a process
        CHECK(pid >= 0);
        if (pid == 0) {
            child(by_aio_init);
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    return 0;
}
