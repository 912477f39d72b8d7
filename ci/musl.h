/* What tests/c uses of glibc and musl does not declare. Included first in every file that ci/musl-cc compiles. */
#define _GNU_SOURCE
#include <aio.h>
#include <string.h>

#define strerrorname_np strerror
#define __error_code __err
#define __return_value __ret
#define CLOSE_RANGE_CLOEXEC 4U

struct aioinit {
    int aio_threads, aio_num, aio_locks, aio_usedba, aio_debug, aio_numusers, aio_idle_time, aio_reserved;
};
void aio_init(const struct aioinit *);
int close_range(unsigned, unsigned, int);
void closefrom(int);

/* Debian's libgcc_eh.a is made for glibc and asks it where a function's unwind table is; without one there is no backtrace. */
__attribute__((weak)) int _dl_find_object(void *address, void *result) {
    (void)address, (void)result;
    return -1;
}
