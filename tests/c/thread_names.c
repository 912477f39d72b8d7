// The library's threads are named after what they do.
// glibc: skip: its threads have the program's name
// holds-reads
#include "check.h"
#include <semaphore.h>

static sem_t called_once;
static char callback_name[32];

static void called(union sigval value) {
    (void)value;
    pthread_getname_np(pthread_self(), callback_name, sizeof callback_name);
    sem_post(&called_once);
}

int main(void) {
    sem_init(&called_once, 0, 0);
    int fd = temp_file(), p[2];
    put_pattern(fd, 0, 4096, 1);
    CHECK_EQ(pipe(p), 0);
    struct held h;
    struct aiocb head;
    held_read(&h, &head, fd, 4096, 0);
    CHECK(threads_named("aio_rs/worker") >= 1);
    char byte;
    struct aiocb waiting = request(p[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    WAIT_FOR(threads_named("aio_rs/poller") == 1);
    WAIT_FOR(threads_named("aio_rs/") == thread_count() - 1);
    struct aiocb cb = request(temp_file(), "data", 4, 0);
    cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called};
    CHECK_EQ(aio_write(&cb), 0);
    while (sem_wait(&called_once)) {}
    CHECK(strcmp(callback_name, "aio_rs/notify") == 0, "%s", callback_name);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    return 0;
}
