// A function of SIGEV_THREAD that blocks holds up no other, however close together they come; also when the thread for the
// others can only be had later.
// glibc: skip: rlimit_nproc_callback shows what it does without a thread
#include "check.h"
#include <semaphore.h>

enum { COUNT = 20, ROUNDS = 20 };

static struct aiocb cbs[COUNT], *list[COUNT];
static int running;
static sem_t go;

static void waits_for_all(union sigval value) {
    (void)value;
    __atomic_add_fetch(&running, 1, __ATOMIC_RELEASE);
    WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) % COUNT == 0);
}

static void first_waits(union sigval value) {
    int before = __atomic_fetch_add(&running, 1, __ATOMIC_RELEASE);
    if (before == 0 && value.sival_int) while (sem_wait(&go) != 0) {}
}

static void submit(int fd, int count, void (*function)(union sigval), int value) {
    for (int i = 0; i < count; i++) {
        cbs[i] = request(fd, "data", 4, i * 4);
        cbs[i].aio_lio_opcode = LIO_WRITE;
        cbs[i].aio_sigevent = (struct sigevent){
            .sigev_notify = SIGEV_THREAD, .sigev_notify_function = function, .sigev_value.sival_int = value};
        list[i] = &cbs[i];
    }
    CHECK_EQ(lio_listio(LIO_WAIT, list, count, NULL), 0);
}

// No thread for them until the limit is gone.
static void no_thread_for_the_others(void) {
    int fd = temp_file();
    submit(fd, 1, first_waits, 0);
    WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) == 1);
    __atomic_store_n(&running, 0, __ATOMIC_RELEASE);
    limit_threads(0);
    submit(fd, 4, first_waits, 1);
    limit_threads(RLIM_INFINITY);
    WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) == 4);
    sem_post(&go);
}

int main(void) {
    CHECK_EQ(sem_init(&go, 0, 0), 0);
    for (int round = 0; round < ROUNDS; round++) {
        int status = run_unprivileged(no_thread_for_the_others);
        if (status == 77) return status;
        CHECK(status == 0, "round %d: status %d", round, status);
    }
    int fd = temp_file();
    for (int round = 1; round <= 5; round++) {
        submit(fd, COUNT, waits_for_all, 0);
        WAIT_FOR(__atomic_load_n(&running, __ATOMIC_ACQUIRE) == round * COUNT);
    }
    return 0;
}
