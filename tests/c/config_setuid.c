// A program that runs with more rights than its user (setuid) ignores AIO_RS: the environment is the user's.
// glibc: skip: has no such configuration
// modes: static
// root
// may-skip: the temporary files may be on a file system without setuid
#include "check.h"
#include <sys/auxv.h>

// Runs a program with AIO_RS set; returns what it said on stderr, and how it ended.
static char *stderr_of(const char *path, const char *self, int *code) {
    int p[2];
    CHECK_EQ(pipe(p), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(p[1], 2);
        close(p[0]);
        close(p[1]);
        setenv("AIO_RS", "stats,bogus", 1);
        execl(path, self, "child", NULL);
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
    CHECK(WIFEXITED(status), "status %x, stderr: %s", status, text);
    *code = WEXITSTATUS(status);
    return text;
}

// No files: another user could not make them, and libc takes TMPDIR out of the environment.
static int child(void) {
    int p[2];
    CHECK_EQ(pipe(p), 0);
    struct aiocb cb = request(p[1], "data", 4, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
    return getauxval(AT_SECURE) ? 10 : 20; // stats are printed at exit
}

static char *copy_of_this_program(void) {
    static char buffer[1 << 16];
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = temp_open("copy", O_WRONLY);
    CHECK(from >= 0);
    for (ssize_t got; (got = read(from, buffer, sizeof buffer)) != 0;) {
        CHECK(got > 0);
        CHECK_EQ(write(to, buffer, (size_t)got), got);
    }
    CHECK_EQ(fchmod(to, 0755), 0);
    close(from);
    close(to);
    return temp_path("copy");
}

int main(int argc, char **argv) {
    if (argc > 1) return child();
    int code;
    char *copy = copy_of_this_program(), *text = stderr_of(copy, argv[0], &code);
    CHECK(code == 20, "exit %d, stderr: %s", code, text);
    CHECK(strstr(text, "bogus") && strstr(text, "aio_rs: requests: "), "%s", text); // else this would prove nothing

    // It has another user's rights, not root's: that is enough for the kernel to call it secure.
    CHECK_EQ(chown(copy, 65534, 65534), 0);
    CHECK_EQ(chmod(copy, 04755), 0);
    text = stderr_of(copy, argv[0], &code);
    if (code == 20) SKIP("the file system or the process allows no setuid");
    CHECK(code == 10, "exit %d, stderr: %s", code, text);
    CHECK(text[0] == 0, "%s", text);
    return 0;
}
