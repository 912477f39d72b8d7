// Threads that each append a record to one file and aio_fsync it, all at the same time: every one of them ends, and the
// file holds every record.
#include "check.h"

enum { THREADS = 8, ROUNDS = 40, LENGTH = 100 };

static int fd;

static void *run(void *argument) {
    char record[LENGTH];
    memset(record, 'a' + (int)(size_t)argument, sizeof record);
    for (int round = 0; round < ROUNDS; round++) {
        struct aiocb write = request(fd, record, sizeof record, 0), barrier = request(fd, NULL, 0, 0);
        CHECK_EQ(aio_write(&write), 0);
        CHECK_EQ(aio_fsync(round % 2 ? O_SYNC : O_DSYNC, &barrier), 0);
        CHECK_DONE(&barrier, 0, 0);
        CHECK_EQ(aio_error(&write), 0);
        CHECK_EQ(aio_return(&write), LENGTH);
    }
    return NULL;
}

// Nothing but syncs through the library: no other request's end lets a forgotten one go on.
static void *run_syncs(void *unused) {
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_EQ(pwrite(fd, "x", 1, 0), 1);
        struct aiocb barrier = request(fd, NULL, 0, 0);
        CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
        CHECK_DONE(&barrier, 0, 0);
    }
    return unused;
}

int main(void) {
    fd = temp_open("file", O_RDWR | O_APPEND);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) threads[i] = start_thread(run, (void *)i);
    for (size_t i = 0; i < THREADS; i++) join_thread(threads[i]);

    static char data[THREADS * ROUNDS * LENGTH + 1];
    int counts[THREADS] = {0};
    CHECK_EQ(pread(fd, data, sizeof data, 0), THREADS * ROUNDS * LENGTH);
    for (char *record = data; record < data + THREADS * ROUNDS * LENGTH; record += LENGTH) {
        for (int i = 1; i < LENGTH; i++) CHECK(record[i] == record[0]);
        CHECK(record[0] >= 'a' && record[0] < 'a' + THREADS);
        counts[record[0] - 'a']++;
    }
    for (int i = 0; i < THREADS; i++) CHECK_EQ(counts[i], ROUNDS);

    fd = temp_file();
    for (size_t i = 0; i < THREADS; i++) threads[i] = start_thread(run_syncs, NULL);
    for (size_t i = 0; i < THREADS; i++) join_thread(threads[i]);
    return 0;
}
