// Every call is safe in a signal handler, and the handler may have interrupted malloc: so requests end, are announced and can
// be waited for while malloc is held, by whatever route, with more of them than there are threads. Only the call that finds no
// thread may need malloc.
// glibc: skip: it takes memory for each request
// env: AIO_RS=idle=60s
#include "check.h"

enum { REQUESTS = 64, BLOCK = 4096, ROUNDS = 3, KEYS = 40 };

// ---- An allocator that can be held, as by an interrupted thread ----

static char memory[64 << 20] __attribute__((aligned(BLOCK)));
static size_t used;
static bool held;
static int blocked;
static _Thread_local bool is_holder __attribute__((tls_model("initial-exec")));

// The message itself may need malloc.
static void give_up(const char *why) {
    int waiting = blocked;
    __atomic_store_n(&held, false, __ATOMIC_RELEASE);
    FAIL("%s; %d threads wait for malloc", why, waiting);
}

static void *take(size_t size, size_t alignment) {
    if (__atomic_load_n(&held, __ATOMIC_ACQUIRE)) {
        if (is_holder) give_up("a call allocates");
        __atomic_add_fetch(&blocked, 1, __ATOMIC_RELAXED);
        while (__atomic_load_n(&held, __ATOMIC_ACQUIRE)) sched_yield();
    }
    if (alignment < 16) alignment = 16;
    size_t room = size + alignment + 16;
    size_t start = __atomic_fetch_add(&used, (room + 15) / 16 * 16, __ATOMIC_RELAXED);
    if (start + room > sizeof memory) return NULL;
    char *block = (char *)(((uintptr_t)&memory[start] + 16 + alignment - 1) / alignment * alignment);
    ((size_t *)block)[-1] = size;
    return block;
}

void *malloc(size_t size) { return take(size, 16); }
void *calloc(size_t count, size_t size) { return take(count * size, 16); } // it is never given out twice
void *memalign(size_t alignment, size_t size) { return take(size, alignment); }
void *aligned_alloc(size_t alignment, size_t size) { return take(size, alignment); }
void *valloc(size_t size) { return take(size, BLOCK); }
void *pvalloc(size_t size) { return take(size, BLOCK); }
int posix_memalign(void **block, size_t alignment, size_t size) { return (*block = take(size, alignment)) ? 0 : ENOMEM; }
size_t malloc_usable_size(void *block) { return block ? ((size_t *)block)[-1] : 0; }

void *realloc(void *block, size_t size) {
    void *larger = take(size, 16);
    if (block && larger) memcpy(larger, block, malloc_usable_size(block) < size ? malloc_usable_size(block) : size);
    return larger;
}

void free(void *block) {
    if (!block || !__atomic_load_n(&held, __ATOMIC_ACQUIRE)) return;
    if (is_holder) give_up("a call frees");
    __atomic_add_fetch(&blocked, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&held, __ATOMIC_ACQUIRE)) sched_yield();
}

// ---- What happens while it is held ----

static int file, other, direct, streams[REQUESTS][2], functions;
static char *blocks, bytes[REQUESTS];

static void function(union sigval value) {
    (void)value;
    __atomic_add_fetch(&functions, 1, __ATOMIC_RELEASE);
}

static void ends(struct aiocb *cb, ssize_t result) {
    const struct aiocb *list[] = {cb};
    struct timespec patience = {PATIENCE_S, 0};
    while (aio_error(cb) == EINPROGRESS)
        if (aio_suspend(list, 1, &patience) != 0 && errno != EINTR) give_up("a request does not end");
    CHECK_EQ(aio_error(cb), 0);
    CHECK_EQ(aio_return(cb), result);
}

static void writes_and_syncs(int fd) {
    static struct aiocb cbs[REQUESTS], sync_cb;
    for (int i = 0; i < REQUESTS; i++) {
        cbs[i] = request(fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    sync_cb = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync_cb), 0);
    for (int i = 0; i < REQUESTS; i++) ends(&cbs[i], BLOCK);
    ends(&sync_cb, 0);
    for (int i = 0; i < REQUESTS; i++) {
        CHECK_EQ(aio_read(&cbs[i]), 0);
        ends(&cbs[i], BLOCK);
    }
}

static void lists(void) {
    static struct aiocb cbs[REQUESTS], *list[REQUESTS];
    for (int i = 0; i < REQUESTS; i++) {
        cbs[i] = request(i % 2 ? file : other, blocks + i * BLOCK, BLOCK, i * BLOCK);
        cbs[i].aio_lio_opcode = i % 3 ? LIO_WRITE : LIO_READ;
        list[i] = &cbs[i];
    }
    CHECK_EQ(lio_listio(LIO_WAIT, list, REQUESTS, NULL), 0);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, REQUESTS, NULL), 0);
    for (int i = 0; i < REQUESTS; i++) ends(&cbs[i], BLOCK);
}

// Some are cancelled, some have a descriptor that is closed.
static void streams_wait(void) {
    static struct aiocb cbs[REQUESTS];
    for (int i = 0; i < REQUESTS; i++) {
        cbs[i] = request(streams[i][0], &bytes[i], 1, 0);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < REQUESTS; i++) {
        if (i % 4 == 1) CHECK_EQ(aio_cancel(cbs[i].aio_fildes, &cbs[i]), AIO_CANCELED);
        CHECK_EQ(write(streams[i][1], "x", 1), 1);
        if (i % 4 == 1) CHECK_EQ(read(streams[i][0], &bytes[i], 1), 1);
        else ends(&cbs[i], 1);
    }
}

static void announced(int fd) {
    struct aiocb cb = request(fd, blocks, BLOCK, 0);
    notify_by_signal(&cb, SIGUSR1, 7);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(take_signal(SIGUSR1).si_value.sival_int, 7);
    ends(&cb, BLOCK);
    for (int i = 0; i < 4; i++) {
        cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = function};
        CHECK_EQ(i % 2 ? aio_write(&cb) : aio_read(&cb), 0);
        ends(&cb, BLOCK); // its function waits
    }
}

// The first wait of a thread, in a program with many keys of its own (glibc takes memory for a value of a later one).
static int stage;

static void *wait_first(void *none) {
    struct aiocb cb = request(streams[0][0], &bytes[0], 1, 0);
    const struct aiocb *list[] = {&cb};
    struct timespec moment = {0, 1000000};
    while (__atomic_load_n(&stage, __ATOMIC_ACQUIRE) != 1) sched_yield();
    is_holder = true;
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_FAILS(aio_suspend(list, 1, &moment), EAGAIN);
    CHECK_EQ(aio_cancel(streams[0][0], &cb), AIO_CANCELED);
    is_holder = false;
    __atomic_store_n(&stage, 2, __ATOMIC_RELEASE);
    return none;
}

static void let_wait(void) {
    __atomic_store_n(&stage, 1, __ATOMIC_RELEASE);
    WAIT_FOR(__atomic_load_n(&stage, __ATOMIC_ACQUIRE) == 2);
}

static void everything(void) {
    writes_and_syncs(file);
    lists();
    streams_wait();
    announced(file);
    if (direct >= 0) {
        writes_and_syncs(direct);
        announced(direct);
    }
    int copy = dup(file);
    struct aiocb cb = request(copy, blocks, BLOCK, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(close(copy), 0);
    ends(&cb, BLOCK);
    counts();
}

static void hold_malloc(bool hold) {
    is_holder = hold;
    __atomic_store_n(&held, hold, __ATOMIC_RELEASE);
}

int main(void) {
    file = temp_file();
    other = temp_file();
    direct = open(temp_dir(), O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    blocks = aligned_alloc(BLOCK, REQUESTS * BLOCK);
    memset(blocks, 1, REQUESTS * BLOCK);
    put_pattern(other, 0, REQUESTS * BLOCK, 1);
    block_signal(SIGUSR1);
    for (int i = 0; i < REQUESTS; i++) CHECK_EQ(pipe(streams[i]), 0);

    pthread_key_t key;
    for (int i = 0; i < KEYS; i++) CHECK_EQ(pthread_key_create(&key, NULL), 0);

    for (int round = 0; round < ROUNDS; round++) {
        // The first time with one thread, then with as many as that has brought.
        struct aiocb cb = request(file, blocks, BLOCK, 0);
        CHECK_EQ(aio_write(&cb), 0);
        ends(&cb, BLOCK);
        pthread_t waiter = start_thread(wait_first, NULL);
        hold_malloc(true);
        let_wait();
        int before = __atomic_load_n(&functions, __ATOMIC_ACQUIRE);
        everything();
        hold_malloc(false);
        join_thread(waiter);
        WAIT_FOR(__atomic_load_n(&functions, __ATOMIC_ACQUIRE) == before + (direct >= 0 ? 8 : 4));
        everything();
        WAIT_FOR(__atomic_load_n(&functions, __ATOMIC_ACQUIRE) == before + (direct >= 0 ? 16 : 8));
    }
    return 0;
}
