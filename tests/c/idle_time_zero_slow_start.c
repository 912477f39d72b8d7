// With an idle time of zero a thread may have left again before the call that started it goes on, if that loses the
// processor for a moment: the request runs all the same.
// modes: shared,preload,portable
// env: AIO_RS=idle=0ms
#include "check.h"

static int started;

// The library's calls come here too: the first one takes its time to return.
int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes, void *(*run)(void *),
                   void *restrict argument) {
    typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static create *libc_create;
    if (!libc_create) libc_create = (create *)dlsym(RTLD_NEXT, "pthread_create");
    int error = libc_create(thread, attributes, run, argument);
    if (__atomic_fetch_add(&started, 1, __ATOMIC_RELAXED) == 0)
        for (int i = 0; i < 200 && thread_count() > 1; i++) pause_ms(1);
    return error;
}

int main(void) {
    for (int i = 0; i < 10; i++) {
        struct aiocb cb = request(temp_file(), "data", 4, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4);
    }
    if (is_library()) CHECK(started > 0); // else this would prove nothing
    return 0;
}
