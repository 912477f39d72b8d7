// aio_rs_stats never writes more than the size it is told: a program built for an older library, with fewer fields, keeps what
// lies behind its structure; the fields of a newer one that the library does not know are 0.
// glibc: skip: has no such function
#include "check.h"

enum { KNOWN = sizeof(struct aio_rs_stats), MORE = 64 };

int main(void) {
    int (*stats)(struct aio_rs_stats *, size_t);
    *(void **)&stats = dlsym(RTLD_DEFAULT, "aio_rs_stats");
    if (!stats) stats = aio_rs_stats; // a static program
    CHECK(stats != NULL);
    int fd = temp_file();
    struct aiocb cb = request(fd, "data", 4, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
    static unsigned char place[KNOWN + MORE + 1];
    struct aio_rs_stats *out = (struct aio_rs_stats *)place, all;
    CHECK_EQ(stats(&all, sizeof all), 0);
    CHECK(all.writes == 1 && all.reads == 0 && all.route_worker == 1);
    for (size_t size = 0; size <= KNOWN + MORE; size++) {
        memset(place, 0xee, sizeof place);
        CHECK_EQ(stats(out, size), 0);
        size_t known = size < KNOWN ? size : KNOWN;
        CHECK(memcmp(place, &all, known) == 0, "size %zu", size);
        for (size_t i = known; i < sizeof place; i++) CHECK(place[i] == (i < size ? 0 : 0xee), "size %zu, byte %zu", size, i);
        // A structure may begin anywhere.
        CHECK_EQ(stats((struct aio_rs_stats *)(place + 1), known), 0);
    }
    CHECK_FAILS(stats(NULL, sizeof all), EINVAL);
    CHECK_FAILS(stats(NULL, 0), EINVAL);
    memset(place, 0xee, sizeof place);
    CHECK_FAILS(stats(out, SIZE_MAX), E2BIG);
    CHECK_FAILS(stats(out, 4097), E2BIG);
    CHECK_EQ(place[0], 0xee);
    return 0;
}
