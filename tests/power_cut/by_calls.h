/* Plain system calls, each done when it returns: what they lose is the file system's fault. */
enum { ALL_FLAGS = 0, ORDERS_OVERLAPS = 1, ORDERS_APPENDS = 1 };

struct call {
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

static void end(struct call *call, long result)
{
    call->result = result;
    call->error = result < 0 ? errno : 0;
    call->ended = 1;
}

static void start_write(struct engine *engine, struct call *call, int fd, void *buffer, size_t bytes, long offset,
                        unsigned priority)
{
    (void)engine;
    (void)priority;
    end(call, pwrite(fd, buffer, bytes, offset));
}

static void start_sync(struct engine *engine, struct call *call, int fd, int data_only)
{
    (void)engine;
    end(call, data_only ? fdatasync(fd) : fsync(fd));
}

static void look(struct engine *engine, struct call **calls, int count, int wait)
{
    (void)engine;
    (void)calls;
    (void)count;
    (void)wait;
}
