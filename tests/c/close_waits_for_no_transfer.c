// Closing a descriptor waits for no transfer that has begun, whether its thread sleeps or copies, and needs no /proc for that.
// glibc: skip: nothing to compare: its threads use the number whatever it stands for
// root
// holds-reads
#include "check.h"

#include <sys/mount.h>

static double close_takes(int fd) {
    double begin = now_s();
    CHECK_EQ(close(fd), 0);
    return now_s() - begin;
}

// Its buffer is held.
static void asleep(void) {
    int fd = temp_file(), other = temp_file();
    put_pattern(fd, 0, 4096, 1);
    struct held h = hold(4096);
    struct aiocb read = request(fd, h.buffer, 4096, 0);
    CHECK_EQ(aio_read(&read), 0);
    wait_held(&h);
    CHECK(close_takes(fd) < 5);
    CHECK_EQ(dup2(other, fd), fd);
    CHECK_EQ(aio_error(&read), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&read, 0, 4096);
    free_held(&h);
    close(fd);
    close(other);
}

// It is a long copy, whose end is held; the number goes to another file at once.
static void awake(void) {
    enum { LONG = 256 << 20 };
    int fd = memfd_create("old", 0), look = dup(fd), other = temp_file();
    char *much = mmap(NULL, LONG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(fd >= 0 && much != MAP_FAILED);
    memset(much, 'x', LONG);
    struct aiocb write = request(fd, much, LONG, 0);
    CHECK_EQ(aio_write(&write), 0);
    struct stat status;
    do CHECK_EQ(fstat(look, &status), 0);
    while (status.st_size == 0);
    CHECK_EQ(dup2(other, fd), fd);
    CHECK_DONE(&write, 0, LONG);
    CHECK(fstat(other, &status) == 0 && status.st_size == 0);
    munmap(much, LONG);
    close(fd);
    close(look);
    close(other);
}

int main(void) {
    asleep();
    awake();
    // Without /proc, as in a chroot.
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) SKIP("no namespace of its own");
    umount2("/proc", MNT_DETACH);
    CHECK(access("/proc/self/task", F_OK) != 0);
    asleep();
    awake();
    return 0;
}
