// A sync waits for earlier requests on its file from other contexts, other threads, duplicates and other opens of the file;
// not for those on other files, and not for later ones.
// interface: libaio
// glibc: races: a sync completes before writes of other contexts and descriptors on the same file
// timeout: 120
#include "rings.h"

enum { COUNT = 16, BYTES = 64 * BLOCK, ROUNDS = 100 };

static io_context_t first, second;
static char *data;

// Writes by the first context on one descriptor, a sync by the second one on another. How many were unfinished when it came.
static int unfinished(int writes_to, int syncs) {
    struct iocb blocks[COUNT], sync, *list[COUNT], *one = &sync;
    for (int i = 0; i < COUNT; i++) {
        io_prep_pwrite(&blocks[i], writes_to, data, BYTES, (long long)i * BYTES);
        list[i] = &blocks[i];
    }
    submit(first, list, COUNT);
    io_prep_fdsync(&sync, syncs);
    submit(second, &one, 1);
    struct io_event event, events[COUNT];
    reap_all(second, BY_SYSTEM_CALL, &event, 1);
    int left = COUNT - (int)ring_filled(first);
    CHECK_EQ(event.res, 0);
    reap_all(first, BY_CALL, events, COUNT);
    return left;
}

static void *by_thread(void *fd) {
    int left = 0;
    for (int round = 0; round < ROUNDS / 2; round++) left += unfinished(*(int *)fd, *(int *)fd);
    return (void *)(intptr_t)left;
}

int main(void) {
    first = context(64), second = context(64);
    data = buffer(BYTES);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/file", temp_dir());
    int fd = direct_file_at(path, COUNT * BYTES), same = dup(fd), again = open(path, O_RDWR | O_CLOEXEC);
    int other = direct_file(COUNT * BYTES);
    CHECK(same >= 0 && again >= 0);
    int left = 0;
    for (int round = 0; round < ROUNDS; round++) {
        left += unfinished(fd, fd) + unfinished(fd, same) + unfinished(same, again);
        struct aio_rs_stats before = counts();
        unfinished(other, fd);
        CHECK(counts().libaio_syncs_held == before.libaio_syncs_held, "it waited for another file's");
    }
    left += (int)(intptr_t)join_thread(start_thread(by_thread, &fd));
    CHECK(left == 0, "%d writes were unfinished", left);
    CHECK(!is_library() || completes_at_once() || counts().libaio_syncs_held > 0, "no sync was held");
    CHECK_EQ(io_destroy(first), 0);
    CHECK_EQ(io_destroy(second), 0);
    return 0;
}
