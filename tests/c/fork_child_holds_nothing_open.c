// A child of fork that uses AIO does not hold open what its parent has closed: not the library's duplicates of
// descriptors with requests under way. So the reader of a pipe sees its end when the parent's writes are out, while the
// child lives on.
// glibc: skip: it keeps no duplicates
#include "check.h"

// The descriptors of this process that refer to a file.
static int descriptors_of(const struct stat *file) {
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;
        if (entry->d_name[0] != '.' && fstat(atoi(entry->d_name), &st) == 0)
            count += st.st_dev == file->st_dev && st.st_ino == file->st_ino;
    }
    closedir(dir);
    return count;
}

int main(void) {
    struct stat pipe_status, file_status;
    struct aiocb writes[2], head, barrier;
    struct held h;
    int p[2], tell[2], file = temp_file(), second = dup(file), own = temp_file();
    full_pipe(p);
    CHECK_EQ(pipe(tell), 0);
    CHECK_EQ(fstat(p[0], &pipe_status), 0);
    CHECK_EQ(fstat(file, &file_status), 0);
    for (int i = 0; i < 2; i++) {
        writes[i] = request(p[1], "data", 4, 0);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    held_write(&h, &head, file, 4096, 0, 1);
    barrier = request(second, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    CHECK_EQ(close(p[1]), 0);
    CHECK_EQ(close(second), 0);
    CHECK_EQ(aio_error(&writes[0]), EINPROGRESS);
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);

    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct aiocb cb = request(own, "child", 5, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 5);
        CHECK_EQ(close(p[0]), 0);
        CHECK_EQ(descriptors_of(&pipe_status), 0);
        CHECK_EQ(descriptors_of(&file_status), 1); // the program's own
        CHECK_EQ(write(tell[1], "x", 1), 1);
        for (;;) pause(); // it lives on
    }
    // Said by the child, or nobody has that end any more.
    char byte = 0;
    CHECK_EQ(close(tell[1]), 0);
    CHECK_EQ(read(tell[0], &byte, 1), 1);

    // The parent's requests go on.
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_DONE(&barrier, 0, 0);
    static char back[1 << 20];
    size_t length = 0;
    for (ssize_t got = -1; got != 0; length += (size_t)got) {
        struct pollfd in = {.fd = p[0], .events = POLLIN};
        CHECK(poll(&in, 1, PATIENCE_S * 1000) == 1, "no end of the pipe after %zu bytes", length);
        got = read(p[0], back + length, sizeof back - length);
        CHECK(got >= 0);
    }
    CHECK(length > 8 && memcmp(back + length - 8, "datadata", 8) == 0);
    for (int i = 0; i < 2; i++) CHECK_DONE(&writes[i], 0, 4);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    return 0;
}
