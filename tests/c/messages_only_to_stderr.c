// What the library has to say (about AIO_RS, figures at exit) goes to the standard error that the process started with, of whatever
// kind; never into another file or pipe that has the number 2 by then, not even one with the same inode number, or through the
// second name of a process that has closed it; and a reader of it who has gone raises no SIGPIPE, one who does not read holds
// up no call.
// glibc: skip: has no messages
#include "check.h"

static const char *const SETTINGS = "bogus,stats";

static void use(void) {
    int p[2];
    CHECK_EQ(pipe(p), 0);
    struct aiocb cb = request(p[1], "data", 4, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
    close(p[0]);
    close(p[1]);
}

// Gives the number 2 to a file of the program's.
static void open_as_2(const char *path) {
    close(2);
    CHECK_EQ(open(path, O_RDWR | O_CREAT | O_APPEND, 0600), 2);
}

// The kinds of program; each is run as a child.
static void child(const char *kind, const char *path, const char *library) {
    if (strcmp(kind, "plain") == 0) use();
    if (strcmp(kind, "file before") == 0 || strcmp(kind, "closed from the start") == 0) {
        open_as_2(path);
        use();
    }
    if (strcmp(kind, "file after") == 0) {
        use();
        open_as_2(path);
    }
    if (strcmp(kind, "same inode") == 0) {
        // The file system gives the inode of the one to the other.
        CHECK_EQ(unlink(path), 0);
        open_as_2(path);
        use();
    }
    if (strcmp(kind, "pipe") == 0) {
        int p[2];
        CHECK_EQ(pipe(p), 0);
        CHECK_EQ(dup2(p[1], 2), 2);
        use();
        CHECK_EQ(drain_pipe(p[0]), 0);
        exit(0); // which must not write there, or block
    }
    if (strcmp(kind, "forked") == 0) {
        open_as_2(path);
        pid_t pid = fork();
        if (pid == 0) use();
        if (pid == 0) exit(0);
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    if (strcmp(kind, "late") == 0) {
        // Nobody can tell what 2 was.
        open_as_2(path);
        void *loaded = dlopen(library, RTLD_NOW);
        CHECK(loaded != NULL, "%s", dlerror());
        int (*read_)(struct aiocb *), (*error_)(const struct aiocb *);
        *(void **)&read_ = dlsym(loaded, "aio_read");
        *(void **)&error_ = dlsym(loaded, "aio_error");
        char byte;
        struct aiocb cb = request(2, &byte, 1, 0);
        CHECK_EQ(read_(&cb), 0);
        WAIT_FOR(error_(&cb) != EINPROGRESS);
    }
}

// Runs a child whose standard error is `err` (-1: closed); fails if it does not end well.
static void run(const char *kind, int err, const char *path, const char *library) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (err < 0) close(2);
        else if (err != 2) dup2(err, 2);
        signal(SIGPIPE, SIG_DFL);
        setenv("AIO_RS", SETTINGS, 1);
        if (library[0]) {
            unsetenv("LD_PRELOAD");
            unsetenv("AIO_RS_TEST_MODE");
        }
        execl("/proc/self/exe", program_invocation_name, kind, path, library, NULL);
        _exit(99);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(status == 0, "%s: status %x", kind, status);
}

static char *content(const char *path) {
    static char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    ssize_t got = read(fd, text, sizeof text - 1);
    CHECK(got >= 0);
    text[got] = 0;
    close(fd);
    return text;
}

static void says_all(const char *text, const char *where) {
    CHECK(strstr(text, "bogus") && strstr(text, "aio_rs: requests: "), "%s: %s", where, text);
}

int main(int argc, char **argv) {
    if (argc > 3) {
        child(argv[1], argv[2], argv[3]);
        return 0;
    }
    if (emulated()) SKIP("under an emulator it cannot start itself again");
    char *data = temp_path("data"), *log = temp_path("log");
    int p[2];
    CHECK_EQ(pipe2(p, O_CLOEXEC), 0);

    // Where it was, it is told: in a pipe, in a file.
    run("plain", p[1], data, "");
    char text[8192] = "";
    CHECK(read(p[0], text, sizeof text - 1) > 0);
    if (!strstr(text, "requests: ")) CHECK(read(p[0], text + strlen(text), sizeof text - 1 - strlen(text)) > 0);
    says_all(text, "a pipe");
    int fd = temp_open("log", O_RDWR | O_APPEND);
    run("plain", fd, data, "");
    says_all(content(log), "a file");

    static const char *const kinds[] = {"file before", "file after", "forked", "closed from the start"};
    for (int i = 0; i < 4; i++) {
        int old = temp_open("data", O_RDWR | O_TRUNC);
        CHECK_EQ(write(old, "mine", 4), 4);
        run(kinds[i], i == 3 ? -1 : p[1], data, "");
        CHECK(strcmp(content(data), "mine") == 0, "%s: %s", kinds[i], content(data));
        close(old);
    }
    drain_pipe(p[0]);
    for (int i = 0; i < 10; i++) {
        int err = temp_open("other", O_RDWR | O_TRUNC);
        char *other = temp_path("other");
        int flags = fcntl(err, F_SETFD, 0);
        CHECK_EQ(flags, 0);
        pid_t pid = fork();
        if (pid == 0) {
            // Nobody else may hold it, or its inode stays in use.
            dup2(err, 2);
            close(err);
            setenv("AIO_RS", SETTINGS, 1);
            execl("/proc/self/exe", program_invocation_name, "same inode", other, "", NULL);
            _exit(99);
        }
        close(err);
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(status == 0, "status %x", status);
        CHECK(content(other)[0] == 0, "%s", content(other));
        unlink(other);
    }
    run("pipe", p[1], data, "");

    Dl_info info;
    if (strcmp(test_mode(), "preload") == 0 && dladdr(dlsym(RTLD_DEFAULT, "aio_rs_version"), &info)) {
        close(temp_open("data", O_RDWR | O_TRUNC));
        run("late", p[1], data, realpath(info.dli_fname, NULL));
        CHECK(content(data)[0] == 0, "late: %s", content(data));
    }

    // A reader that has gone; one that does not read.
    int full[2];
    full_pipe(full);
    run("plain", full[1], data, "");
    close(full[0]);
    run("plain", full[1], data, "");
    return 0;
}
