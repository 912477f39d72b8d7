// Closing or replacing a descriptor with queued writes: the writes that were accepted still reach the file that they were
// for, never the one that gets the number next, and closing does not wait for them.
// glibc: fails: queued writes go into another file that gets the number of a closed descriptor
#include "check.h"

enum { QUEUED = 20, AREA = 2048 * QUEUED + 4096 };

enum how { CLOSE, DUP2, DUP3, CLOSE_RANGE, FCLOSE, CLOSEFROM, HOWS };
static const char *const names[] = {"close", "dup2", "dup3", "close_range", "fclose", "closefrom"};

static struct held h;
static struct aiocb head, queued[QUEUED], barrier;
static unsigned char data[QUEUED][4096];

// Returns the descriptor that now has the number; `second` is open for the new file.
static int replace(enum how how, int fd, FILE *stream, int second, const char *new_path) {
    switch (how) {
    case CLOSE: CHECK_EQ(close(fd), 0); break;
    case DUP2: CHECK_EQ(dup2(second, fd), fd); return fd;
    case DUP3: CHECK_EQ(dup3(second, fd, O_CLOEXEC), fd); return fd;
    case CLOSE_RANGE: CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, 0), 0); break;
    case FCLOSE: CHECK_EQ(fclose(stream), 0); break;
    case CLOSEFROM: closefrom(fd); break;
    case HOWS: break;
    }
    int reused = open(new_path, O_RDWR);
    CHECK(reused >= 0);
    if (reused != fd) CHECK_EQ(fcntl(reused, F_DUPFD, fd), fd); // a lower number was free
    return fd;
}

// The portable library cannot tell that a thread is inside its system call, so there closing waits for what runs.
static void *release_soon(void *unused) {
    pause_ms(20);
    release_held(&h);
    return unused;
}

static void run(enum how how) {
    char *old_path = temp_path("old"), *new_path = temp_path("new");
    int look = open(old_path, O_RDWR | O_CREAT | O_TRUNC, 0600), second = open(new_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(look >= 0 && second >= 0);
    h = hold(4096);
    // closefrom takes all numbers above: let none of ours be there.
    int top = fcntl(look, F_DUPFD, 100);
    close(top);
    int first = open(old_path, O_RDWR), fd = fcntl(first, F_DUPFD, 100);
    close(first);
    CHECK_EQ(fd, top);
    FILE *stream = how == FCLOSE ? fdopen(fd, "r+") : NULL;

    fill(h.content, 4096, 1);
    head = request(fd, h.buffer, 4096, 0);
    CHECK_EQ(aio_write(&head), 0);
    wait_held(&h);
    for (int i = 0; i < QUEUED; i++) { // each overlaps the one before it
        fill(data[i], 4096, 10 + (unsigned)i);
        queued[i] = request(fd, data[i], 4096, 2048 * (i + 1) - 1024);
        CHECK_EQ(aio_write(&queued[i]), 0);
    }
    barrier = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);

    pthread_t releaser = pthread_self();
    if (is_portable()) releaser = start_thread(release_soon, NULL);
    int reused = replace(how, fd, stream, second, new_path);
    if (is_portable())
        join_thread(releaser);
    else
        CHECK_EQ(aio_error(&head), EINPROGRESS); // it did not wait
    if (is_library() && !is_portable()) { // the new file works under the number at once; on libc this would hang, and hide the worse fault
        struct aiocb fresh = request(reused, "fresh", 5, 100000);
        CHECK_EQ(aio_write(&fresh), 0);
        CHECK_DONE(&fresh, 0, 5);
        CHECK_EQ(aio_error(&queued[0]), EINPROGRESS);
    }

    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    for (int i = 0; i < QUEUED; i++) wait_done(&queued[i]);
    static unsigned char model[AREA], back[AREA];
    ssize_t got = pread(second, back, sizeof back, 0);
    for (ssize_t i = 0; i < got; i++) CHECK(back[i] == 0, "%s: a write went into the new file", names[how]);
    memset(model, 0, sizeof model);
    memcpy(model, h.content, 4096);
    for (int i = 0; i < QUEUED; i++) memcpy(model + 2048 * (i + 1) - 1024, data[i], 4096);
    size_t length = 2048 * QUEUED - 1024 + 4096;
    CHECK_EQ(pread(look, back, sizeof back, 0), (ssize_t)length);
    CHECK(memcmp(back, model, length) == 0, "%s: the old file", names[how]);
    for (int i = 0; i < QUEUED; i++) CHECK_DONE(&queued[i], 0, 4096);
    CHECK_DONE(&barrier, 0, 0);
    // Nothing of the old file stays open: the lease says who has it.
    close(look);
    int sole = open(old_path, O_RDONLY);
    WAIT_FOR(fcntl(sole, F_SETLEASE, F_RDLCK) == 0); // refused as long as somebody has it open for writing
    close(sole);
    close(reused);
    close(second);
    free_held(&h);
    free(old_path);
    free(new_path);
}

int main(void) {
    for (enum how how = CLOSE; how < HOWS; how++) run(how);
    return 0;
}
