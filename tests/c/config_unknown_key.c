// An unknown key or value of AIO_RS: one line on stderr that names it and the valid ones; the rest still applies, and
// nothing is said about what is right.
// glibc: skip: has no such configuration
#include "check.h"

static int lines(const char *text) {
    int count = 0;
    for (; *text; text++) count += *text == '\n';
    return count;
}

static void complains(const char *configuration, const char *about, const char *const valid[]) {
    const char *text = stderr_with(configuration, "child");
    CHECK(lines(text) == 1, "%s: %s", configuration, text);
    CHECK(strstr(text, "aio_rs") || strstr(text, "AIO_RS"), "%s: %s", configuration, text);
    CHECK(strstr(text, about), "%s: does not name `%s`: %s", configuration, about, text);
    for (; *valid; valid++) CHECK(strstr(text, *valid), "%s: does not name `%s`: %s", configuration, *valid, text);
}

// With threads=2 in the configuration: exactly two requests run at once.
static int child(void) {
    enum { COUNT = 5 };
    struct held gates[COUNT];
    struct aiocb cbs[COUNT];
    for (int i = 0; i < COUNT; i++) {
        gates[i] = hold(4096);
        cbs[i] = request(temp_file(), gates[i].buffer, 4096, 0);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    wait_held(&gates[0]);
    wait_held(&gates[1]);
    for (int i = COUNT - 1; i >= 2; i--) CHECK_EQ(aio_cancel(cbs[i].aio_fildes, &cbs[i]), AIO_CANCELED);
    for (int i = 0; i < 2; i++) {
        release_held(&gates[i]);
        CHECK_DONE(&cbs[i], 0, 4096);
    }
    return 0;
}

int main(int argc, UNUSED char **argv) {
    if (argc > 1) return child();
    struct held h = hold(4096); // skips here, where stderr is not looked at
    free_held(&h);
    static const char *const keys[] = {"threads", "idle", "order", "fsync", "stats", NULL};
    complains("threads=2,bogus=7", "bogus", keys);
    complains("bogus=7,threads=2", "bogus", keys);
    complains("bogus,threads=2,idle=1s,order=overlap", "bogus", keys);
    static const char *const orders[] = {"overlap", "strict", "posix", NULL};
    complains("order=sideways,threads=2", "sideways", orders);
    static const char *const fsyncs[] = {"linux", "strict", NULL};
    complains("threads=2,fsync=maybe", "maybe", fsyncs);
    static const char *const idle[] = {"idle=", NULL};
    complains("threads=2,idle=soon", "soon", idle);
    complains("threads=2,idle=-1s", "-1s", idle);
    static const char *const threads[] = {"threads", NULL};
    complains("threads=2,threads=many", "many", threads);
    complains("threads=2,threads=99999999999999999999", "99999999999999999999", threads);

    const char *text = stderr_with("one=1,threads=2,two=2,three=3", "child");
    CHECK(lines(text) == 3 && strstr(text, "one") && strstr(text, "two") && strstr(text, "three"), "%s", text);
    static const char *const good[] = {
        "threads=2", "threads=2,idle=500ms", "idle=1s,threads=2,order=strict,fsync=strict",
        "threads=2,order=posix,fsync=linux", "threads=2,", ",threads=2,,",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        text = stderr_with(good[i], "child");
        CHECK(text[0] == 0, "%s: %s", good[i], text);
    }
    return 0;
}
