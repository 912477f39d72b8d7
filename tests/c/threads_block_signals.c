// Every thread of the library has all signals blocked, from its first moment: a signal for the process never runs a
// handler of the program there.
// holds-reads
#include "check.h"
#include <semaphore.h>

static sem_t callback_runs, go_on;
static pid_t callback_thread;

static void called(union sigval value) {
    (void)value;
    callback_thread = thread_id();
    sem_post(&callback_runs);
    while (sem_wait(&go_on)) {}
}

// Returns how many other threads there are, `mine` and `not` left out.
static int check_masks(pid_t mine, pid_t not) {
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], text[4096];
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == mine || atoi(entry->d_name) == not) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        int fd = open(path, O_RDONLY);
        if (fd < 0) continue; // it has ended
        ssize_t got = read(fd, text, sizeof text - 1);
        close(fd);
        if (got <= 0) continue;
        text[got] = 0;
        if (strstr(text, "\nThreads:\t0\n")) continue; // it ends just now, and has no mask any more
        char *field = strstr(text, "\nSigBlk:\t");
        CHECK(field != NULL);
        unsigned long long blocked = strtoull(field + strlen("\nSigBlk:\t"), NULL, 16);
        unsigned long long must = ~0ULL;
        must &= ~(1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1));
        must &= ~(1ULL << 31 | 1ULL << 32 | 1ULL << 33); // libc's own
        CHECK((blocked & must) == must, "thread %s blocks only %016llx", entry->d_name, blocked);
        count++;
    }
    closedir(dir);
    return count;
}

int main(void) {
    sem_init(&callback_runs, 0, 0);
    sem_init(&go_on, 0, 0);
    int file = temp_file(), p[2];
    put_pattern(file, 0, 65536, 1);
    CHECK_EQ(pipe(p), 0);
    char byte;
    // A thread of each kind: a running request, a waiting stream, a callback, and a burst that makes more of them.
    struct aiocb waiting = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    struct held h;
    struct aiocb head;
    held_read(&h, &head, file, 4096, 0);
    struct aiocb notified = request(temp_file(), "data", 4, 0);
    notified.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called};
    CHECK_EQ(aio_write(&notified), 0);
    while (sem_wait(&callback_runs)) {}
    CHECK(check_masks(thread_id(), callback_thread) >= 1);
    for (int round = 0; round < 20; round++) {
        enum { BURST = 16 };
        struct held gates[BURST];
        struct aiocb cbs[BURST];
        for (int i = 0; i < BURST; i++) {
            int fd = temp_file();
            gates[i] = hold(4096);
            cbs[i] = request(fd, gates[i].buffer, 4096, 0);
            CHECK_EQ(aio_write(&cbs[i]), 0);
            check_masks(thread_id(), callback_thread);
        }
        check_masks(thread_id(), callback_thread);
        for (int i = 0; i < BURST; i++) release_held(&gates[i]);
        for (int i = 0; i < BURST; i++) {
            CHECK_DONE(&cbs[i], 0, 4096);
            close(cbs[i].aio_fildes);
            free_held(&gates[i]);
        }
    }
    sem_post(&go_on);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&waiting, 0, 1);
    return 0;
}
