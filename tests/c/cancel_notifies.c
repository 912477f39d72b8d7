// A cancelled request still notifies, by signal and by thread, and its status says ECANCELED before that; a list counts
// it as ended.
// env: AIO_RS=threads=1
// holds-reads
#include "check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static int told_error = -1;

static void tell(union sigval value) {
    pthread_mutex_lock(&lock);
    told_error = aio_error(value.sival_ptr);
    pthread_cond_signal(&told);
    pthread_mutex_unlock(&lock);
}

int main(void) {
    aio_init(&(struct aioinit){.aio_threads = 1, .aio_num = 64}); // for libc
    block_signal(SIGRTMIN);
    block_signal(SIGRTMIN + 1);
    int blocked = temp_file(), fd = temp_file();
    put_pattern(blocked, 0, 4096, 1);
    struct held h;
    struct aiocb head, cb;
    held_read(&h, &head, blocked, 4096, 0);

    cb = request(fd, "data", 4, 0);
    cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_ptr = &cb};
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(aio_cancel(fd, &cb), AIO_CANCELED);
    CHECK_EQ(aio_error(&cb), ECANCELED);
    siginfo_t info = take_signal(SIGRTMIN);
    CHECK(info.si_value.sival_ptr == &cb);
    CHECK_EQ(aio_return(&cb), -1);

    struct aiocb members[3], *list[3];
    for (int i = 0; i < 3; i++) {
        members[i] = request(fd, "data", 4, 0);
        members[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &members[i];
    }
    struct sigevent all = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 77};
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 3, &all), 0);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_CANCELED);
    info = take_signal(SIGRTMIN + 1);
    CHECK_EQ(info.si_value.sival_int, 77);
    for (int i = 0; i < 3; i++) CHECK_EQ(aio_error(&members[i]), ECANCELED);

    // Last, since this thread has no signal blocked and would be killed by one of those above.
    cb.aio_sigevent = (struct sigevent){
        .sigev_notify = SIGEV_THREAD, .sigev_notify_function = tell, .sigev_value.sival_ptr = &cb};
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_CANCELED);
    pthread_mutex_lock(&lock);
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_S;
    while (told_error == -1) CHECK_EQ(pthread_cond_timedwait(&told, &lock, &deadline), 0);
    CHECK_EQ(told_error, ECANCELED);
    pthread_mutex_unlock(&lock);

    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(st.st_size, 0);
    return 0;
}
