// A deferred sync takes no descriptor, no mapping and hardly any time; one for all of them if the program closes its own. A
// descriptor that it closes behind the library's back is not mistaken for the file that gets its number.
// interface: libaio
// glibc: skip: it defers nothing
// timeout: 120
// takes: 3
#include "rings.h"
#include <sys/eventfd.h>

enum { SYNCS = 4000 };

static struct iocb syncs[SYNCS];
static struct io_event events[SYNCS];
static io_context_t made;

static int entries(const char *path) {
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    int count = 0;
    while (readdir(dir)) count++;
    closedir(dir);
    return count;
}

static int descriptors(void) { return entries("/proc/self/fd"); }

static long address_space_kib(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%ld", &pages) == 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void submit_syncs(int fd, int count, int told) {
    for (int i = 0; i < count; i++) {
        struct iocb *one = &syncs[i];
        io_prep_fsync(one, fd);
        if (told >= 0) io_set_eventfd(one, told);
        submit(made, &one, 1);
    }
}

static void check_all(int count, long result) {
    reap_all(made, BY_CALL, events, count);
    for (int i = 0; i < count; i++) {
        CHECK(events[i].obj == &syncs[i], "place %d", i);
        CHECK_EQ((long)events[i].res, result);
    }
}

// Many, and then the program closes the descriptor, and uses its number for something else.
static void many(void) {
    struct held h = hold(BLOCK);
    struct aiocb stuck;
    int fd = temp_file(), told = eventfd(0, EFD_CLOEXEC), kept = dup(told), writer = dup(fd);
    held_write(&h, &stuck, writer, BLOCK, 0, 1);
    submit_syncs(fd, 1, told);
    int before = descriptors(), pages = h.uffd >= 0; // is closed when its page is released
    long space = address_space_kib();
    CHECK_EQ(io_cancel(made, &syncs[0], &events[0]), 0);
    submit_syncs(fd, SYNCS, told);
    CHECK_EQ(descriptors(), before);
    CHECK(address_space_kib() - space < 256 * 1024, "%ld KiB more", address_space_kib() - space);
    int other = memfd_create("other", MFD_CLOEXEC);
    CHECK_EQ(dup2(other, fd), fd);
    CHECK_EQ(descriptors(), before + 2);
    CHECK_EQ(close(told), 0);
    CHECK_EQ(descriptors(), before + 2);
    CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, 0), 0);
    release_held(&h);
    check_all(SYNCS, 0);
    uint64_t count = 0;
    CHECK_EQ(read(kept, &count, sizeof count), sizeof count);
    CHECK_EQ(count, SYNCS);
    CHECK_DONE(&stuck, 0, BLOCK);
    WAIT_FOR(descriptors() == before - 1 - pages); // other, less fd and told
    CHECK_EQ(close(kept) | close(other) | close(writer), 0);
    free_held(&h);
}

// Closed by a raw system call; what has its number then, if anything, is another file. The sync is none of that file.
static void behind_our_back(void) {
    for (int round = 0; round < 3; round++) {
        struct held h = hold(BLOCK);
        struct aiocb stuck;
        int fd = temp_file(), writer = dup(fd);
        held_write(&h, &stuck, writer, BLOCK, 0, 1);
        submit_syncs(fd, 3, -1);
        int before = descriptors() - (h.uffd >= 0);
        CHECK_EQ(syscall(SYS_close, fd), 0);
        if (round > 0) {
            int other = temp_file();
            CHECK_EQ(other, fd);
            if (round == 2) CHECK_EQ(close(other), 0);
        }
        release_held(&h);
        check_all(3, -EBADF);
        CHECK_EQ(descriptors(), before - (round != 1));
        CHECK_DONE(&stuck, 0, BLOCK);
        if (round == 1) CHECK_EQ(close(fd), 0);
        CHECK_EQ(close(writer), 0);
        free_held(&h);
    }
}

// A sync that is refused in the end takes no number either, not even for a moment: the program's next descriptor has the lowest.
// `told`: the syncs have an eventfd, which hears of each.
static void refused(bool told) {
    enum { COUNT = 1000 };
    struct held h = hold(BLOCK);
    struct aiocb stuck;
    int fd = temp_file(), writer = dup(fd), eventfd_ = told ? eventfd(0, EFD_CLOEXEC) : -1;
    held_write(&h, &stuck, writer, BLOCK, 0, 1);
    submit_syncs(fd, COUNT, eventfd_);
    CHECK_EQ(syscall(SYS_close, fd), 0);
    int lowest = dup(0), freed = -1;
    CHECK_EQ(close(lowest), 0);
    release_held(&h);
    while (ring_filled(made) < COUNT) {
        int number = dup(0);
        CHECK(number >= 0 && number <= lowest, "%d, not %d", number, lowest);
        if (number < lowest) freed = number; // what held the write had it
        else CHECK_EQ(close(number), 0);
    }
    if (freed >= 0) CHECK_EQ(close(freed), 0);
    CHECK_DONE(&stuck, 0, BLOCK);
    free_held(&h);
    check_all(COUNT, -EBADF);
    uint64_t count = 0;
    if (told) CHECK(read(eventfd_, &count, sizeof count) == sizeof count && count == COUNT && close(eventfd_) == 0);
    CHECK_EQ(close(writer), 0);
}

// Nor does one sync for each of many files take more than it has to, when all of these are closed.
static void of_many_files(void) {
    enum { FILES = 200 };
    struct held h[2];
    struct aiocb stuck[2];
    int fds[FILES];
    for (int i = 0; i < FILES; i++) fds[i] = temp_file();
    for (int i = 0; i < 2; i++) held_write(&h[i], &stuck[i], fds[i], BLOCK, 0, 1);
    for (int i = 0; i < FILES; i++) {
        struct iocb *one = &syncs[i];
        io_prep_fsync(one, fds[i]);
        submit(made, &one, 1);
    }
    int before = descriptors();
    for (int i = 0; i < FILES; i++) CHECK_EQ(close(fds[i]), 0);
    CHECK(descriptors() <= before, "%d more", descriptors() - before);
    for (int i = 0; i < 2; i++) release_held(&h[i]);
    reap_all(made, BY_CALL, events, FILES);
    for (int i = 0; i < FILES; i++) CHECK_EQ((long)events[i].res, 0);
    for (int i = 0; i < 2; i++) CHECK_DONE(&stuck[i], 0, BLOCK);
    for (int i = 0; i < 2; i++) free_held(&h[i]);
}

int main(void) {
    made = context(SYNCS + 10);
    many();
    behind_our_back();
    refused(false);
    refused(true);
    of_many_files();
    CHECK_EQ(io_destroy(made), 0);
    return 0;
}
