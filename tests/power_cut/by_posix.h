/* The calls of <aio.h>: two descriptors of each file are buffered. */
#include <aio.h>

enum { ALL_FLAGS = 0, ORDERS_OVERLAPS = 1, ORDERS_APPENDS = 1 };

struct call {
    struct aiocb cb;
    int ended, error;
    long result;
};

struct engine {
    int unused;
};

static void begin(struct engine *engine, int room)
{
    (void)engine;
    (void)room;
}

static void prepare(struct call *call, int fd)
{
    memset(call, 0, sizeof *call);
    call->cb.aio_fildes = fd;
    call->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
}

static void start_write(struct engine *engine, struct call *call, int fd, void *buffer, size_t bytes, long offset,
                        unsigned priority)
{
    (void)engine;
    prepare(call, fd);
    call->cb.aio_buf = buffer;
    call->cb.aio_nbytes = bytes;
    call->cb.aio_offset = offset;
    call->cb.aio_reqprio = (int)priority;
    if (aio_write(&call->cb) != 0)
        die("aio_write");
}

static void start_sync(struct engine *engine, struct call *call, int fd, int data_only)
{
    (void)engine;
    prepare(call, fd);
    if (aio_fsync(data_only ? O_DSYNC : O_SYNC, &call->cb) != 0)
        die("aio_fsync");
}

static void look(struct engine *engine, struct call **calls, int count, int wait)
{
    const struct aiocb *list[count + 1];
    (void)engine;
    for (int i = 0; i < count; i++)
        list[i] = &calls[i]->cb;
    if (wait && count > 0 && aio_suspend(list, count, NULL) != 0 && errno != EINTR)
        die("aio_suspend");
    for (int i = 0; i < count; i++) {
        struct call *call = calls[i];
        call->error = aio_error(&call->cb);
        if (call->error == EINPROGRESS)
            continue;
        call->result = aio_return(&call->cb);
        call->ended = 1;
    }
}
