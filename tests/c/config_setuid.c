// A program that runs with more rights than its user (setuid) ignores AIO_RS: the environment is the user's.
// glibc: skip: has no such configuration
// modes: static
// root
// may-skip: the temporary files may be on a file system without setuid
#include "check.h"
#include <sys/auxv.h>

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

int main(int argc, UNUSED char **argv) {
    if (argc > 1) return child();
    int code;
    char *copy = copy_of_this_program(), *text = stderr_of(copy, "stats,bogus", "child", &code);
    CHECK(code == 20, "exit %d, stderr: %s", code, text);
    CHECK(strstr(text, "bogus") && strstr(text, "aio_rs: requests: "), "%s", text); // else this would prove nothing

    // It has another user's rights, not root's: that is enough for the kernel to call it secure.
    CHECK_EQ(chown(copy, 65534, 65534), 0);
    CHECK_EQ(chmod(copy, 04755), 0);
    text = stderr_of(copy, "stats,bogus", "child", &code);
    if (code == 20) SKIP("the file system or the process allows no setuid");
    CHECK(code == 10, "exit %d, stderr: %s", code, text);
    CHECK(text[0] == 0, "%s", text);
    return 0;
}
