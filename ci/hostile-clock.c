/*
 * Clocks that lie to libaio_rs.so and to nobody else: each call is an hour
 * before or behind the last. Preloaded by ci/hostile-run.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { HOUR = 3600 };

static long lie(void *caller)
{
    static atomic_uint calls;
    Dl_info info;
    if (!dladdr(caller, &info) || !info.dli_fname || !strstr(info.dli_fname, "libaio_rs.so"))
        return 0;
    return calls++ % 2 ? HOUR : -HOUR;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0)
        now->tv_sec += lie(__builtin_return_address(0));
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int result = (int)syscall(SYS_gettimeofday, now, zone);
    if (result == 0)
        now->tv_sec += lie(__builtin_return_address(0));
    return result;
}

time_t time(time_t *now)
{
    struct timespec precise = {0, 0};
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &precise);
    time_t told = precise.tv_sec + lie(__builtin_return_address(0));
    if (now)
        *now = told;
    return told;
}
