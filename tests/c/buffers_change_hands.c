// What a request has read is the program's as soon as its end is seen: it may be changed, freed, and used for the next one; and so
// is the aiocb. A notification function finds what the program has prepared before it handed the request in. (tests/tools.rs
// runs this under Valgrind and ThreadSanitizer.)
#include "check.h"
#include <semaphore.h>

enum { REQUESTS = 8, BYTES = 4096, ROUNDS = 20 };

static sem_t called;

static void function(union sigval value) {
    CHECK_EQ(*(int *)value.sival_ptr, 7);
    CHECK_EQ(sem_post(&called), 0);
}

static void by_file(int fd, int round) {
    struct aiocb *cbs = calloc(REQUESTS, sizeof *cbs);
    char *data = aligned_alloc(BYTES, REQUESTS * BYTES);
    int *argument = malloc(sizeof *argument);
    CHECK(cbs && data && argument);
    *argument = 7;
    memset(data, round, REQUESTS * BYTES);
    for (int i = 0; i < REQUESTS; i++) {
        cbs[i] = request(fd, data + i * BYTES, BYTES, i * BYTES);
        if (i == 3) {
            cbs[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
            cbs[i].aio_sigevent.sigev_notify_function = function;
            cbs[i].aio_sigevent.sigev_value.sival_ptr = argument;
        }
        CHECK_EQ(round % 2 ? aio_read(&cbs[i]) : aio_write(&cbs[i]), 0);
    }
    for (int i = 0; i < REQUESTS; i++) CHECK_DONE(&cbs[i], 0, BYTES);
    while (sem_wait(&called) != 0) {}
    for (int i = 0; i < REQUESTS * BYTES; i++) {
        if (round % 2) CHECK_EQ(data[i], round - 1);
        data[i] = 1;
    }
    free(data);
    free(cbs);
    free(argument);
}

// On this stack: the next call has other things there.
static void by_pipe(const int p[2]) {
    char in = 0;
    struct aiocb cb = request(p[0], &in, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&cb, 0, 1);
    CHECK_EQ(in, 'x');
}

int main(void) {
    int fd = temp_file(), p[2], direct = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    CHECK_EQ(sem_init(&called, 0, 0), 0);
    CHECK_EQ(pipe(p), 0);
    for (int round = 0; round < ROUNDS; round++) {
        by_file(fd, round);
        if (direct >= 0) by_file(direct, round);
        by_pipe(p);
    }
    return 0;
}
