// The library stays mapped after dlclose, since its threads run its code: requests in flight go on.
// glibc: skip: libc is never unloaded
// modes: preload
// holds-reads
#include "check.h"

static bool mapped(const char *path) {
    char line[1024];
    bool found = false;
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f))
        if (strstr(line, path)) found = true;
    fclose(f);
    return found;
}

static int load_and_unload(const char *path) {
    CHECK(!is_library());
    CHECK(!mapped(path));
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL, "%s", dlerror());
    CHECK(mapped(path));
    CHECK_EQ(thread_count(), 1);
    int (*aio_write_)(struct aiocb *), (*aio_read_)(struct aiocb *), (*aio_error_)(const struct aiocb *);
    ssize_t (*aio_return_)(struct aiocb *);
    *(void **)&aio_write_ = dlsym(library, "aio_write");
    *(void **)&aio_read_ = dlsym(library, "aio_read");
    *(void **)&aio_error_ = dlsym(library, "aio_error");
    *(void **)&aio_return_ = dlsym(library, "aio_return");
    CHECK(aio_write_ && aio_read_ && aio_error_ && aio_return_);
    int fd = temp_file(), p[2];
    CHECK_EQ(pipe(p), 0);
    struct held h = hold(4096);
    char byte = 0;
    struct aiocb cb = request(fd, h.buffer, 4096, 0), waiting = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_write_(&cb), 0);
    CHECK_EQ(aio_read_(&waiting), 0);
    wait_held(&h);
    CHECK_EQ(dlclose(library), 0);
    CHECK(mapped(path));
    release_held(&h);
    CHECK_EQ(write(p[1], "x", 1), 1);
    WAIT_FOR(aio_error_(&cb) != EINPROGRESS && aio_error_(&waiting) != EINPROGRESS);
    CHECK_EQ(aio_return_(&cb), 4096);
    CHECK_EQ(aio_return_(&waiting), 1);
    library = dlopen(path, RTLD_NOW);
    CHECK(library != NULL);
    CHECK_EQ(dlclose(library), 0);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1) return load_and_unload(argv[1]);
    CHECK(is_library());
    Dl_info info;
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "aio_rs_version"), &info) != 0);
    char *path = realpath(info.dli_fname, NULL);
    CHECK(path != NULL);
    unsetenv("LD_PRELOAD");
    unsetenv("AIO_RS_TEST_MODE");
    execl("/proc/self/exe", argv[0], path, NULL);
    FAIL("exec");
}
