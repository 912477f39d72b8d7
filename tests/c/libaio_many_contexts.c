// A context costs no mapping beside its ring, used or not, and its memory is there again for the next one; where io_setup fails, what
// it was to store stays 0, and the error is the kernel's.
// interface: libaio
#include "rings.h"

enum { MANY = 200, AGAIN = 20 };

static int mappings(void) {
    FILE *f = fopen("/proc/self/maps", "r");
    int count = 0;
    CHECK(f);
    for (int c; (c = getc(f)) != EOF;) count += c == '\n';
    fclose(f);
    return count;
}

static long address_space_kib(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%ld", &pages) == 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void use(io_context_t made) {
    struct iocb block, *one = &block;
    struct io_event event;
    static int fd = -1;
    static char byte;
    if (fd < 0) fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    io_prep_pread(&block, fd, &byte, 1, 0);
    submit(made, &one, 1);
    reap_all(made, BY_CALL, &event, 1);
}

static void destroy_all(io_context_t *made, int count) {
    // Each takes the kernel a while.
    for (int i = 0; i < count; i++) CHECK_EQ(io_destroy(made[i]), 0);
}

static void failing(void) {
    struct rlimit all, little;
    io_context_t made = context(1);
    use(made);
    CHECK_EQ(io_destroy(made), 0);
    CHECK_EQ(getrlimit(RLIMIT_AS, &all), 0);
    little = all;
    little.rlim_cur = 0;
    made = 0;
    CHECK_EQ(setrlimit(RLIMIT_AS, &little), 0);
    int done = io_setup(1, &made);
    CHECK_EQ(setrlimit(RLIMIT_AS, &all), 0);
    CHECK_EQ(done, -ENOMEM);
    CHECK_EQ(made, 0);
    CHECK_EQ(io_setup(1, &made), 0);
    use(made);
    CHECK_EQ(io_destroy(made), 0);
}

int main(void) {
    static io_context_t made[MANY];
    use(made[0] = context(1)); // what is made once
    int before = mappings();
    for (int i = 1; i < MANY; i++) {
        int done = io_setup(1, &made[i]);
        if (done == -EAGAIN) SKIP("fs.aio-max-nr");
        CHECK_EQ(done, 0);
    }
    int idle = mappings();
    CHECK(idle - before <= MANY, "%d mappings for %d contexts", idle - before, MANY - 1);
    for (int i = 1; i < MANY; i++) use(made[i]);
    CHECK(mappings() - idle <= 8, "%d more mappings when they are used", mappings() - idle);
    destroy_all(made, AGAIN);
    long size = address_space_kib();
    for (int i = 0; i < AGAIN; i++) {
        use(made[i] = context(i % 2 ? 1 : 100));
        CHECK_EQ(io_destroy(made[i]), 0);
    }
    CHECK(address_space_kib() - size < 1024, "%ld KiB more", address_space_kib() - size);
    failing();
    return 0;
}
