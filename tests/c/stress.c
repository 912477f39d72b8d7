// Threads x descriptors x kinds x cancel x fork x signals, at random from a fixed seed: every request ends exactly once
// with the right result, and the data is that of a model. AIO_RS_SEED=N or an argument sets the seed; a failure shows it.
// glibc: skip: it fails in too many ways for one line
// timeout: 180
// takes: 5
#include "check.h"

enum { MOST_THREADS = 8, SLOTS = 24, BLOCK = 256, BLOCKS = 64, PIPE_CHUNK = 16 };

struct row {
    const char *name;
    int threads, descriptors, rounds;
    bool shared, cancel, fork, signals, streams, lists, closing;
};
static const struct row table[] = {
    //                      thr des rounds shared cancel fork   signal stream lists  closing
    {"one by one",           1,  1, 4000, false, false, false, false, false, false, false},
    {"lists",                2,  2, 4000, false, false, false, false, false, true,  false},
    {"many threads",         8,  4, 1500, false, false, false, false, false, true,  false},
    {"shared files",         8,  2, 1500, true,  false, false, false, false, true,  false},
    {"cancel",               4,  3, 3000, false, true,  false, false, false, true,  false},
    {"cancel, shared",       4,  2, 3000, true,  true,  false, false, false, true,  false},
    {"streams",              4,  2, 2500, false, false, false, false, true,  false, false},
    {"streams, cancel",      4,  2, 2500, false, true,  false, false, true,  true,  false},
    {"signals",              4,  2, 2000, false, true,  false, true,  true,  true,  false},
    {"close",                4,  3, 2000, false, false, false, false, false, true,  true},
    {"close, signals",       4,  3, 2000, true,  false, false, true,  true,  true,  true},
    {"fork",                 3,  2, 1500, false, true,  true,  false, true,  true,  false},
    {"everything",           6,  3, 2000, true,  true,  true,  true,  true,  true,  true},
};

static unsigned seed;
static const struct row *row;
static volatile bool over;

#define BAD(...)                                                                                                       \
    do {                                                                                                               \
        char what_[400];                                                                                               \
        snprintf(what_, sizeof what_, __VA_ARGS__);                                                                    \
        FAIL("seed %u, row `%s`: %s", seed, row->name, what_);                                                         \
    } while (0)

enum kind { IDLE, READ, WRITE, SYNC, STREAM_WRITE, STREAM_READ };

struct slot {
    struct aiocb cb;
    unsigned char buffer[BLOCK], expected[BLOCK];
    enum kind kind;
    unsigned file, block, version; // of a write
    bool may_differ;               // a write of the block was cancelled before this read
};

// A thread's own blocks of a file: nobody else writes them, so it knows what they hold.
struct area {
    unsigned versions[BLOCKS]; // 0: never written; as the requests in flight will leave it
    bool unsure[BLOCKS];       // a write was cancelled: what is there is known again after the next write
};

struct worker {
    unsigned self, random;
    int fd[4], pipe_end[2];
    uint64_t submitted, ended, cancelled, expected_notifications;
    unsigned stream_sent, stream_sending, stream_got;
    struct area areas[4];
    struct slot slots[SLOTS];
    struct aiocb *list[SLOTS];
    int listed;
};

static struct worker workers[MOST_THREADS];
static char *paths[MOST_THREADS][4];
static volatile uint64_t signals_seen, callbacks_seen;

static unsigned below(struct worker *w, unsigned n) {
    w->random = w->random * 1664525 + 1013904223;
    return (w->random >> 9) % n;
}

static unsigned pattern_of(const struct worker *w, unsigned file, unsigned block, unsigned version) {
    return version * 4099 + block * 67 + file * 13 + w->self * 7 + 1;
}

static void make(const struct worker *w, unsigned char *to, unsigned file, unsigned block, unsigned version) {
    if (version)
        fill(to, BLOCK, pattern_of(w, file, block, version));
    else
        memset(to, 0, BLOCK);
}

static off_t offset_of(const struct worker *w, unsigned block) {
    return (off_t)((row->shared ? w->self * BLOCKS : 0) + block) * BLOCK;
}

static void callback(union sigval value) {
    (void)value;
    __atomic_add_fetch(&callbacks_seen, 1, __ATOMIC_RELAXED);
}

static void handler(int number) {
    (void)number;
    __atomic_add_fetch(&signals_seen, 1, __ATOMIC_RELAXED);
}

static void end_slot(struct worker *w, struct slot *s) {
    int error = aio_error(&s->cb);
    ssize_t result = aio_return(&s->cb);
    w->ended++;
    ssize_t good = s->kind == SYNC ? 0 : s->kind == STREAM_WRITE || s->kind == STREAM_READ ? PIPE_CHUNK : BLOCK;
    if (error == ECANCELED) {
        if (!row->cancel) BAD("kind %d is cancelled though nobody cancels", s->kind);
        if (s->kind == STREAM_WRITE) w->stream_sent--; // it had not started: nothing is out
        if (result != -1) BAD("cancelled, and returns %zd", result);
        if (s->kind == WRITE) w->areas[s->file].unsure[s->block] = true;
        w->cancelled++;
    } else if (error) {
        BAD("kind %d ends with %s", s->kind, strerrorname_np(error));
    } else if (result != good) {
        BAD("kind %d returns %zd of %zd", s->kind, result, good);
    } else if (s->kind == READ && !s->may_differ && memcmp(s->buffer, s->expected, BLOCK) != 0) {
        BAD("file %u block %u: other data than version %u", s->file, s->block, s->version);
    } else if (s->kind == STREAM_READ) {
        if (!holds(s->buffer, PIPE_CHUNK, w->stream_got)) BAD("stream: other data than chunk %u", w->stream_got);
        w->stream_got++;
    }
    s->kind = IDLE;
}

// One request of a block at a time where requests are cancelled (which of two was it?) or descriptors are closed (the
// order is that of a descriptor, and the next request may be of another).
static bool block_in_use(const struct worker *w, unsigned file, unsigned block) {
    for (int i = 0; i < SLOTS; i++) {
        const struct slot *s = &w->slots[i];
        if ((s->kind == READ || s->kind == WRITE) && s->file == file && s->block == block) return true;
    }
    return false;
}

static bool in_flight(const struct worker *w, enum kind kind) {
    for (int i = 0; i < SLOTS; i++)
        if (w->slots[i].kind == kind) return true;
    return false;
}

static void submit_list(struct worker *w) {
    if (!w->listed) return;
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    int got = lio_listio(below(w, 4) ? LIO_NOWAIT : LIO_WAIT, w->list, w->listed, &none);
    if (got && errno != EINTR && errno != EIO) BAD("lio_listio: %s", strerrorname_np(errno));
    w->listed = 0;
}

static void start(struct worker *w, struct slot *s) {
    unsigned file = below(w, (unsigned)row->descriptors), block = below(w, BLOCKS), what = below(w, 100);
    struct area *a = &w->areas[file];
    s->file = file;
    s->block = block;
    s->may_differ = false;
    if (row->streams && what < 20) {
        // The writer is one ahead of the reader at most, so that both always end.
        if (!in_flight(w, STREAM_WRITE) && w->stream_sent < w->stream_got + 64) {
            s->kind = STREAM_WRITE;
            fill(s->buffer, PIPE_CHUNK, w->stream_sent++); // the only one in flight
            s->cb = request(w->pipe_end[1], s->buffer, PIPE_CHUNK, 0);
        } else if (!in_flight(w, STREAM_READ)) {
            s->kind = STREAM_READ;
            s->cb = request(w->pipe_end[0], s->buffer, PIPE_CHUNK, 0);
        } else {
            return;
        }
    } else if (what < 26) {
        s->kind = SYNC;
        s->cb = request(w->fd[file], NULL, 0, 0);
    } else {
        if ((row->cancel || row->closing) && block_in_use(w, file, block)) return;
        s->kind = what < 65 ? WRITE : READ;
        s->cb = request(w->fd[file], s->buffer, BLOCK, offset_of(w, block));
        if (s->kind == WRITE) {
            s->version = ++a->versions[block];
            a->unsure[block] = false;
            make(w, s->buffer, file, block, s->version);
        } else {
            s->version = a->versions[block];
            s->may_differ = a->unsure[block];
            memset(s->buffer, 0, BLOCK);
            make(w, s->expected, file, block, s->version);
        }
        s->cb.aio_reqprio = (int)below(w, 20);
    }
    w->submitted++;
    if (row->signals) {
        unsigned how = below(w, 12);
        if (how == 0) {
            s->cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
            w->expected_notifications++;
        } else if (how == 1) {
            s->cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = callback};
            w->expected_notifications++;
        }
    }
    if (row->lists && s->kind != SYNC && s->kind != STREAM_WRITE && s->kind != STREAM_READ && below(w, 3) == 0) {
        s->cb.aio_lio_opcode = s->kind == WRITE ? LIO_WRITE : LIO_READ;
        w->list[w->listed++] = &s->cb;
        submit_list(w);
        return;
    }
    int got = s->kind == SYNC                               ? aio_fsync(below(w, 2) ? O_SYNC : O_DSYNC, &s->cb)
              : s->kind == WRITE || s->kind == STREAM_WRITE ? aio_write(&s->cb)
                                                            : aio_read(&s->cb);
    if (got) BAD("submission of kind %d: %s", s->kind, strerrorname_np(errno));
}

// While stream reads and writes can wait for each other, drain what has to end from both sides.
static void drain(struct worker *w) {
    double deadline = now_s() + PATIENCE_S;
    for (;;) {
        bool open = false;
        for (int i = 0; i < SLOTS; i++) {
            struct slot *s = &w->slots[i];
            if (s->kind == IDLE) continue;
            if (aio_error(&s->cb) != EINPROGRESS) {
                end_slot(w, s);
                continue;
            }
            open = true;
            if (s->kind == STREAM_READ && !in_flight(w, STREAM_WRITE) && w->stream_sent == w->stream_got) {
                unsigned char chunk[PIPE_CHUNK];
                fill(chunk, PIPE_CHUNK, w->stream_sent++);
                if (write(w->pipe_end[1], chunk, PIPE_CHUNK) != PIPE_CHUNK) BAD("write to the pipe");
            }
        }
        if (!open) return;
        if (now_s() > deadline) BAD("thread %u: requests do not end", w->self);
        sched_yield();
    }
}

// The requests in flight belong to the old descriptor; the number may go to any other thread's next file.
static void reopen(struct worker *w, unsigned file) {
    if (close(w->fd[file])) BAD("close: %s", strerrorname_np(errno));
    w->fd[file] = open(paths[row->shared ? 0 : w->self][file], O_RDWR | O_CLOEXEC);
    if (w->fd[file] < 0) BAD("open: %s", strerrorname_np(errno));
}

static void one_child(struct worker *w) {
    unsigned char data[BLOCK];
    fill(data, BLOCK, w->random);
    pid_t pid = fork();
    if (pid < 0) BAD("fork: %s", strerrorname_np(errno));
    if (pid == 0) {
        alarm(PATIENCE_S);
        off_t at = (off_t)(MOST_THREADS * BLOCKS + (int)w->self) * BLOCK;
        struct aiocb cb = request(w->fd[0], data, BLOCK, at);
        if (aio_write(&cb)) _exit(11);
        const struct aiocb *list[1] = {&cb};
        while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
        if (aio_error(&cb) || aio_return(&cb) != BLOCK) _exit(12);
        if (aio_fsync(O_DSYNC, &cb)) _exit(13);
        while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
        _exit(aio_error(&cb) ? 14 : 0);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) BAD("waitpid");
    if (status) BAD("child: status %x", status);
    unsigned char back[BLOCK];
    if (pread(w->fd[0], back, BLOCK, (off_t)(MOST_THREADS * BLOCKS + (int)w->self) * BLOCK) != BLOCK ||
        memcmp(data, back, BLOCK) != 0)
        BAD("the child's write is missing");
}

static void check_areas(struct worker *w) {
    for (unsigned file = 0; file < (unsigned)row->descriptors; file++)
        for (unsigned block = 0; block < BLOCKS; block++) {
            unsigned char back[BLOCK] = {0}, expected[BLOCK];
            if (w->areas[file].unsure[block]) continue;
            if (pread(w->fd[file], back, BLOCK, offset_of(w, block)) < 0) BAD("pread");
            make(w, expected, file, block, w->areas[file].versions[block]);
            if (memcmp(back, expected, BLOCK) != 0)
                BAD("at the end, file %u block %u is not version %u", file, block, w->areas[file].versions[block]);
        }
}

static void *work(void *argument) {
    struct worker *w = argument;
    // QEMU's emulation forks with a lock of its own that a thread which starts another may hold: then no thread can be
    // started in the child.
    bool forks = row->fork && !emulated();
    for (int round = 0; round < row->rounds; round++) {
        struct slot *s = &w->slots[below(w, SLOTS)];
        if (s->kind == IDLE) {
            start(w, s);
            continue;
        }
        const struct aiocb *list[3] = {&s->cb, NULL, &w->slots[below(w, SLOTS)].cb};
        struct timespec little = {0, 100000};
        if (aio_error(&s->cb) != EINPROGRESS) {
            end_slot(w, s);
        } else if (row->cancel && below(w, 2)) {
            int got = below(w, 20) ? aio_cancel(s->cb.aio_fildes, &s->cb)
                                   : aio_cancel(row->shared ? w->pipe_end[0] : s->cb.aio_fildes, NULL);
            if (got < 0 && !(row->closing && errno == EBADF)) BAD("aio_cancel: %s", strerrorname_np(errno));
        } else if (aio_suspend(list, list[2] ? 3 : 1, &little) && errno != EAGAIN && errno != EINTR) {
            BAD("aio_suspend: %s", strerrorname_np(errno));
        }
        if (row->closing && below(w, 40) == 0) reopen(w, below(w, (unsigned)row->descriptors));
        if (forks && below(w, 400) == 0) one_child(w);
    }
    drain(w);
    if (w->submitted != w->ended) BAD("%llu of %llu requests ended", (unsigned long long)w->ended, (unsigned long long)w->submitted);
    check_areas(w);
    return NULL;
}

static void run(void) {
    memset(workers, 0, sizeof workers);
    signals_seen = callbacks_seen = 0;
    for (unsigned i = 0; i < (unsigned)row->threads; i++) {
        struct worker *w = &workers[i];
        w->self = i;
        w->random = seed * 2654435761u + i;
        for (unsigned file = 0; file < (unsigned)row->descriptors; file++) {
            char name[64];
            snprintf(name, sizeof name, "stress-%u-%u", i, file);
            if (!paths[i][file]) paths[i][file] = temp_path(name);
            w->fd[file] = open(paths[row->shared ? 0 : i][file], O_RDWR | O_CREAT | O_CLOEXEC | (i && row->shared ? 0 : O_TRUNC), 0600);
            if (w->fd[file] < 0) BAD("open: %s", strerrorname_np(errno));
            if (ftruncate(w->fd[file], (off_t)(MOST_THREADS + 1) * BLOCKS * BLOCK)) BAD("ftruncate");
        }
        if (pipe2(w->pipe_end, O_CLOEXEC)) BAD("pipe");
    }
    pthread_t threads[MOST_THREADS];
    for (int i = 0; i < row->threads; i++) threads[i] = start_thread(work, &workers[i]);
    uint64_t requests = 0, cancelled = 0, notifications = 0;
    for (int i = 0; i < row->threads; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        requests += workers[i].ended;
        cancelled += workers[i].cancelled;
        notifications += workers[i].expected_notifications;
        for (int file = 0; file < row->descriptors; file++) close(workers[i].fd[file]);
        close(workers[i].pipe_end[0]);
        close(workers[i].pipe_end[1]);
    }
    double deadline = now_s() + PATIENCE_S;
    while (signals_seen + callbacks_seen < notifications) {
        if (now_s() > deadline) BAD("%llu of %llu notifications", (unsigned long long)(signals_seen + callbacks_seen), (unsigned long long)notifications);
        pause_ms(1);
    }
    if (signals_seen + callbacks_seen > notifications) BAD("too many notifications");
    dprintf(1, "%s: %llu requests, %llu cancelled, %llu notifications\n", row->name, (unsigned long long)requests,
            (unsigned long long)cancelled, (unsigned long long)notifications);
}

int main(int argc, char **argv) {
    const char *wish = argc > 1 ? argv[1] : getenv("AIO_RS_SEED");
    seed = wish ? (unsigned)strtoul(wish, NULL, 0) : 20240229;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    CHECK_EQ(sigaction(SIGRTMIN + 1, &action, NULL), 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        row = &table[i];
        run();
    }
    return 0;
}
