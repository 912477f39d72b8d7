// The child of vfork shares the parent's memory, but not its descriptors: when it closes or replaces one that has
// requests in the parent, the parent's requests go on, and its later ones too.
// holds-reads
#include "check.h"
#include <spawn.h>

enum { QUEUED = 10 };

static void round_with(volatile int what) {
    int fd = temp_file(), p[2];
    put_pattern(fd, 0, 4096, 1);
    CHECK_EQ(pipe(p), 0);
    struct held h;
    struct aiocb head, queued[QUEUED], waiting, barrier;
    static unsigned char data[QUEUED][300];
    char byte = 0;
    held_read(&h, &head, fd, 4096, 0);
    for (int i = 0; i < QUEUED; i++) {
        fill(data[i], 300, 20 + (unsigned)i);
        queued[i] = request(fd, data[i], 300, i * 300);
        CHECK_EQ(aio_write(&queued[i]), 0);
    }
    barrier = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    waiting = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);

    int null = open("/dev/null", O_RDWR);
    volatile int wrong = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        switch (what) {
        case 0: wrong |= close(fd) != 0 || close(p[0]) != 0; break;
        case 1: wrong |= dup2(null, fd) != fd || dup2(null, p[0]) != p[0]; break;
        case 2: wrong |= dup3(null, fd, 0) != fd || dup3(null, p[0], 0) != p[0]; break;
        case 3: wrong |= close_range(3, ~0U, 0) != 0; break;
        case 4: closefrom(3); break;
        }
        _exit(wrong);
    }
    CHECK(pid > 0);
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);

    CHECK_EQ(aio_error(&head), EINPROGRESS);
    for (int i = 0; i < QUEUED; i++) CHECK_EQ(aio_error(&queued[i]), EINPROGRESS);
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    for (int i = 0; i < QUEUED; i++) {
        CHECK_DONE(&queued[i], 0, 300);
        CHECK(file_holds(fd, i * 300, 300, 20 + (unsigned)i));
    }
    CHECK_DONE(&barrier, 0, 0);
    CHECK_EQ(write(p[1], "y", 1), 1);
    CHECK_DONE(&waiting, 0, 1);
    CHECK_EQ(byte, 'y');
    struct aiocb later = request(fd, "later", 5, 10000);
    CHECK_EQ(aio_write(&later), 0);
    CHECK_DONE(&later, 0, 5);
    close(fd);
    close(null);
    close(p[0]);
    close(p[1]);
}

extern char **environ;

// libc's own users of vfork.
static void spawned(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    struct held h;
    struct aiocb head, queued = request(fd, "new", 3, 0);
    held_read(&h, &head, fd, 4096, 0);
    CHECK_EQ(aio_write(&queued), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, fd);
    char *argv[] = {"true", NULL};
    pid_t pid;
    CHECK_EQ(posix_spawnp(&pid, "true", &actions, NULL, argv, environ), 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(system("exit 3"), 3 << 8);
    CHECK_EQ(aio_error(&queued), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_DONE(&queued, 0, 3);
    char back[3];
    CHECK_EQ(pread(fd, back, 3, 0), 3);
    CHECK(memcmp(back, "new", 3) == 0);
}

int main(void) {
    for (int what = 0; what < 5; what++) round_with(what);
    spawned();
    return 0;
}
