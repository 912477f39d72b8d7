/* The calls of libaio: the kernel's AIO is asynchronous on descriptors with O_DIRECT only. */
#ifdef SYSTEM_LIBAIO
#include <libaio.h>
#else
#include <aio_rs/libaio.h>
#endif

enum { ALL_FLAGS = O_DIRECT, ORDERS_OVERLAPS = 0, ORDERS_APPENDS = 0 };

struct call {
    struct iocb block;
    int ended, error;
    long result;
};

struct engine {
    io_context_t context;
};

static void begin(struct engine *engine, int room)
{
    errno = -io_setup(room, &engine->context);
    if (errno)
        die("io_setup");
}

static void start(struct engine *engine, struct call *call)
{
    struct iocb *one = &call->block;
    one->data = call;
    call->ended = 0;
    int done = io_submit(engine->context, 1, &one);
    errno = done < 0 ? -done : EAGAIN;
    if (done != 1)
        die("io_submit");
}

static void start_write(struct engine *engine, struct call *call, int fd, void *buffer, size_t bytes, long offset,
                        unsigned priority)
{
    (void)priority;
    io_prep_pwrite(&call->block, fd, buffer, bytes, offset);
    start(engine, call);
}

static void start_sync(struct engine *engine, struct call *call, int fd, int data_only)
{
    if (data_only)
        io_prep_fdsync(&call->block, fd);
    else
        io_prep_fsync(&call->block, fd);
    start(engine, call);
}

static void look(struct engine *engine, struct call **calls, int count, int wait)
{
    struct io_event events[64];
    struct timespec no_time = {0, 0};
    (void)calls;
    int got = io_getevents(engine->context, wait && count > 0, 64, events, wait ? NULL : &no_time);
    if (got < 0 && got != -EINTR) {
        errno = -got;
        die("io_getevents");
    }
    for (int i = 0; i < got; i++) {
        struct call *call = events[i].data;
        long result = (long)events[i].res;
        call->error = result < 0 ? (int)-result : 0;
        call->result = result;
        call->ended = 1;
    }
}
