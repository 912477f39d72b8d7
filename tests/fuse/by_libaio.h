/*
 * The calls of libaio. Events are taken by the raw system call: what is held
 * back must go on without the program's help.
 */
#ifdef SYSTEM_LIBAIO
#include <libaio.h>
#else
#include <aio_rs/libaio.h>
#endif
#include <sys/syscall.h>

enum { OPEN_FLAGS = O_DIRECT };
#define ONE_FUNCTION io_submit

static io_context_t context;
static struct iocb blocks[REQUESTS];

static void finish(struct request *r, long result)
{
    r->error = result < 0 ? (int)-result : 0;
    r->result = result < 0 ? -1 : result;
    r->ended = 1;
}

/* 0, or -1 and errno, as the other interface has it. */
static int hand_in_list(struct request **list, int count)
{
    struct iocb *submitted[REQUESTS];
    for (int i = 0; i < count; i++) {
        struct request *r = list[i];
        struct iocb *block = submitted[i] = &blocks[r - requests];
        const struct aiocb *cb = &r->cb;
        switch (r->opcode) {
        case LIO_READ: io_prep_pread(block, cb->aio_fildes, r->data, cb->aio_nbytes, cb->aio_offset); break;
        case LIO_WRITE: io_prep_pwrite(block, cb->aio_fildes, r->data, cb->aio_nbytes, cb->aio_offset); break;
        case OP_SYNC: io_prep_fsync(block, cb->aio_fildes); break;
        default: io_prep_fdsync(block, cb->aio_fildes); break;
        }
        block->data = r;
    }
    int done = context ? 0 : io_setup(REQUESTS, &context);
    if (done == 0)
        done = io_submit(context, count, submitted);
    errno = done < 0 ? -done : EAGAIN;
    return done == count ? 0 : -1;
}

static int hand_in(struct request *r) { return hand_in_list(&r, 1); }

static void look(struct request *r)
{
    (void)r;
    struct io_event events[64];
    struct timespec no_time = {0, 0};
    long got;
    do {
        got = syscall(SYS_io_getevents, context, 0L, 64L, events, &no_time);
        for (long i = 0; i < got; i++)
            finish(events[i].data, (long)events[i].res);
    } while (got == 64);
}

static int wait_for(struct request *r, long milliseconds)
{
    while (!r->ended && milliseconds-- > 0) {
        usleep(1000);
        look(r);
    }
    errno = EAGAIN;
    return r->ended ? 0 : -1;
}

static int cancel(struct request *r)
{
    struct io_event event;
    if (r->ended)
        return AIO_ALLDONE;
    if (io_cancel(context, &blocks[r - requests], &event) != 0)
        return AIO_NOTCANCELED;
    finish(event.data, (long)event.res);
    return AIO_CANCELED;
}

static int cancel_all(int fd)
{
    (void)fd;
    errno = ENOSYS;
    return -1;
}
