// When no thread can be had with the attributes of a SIGEV_THREAD request, the submission says EAGAIN, or the function
// is called in a thread with others; it is never silence.
// glibc: fails: a SIGEV_THREAD notification is lost when its thread cannot be created
#include "check.h"

static int calls;

static void called(union sigval value) {
    (void)value;
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELEASE);
}

int main(void) {
    int fd = temp_file();
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, (size_t)1 << 46), 0); // half of the address space
    int expected = 0;
    for (int i = 0; i < 5; i++) {
        struct aiocb cb = request(fd, "data", 4, 0);
        cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD,
                                            .sigev_notify_function = called,
                                            .sigev_notify_attributes = &attributes};
        if (aio_write(&cb) == 0) {
            CHECK_DONE(&cb, 0, 4);
            expected++;
        } else {
            CHECK_EQ(errno, EAGAIN);
            CHECK(aio_error(&cb) != EINPROGRESS);
        }
    }
    WAIT_FOR(__atomic_load_n(&calls, __ATOMIC_ACQUIRE) == expected);
    // A plain one works after it.
    struct aiocb cb = request(fd, "data", 4, 0);
    cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called};
    CHECK_EQ(aio_write(&cb), 0);
    WAIT_FOR(__atomic_load_n(&calls, __ATOMIC_ACQUIRE) == expected + 1);
    return 0;
}
