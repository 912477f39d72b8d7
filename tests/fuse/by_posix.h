/* The calls of <aio.h>. */
enum { OPEN_FLAGS = 0 };
#define ONE_FUNCTION aio_write

static int hand_in(struct request *r)
{
    switch (r->opcode) {
    case LIO_READ: return aio_read(&r->cb);
    case LIO_WRITE: return aio_write(&r->cb);
    case OP_SYNC: return aio_fsync(O_SYNC, &r->cb);
    default: return aio_fsync(O_DSYNC, &r->cb);
    }
}

static int hand_in_list(struct request **requests, int count)
{
    static struct aiocb *blocks[REQUESTS];
    for (int i = 0; i < count; i++)
        blocks[i] = &requests[i]->cb;
    return lio_listio(LIO_NOWAIT, blocks, count, NULL);
}

static void look(struct request *r)
{
    r->error = aio_error(&r->cb);
    if (r->error == EINPROGRESS)
        return;
    r->result = aio_return(&r->cb);
    r->ended = 1;
}

static int wait_for(struct request *r, long milliseconds)
{
    const struct aiocb *one = &r->cb;
    struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    return aio_suspend(&one, 1, &limit);
}

static int cancel(struct request *r) { return aio_cancel(r->cb.aio_fildes, &r->cb); }

static int cancel_all(int fd) { return aio_cancel(fd, NULL); }
