// A write that a worker makes to a pipe stays with the pipe, although its descriptor is closed and the number given to a file
// before the reader goes away, so that the write has to be continued.
// modes: shared,static,preload
// glibc: skip: it loses what waits on a descriptor that is closed
#include "check.h"

enum { SIZE = 300000 };

// A process of its own, which can still open files: ends when a thread of this one is inside write.
static pid_t watch_for_write(void) {
    pid_t parent = getpid(), watcher = fork();
    while (watcher == 0) {
        char path[64], line[64];
        snprintf(path, sizeof path, "/proc/%d/task", parent);
        DIR *tasks = opendir(path);
        if (!tasks) _exit(1);
        for (struct dirent *task; (task = readdir(tasks));) {
            snprintf(path, sizeof path, "/proc/%d/task/%.20s/syscall", parent, task->d_name);
            FILE *file = fopen(path, "r");
            if (file && fgets(line, sizeof line, file) && line[0] != 'r' && atoi(line) == SYS_write) _exit(0);
            if (file) fclose(file);
        }
        closedir(tasks);
    }
    return watcher;
}

int main(void) {
    if (is_portable()) return 0; // there close waits for what runs
    pid_t watcher = watch_for_write();
    int p[2], files[128], filling = 0, status;
    static unsigned char data[SIZE];
    char back[16384];
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQ(pipe(p), 0);
    int new_file = temp_file();
    // Without a descriptor for it there is no poller: the write goes to a worker.
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 100;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while ((files[filling] = dup(p[0])) >= 0) filling++;
    struct aiocb cb = request(p[1], data, SIZE, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(waitpid(watcher, &status, 0), watcher);
    CHECK_EQ(status, 0);
    for (int i = 0; i < filling; i++) CHECK_EQ(close(files[i]), 0);

    int number = p[1];
    CHECK_EQ(close(number), 0);
    CHECK_EQ(dup2(new_file, number), number);
    CHECK_EQ(read(p[0], back, sizeof back), (ssize_t)sizeof back);
    // The write that goes on has an outcome of its own by the time it fails.
    int ready = 0;
    while (ready < fcntl(p[0], F_GETPIPE_SZ)) CHECK_EQ(ioctl(p[0], FIONREAD, &ready), 0);
    CHECK_EQ(close(p[0]), 0);
    wait_done(&cb);
    CHECK_EQ(aio_error(&cb), 0);
    ssize_t out = aio_return(&cb);
    CHECK(out > 0 && out < SIZE, "%zd bytes", out);
    struct stat st;
    CHECK_EQ(fstat(new_file, &st), 0);
    CHECK(st.st_size == 0, "the file has %ld bytes", (long)st.st_size);
    return 0;
}
