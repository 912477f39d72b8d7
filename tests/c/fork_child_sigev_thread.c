// SIGEV_THREAD works in the child of a fork whose parent has used it: whether the parent's threads that call back are
// idle or at work when it forks, in the child each callback runs, once; and the parent's go on.
// glibc: fails: in the child of a fork SIGEV_THREAD requests hang
// env: AIO_RS=idle=60s
#include "check.h"
#include <semaphore.h>

enum { MOST = 8, FORKS = 5 };

static int calls[MOST], total;
static sem_t block;
static bool blocks;

static void called(union sigval value) {
    bool wait = blocks;
    __atomic_add_fetch(&calls[value.sival_int], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&total, 1, __ATOMIC_RELEASE);
    while (wait && sem_wait(&block)) {}
}

static void notify(int count) {
    static struct aiocb cbs[MOST];
    int fd = temp_file();
    memset(calls, 0, sizeof calls);
    total = 0;
    for (int i = 0; i < count; i++) {
        cbs[i] = request(fd, "data", 4, i * 4);
        cbs[i].aio_sigevent = (struct sigevent){
            .sigev_notify = SIGEV_THREAD, .sigev_notify_function = called, .sigev_value.sival_int = i};
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    WAIT_FOR(__atomic_load_n(&total, __ATOMIC_ACQUIRE) == count);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(calls[i], 1);
        CHECK_DONE(&cbs[i], 0, 4);
    }
    close(fd);
}

static void child_notifies(void) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        blocks = false;
        for (int count = 1; count <= MOST; count++) notify(count);
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

int main(void) {
    temp_dir();
    sem_init(&block, 0, 0);
    for (int n = 0; n < FORKS; n++) {
        blocks = true;
        notify(MOST); // in as many threads
        child_notifies();
        for (int i = 0; i < MOST; i++) sem_post(&block);
        blocks = false;
        notify(MOST);
        settle(); // they have nothing to do now
        child_notifies();
    }
    notify(MOST);
    return 0;
}
