// Bad offsets, counts, buffers and notifications give an error, at once or through the status; never a crash.
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 8192, 1);
    static char buffer[64];

    const off_t bad_offsets[] = {-1, -4096, LLONG_MIN};
    for (size_t i = 0; i < sizeof bad_offsets / sizeof *bad_offsets; i++) {
        struct aiocb cb = request(fd, buffer, sizeof buffer, bad_offsets[i]);
        CHECK_EQ(ERROR_OF(aio_read(&cb), &cb), EINVAL);
        CHECK_EQ(ERROR_OF(aio_write(&cb), &cb), EINVAL);
    }

    const size_t bad_sizes[] = {(size_t)SSIZE_MAX + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad_sizes / sizeof *bad_sizes; i++) {
        struct aiocb cb = request(fd, buffer, bad_sizes[i], 0);
        int read_error = ERROR_OF(aio_read(&cb), &cb), write_error = ERROR_OF(aio_write(&cb), &cb);
        // Linux's own pread looks at the buffer first.
        CHECK(read_error == EINVAL || (read_error == EFAULT && !is_library()));
        CHECK(write_error == EINVAL || (write_error == EFAULT && !is_library()));
    }

    int directory = open(temp_dir(), O_RDONLY | O_DIRECTORY);
    struct aiocb cb = request(directory, buffer, sizeof buffer, 0);
    CHECK_EQ(ERROR_OF(aio_read(&cb), &cb), EISDIR);

    // Buffers: nowhere, not accessible, in the kernel's half.
    void *forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *bad_buffers[] = {(void *)8, forbidden, (void *)-4096L};
    for (size_t i = 0; i < sizeof bad_buffers / sizeof *bad_buffers; i++) {
        cb = request(fd, bad_buffers[i], 512, 0);
        CHECK_EQ(ERROR_OF(aio_read(&cb), &cb), EFAULT);
        CHECK_EQ(ERROR_OF(aio_write(&cb), &cb), EFAULT);
    }
    CHECK(file_holds(fd, 0, 8192, 1));

    if (is_library()) {
        cb = request(fd, buffer, sizeof buffer, 0);
        cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
        cb.aio_sigevent.sigev_notify_function = NULL;
        CHECK_FAILS(aio_read(&cb), EINVAL);
        CHECK_FAILS(aio_write(&cb), EINVAL);
        CHECK_FAILS(aio_fsync(O_SYNC, &cb), EINVAL);
    }

    // And after all that it works.
    cb = request(fd, buffer, sizeof buffer, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, sizeof buffer);
    CHECK(holds(buffer, sizeof buffer, 1));
    return 0;
}
