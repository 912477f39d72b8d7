// Random programs on libaio's interface, and aio_write beside it, checked: threads and contexts; writes, reads, syncs, polls and
// nonsense in lists; through descriptors that are closed right after; iocbs on the heap and on pages, used again as soon as
// io_submit has returned; events taken by io_getevents or by raw system calls; cancellation, contexts destroyed and made anew, fork.
//
// What is checked: each accepted request has one event, in its own context, with its iocb, its data and the right result; when a sync
// has ended, all that was submitted on its file before has its event; the bytes in the files; no descriptor stays open.
//
//     libaio FIRST-SEED COUNT|SECONDSs
#include "model.h"
#ifdef SYSTEM_LIBAIO
#include <libaio.h>
#else
#include <aio_rs/libaio.h>
#endif
#include <stdatomic.h>
#include <sys/eventfd.h>

enum { MOST_THREADS = 3, CONTEXTS = 4, REQUESTS = 400, FILES = 3, BLOCK = 4096, MOST_BYTES = 16 * BLOCK, LIST = 6 };

enum kind { WRITE, READ, SYNC, POLL, NONSENSE, POSIX_WRITE };
static const char *const kind_names[] = {"write", "read", "sync", "poll", "nonsense", "aio_write"};

enum state { UNUSED_, SUBMITTING, SUBMITTED, ENDED, REFUSED, CANCELLED, DESTROYED };

// Where the iocb lies, which decides what the program does with it afterwards.
enum place { OWN, REUSED, HEAP, PAGE, PLACES };

struct request {
    _Atomic enum state state;
    enum kind kind;
    int number, file, context, eventfd, size;
    enum place place;
    struct iocb own, *iocb;
    struct aiocb cb;
    unsigned char *buffer;
    atomic_int events;
    struct request **covered;
    int covers;
};

struct context {
    io_context_t number;
    pthread_rwlock_t lock; // for writing: it is destroyed and made anew
};

static struct request requests[REQUESTS];
static atomic_int request_count;
static struct context contexts[CONTEXTS];
static int files[FILES], direct[FILES], threads;
static pthread_mutex_t reaping = PTHREAD_MUTEX_INITIALIZER;
static _Atomic unsigned long syncs_checked;

static int count(void) {
    int made = request_count;
    return made < REQUESTS ? made : REQUESTS;
}

static const char *describe(const struct request *r) {
    static _Thread_local char texts[2][100];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 2];
    snprintf(text, sizeof texts[0], "%s %d (context %d, file %d, place %d)", kind_names[r->kind], r->number, r->context, r->file, r->place);
    return text;
}

static bool is_unfinished(const struct request *r) {
    if (r->kind == POSIX_WRITE) return r->state == SUBMITTED && aio_error(&r->cb) == EINPROGRESS;
    return r->state == SUBMITTED || r->state == SUBMITTING;
}

// ---- events ----

static void check_event(const struct io_event *event, int context, bool by_library) {
    uintptr_t data = (uintptr_t)event->data;
    if (data < 1 || data > REQUESTS) BAD("an event of nobody's: data %#lx", (unsigned long)data);
    struct request *r = &requests[data - 1];
    long result = (long)event->res;
    if (r->events++) BAD("%s: a second event", describe(r));
    if (r->context != context) BAD("%s: its event comes from context %d", describe(r), context);
    // Who takes events past the library may find a copy of the iocb there.
    if (by_library && event->obj != r->iocb) BAD("%s: obj is %p, not %p", describe(r), (void *)event->obj, (void *)r->iocb);
    if ((r->kind == WRITE || r->kind == READ) && result != r->size) BAD("%s: %ld", describe(r), result);
    if (r->kind == SYNC && result != 0) BAD("%s: %ld", describe(r), result);
    if (r->state != SUBMITTED && r->state != SUBMITTING) BAD("%s: an event in state %d", describe(r), r->state);
    r->state = ENDED;
}

// How many there were. Under `reaping`.
static int take(int context, bool by_library, struct request **syncs, int *sync_count) {
    struct io_event events[32];
    struct timespec now = {0, 0};
    long most = 1 + below(31);
    long taken = by_library ? io_getevents(contexts[context].number, 0, most, events, &now)
                            : syscall(SYS_io_getevents, contexts[context].number, 0L, most, events, &now);
    if (taken < 0) BAD("io_getevents%s: %ld", by_library ? "" : " (raw)", taken);
    for (long i = 0; i < taken; i++) {
        check_event(&events[i], context, by_library);
        struct request *r = &requests[(uintptr_t)events[i].data - 1];
        if (r->kind == SYNC) syncs[(*sync_count)++] = r;
    }
    return (int)taken;
}

static void check_covered(const struct request *sync) {
    for (int i = 0; i < sync->covers; i++)
        if (is_unfinished(sync->covered[i])) BAD("%s has ended before %s", describe(sync), describe(sync->covered[i]));
    syncs_checked++;
}

// Takes events of a context. When there is a sync among them, what it covers must have its event in some ring by now.
static void reap(int context) {
    static struct request *syncs[REQUESTS];
    int sync_count = 0;
    bool all = true;
    pthread_rwlock_rdlock(&contexts[context].lock);
    pthread_mutex_lock(&reaping);
    take(context, !one_in(3), syncs, &sync_count);
    int own = sync_count;
    for (int c = 0; own && c < CONTEXTS; c++) {
        if (c != context && pthread_rwlock_tryrdlock(&contexts[c].lock)) {
            all = false;
            continue;
        }
        while (take(c, true, syncs, &sync_count)) {}
        if (c != context) pthread_rwlock_unlock(&contexts[c].lock);
    }
    for (int i = 0; all && i < own; i++) check_covered(syncs[i]);
    pthread_mutex_unlock(&reaping);
    pthread_rwlock_unlock(&contexts[context].lock);
}

// ---- requests ----

static struct request *new_request(enum kind kind) {
    int number = request_count++;
    if (number >= REQUESTS) return NULL;
    struct request *r = &requests[number];
    *r = (struct request){.buffer = r->buffer, .covered = r->covered, .kind = kind, .number = number, .eventfd = -1, .context = -1};
    r->size = one_in(3) ? MOST_BYTES : BLOCK;
    return r;
}

static struct iocb *place_iocb(struct request *r) {
    r->place = below(PLACES);
    if (r->place == OWN || r->place == REUSED) return &r->own;
    if (r->place == HEAP) return malloc(sizeof(struct iocb));
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    return (struct iocb *)(page + 64 * below(60));
}

// io_submit has copied it: the program prepares its next request there, or fills it with anything.
static void use_again(struct request *r) {
    if (r->place == REUSED && one_in(3)) memset(r->iocb, 0xdd, sizeof *r->iocb);
    if (r->place == REUSED) io_prep_pwrite(r->iocb, files[below(FILES)], r->buffer, 1, 0);
    if (r->place == HEAP && one_in(2)) memset(r->iocb, 0xdd, sizeof *r->iocb);
}

static void set_nonsense(struct request *r, int fd) {
    struct iocb *iocb = r->iocb;
    memset(iocb, 0, sizeof *iocb);
    switch (below(6)) {
    case 0: io_prep_pwrite(iocb, -1, r->buffer, BLOCK, 0); break;
    case 1: io_prep_pwrite(iocb, fd, (void *)64, BLOCK, 3LL << 40); break;
    case 2: iocb->aio_fildes = fd, iocb->aio_lio_opcode = 77; break;
    case 3: memset(iocb, (int)below(256), sizeof *iocb); break;
    case 4: io_prep_fsync(iocb, -5); break;
    default: io_prep_fsync(iocb, fd), iocb->u.c.nbytes = 5; break;
    }
}

static void prepare(struct request *r, int file, int fd) {
    r->iocb = place_iocb(r);
    r->file = r->kind == POLL || r->kind == NONSENSE ? -1 : file;
    long long offset = (long long)r->number * MOST_BYTES;
    switch (r->kind) {
    case WRITE:
        pattern(r->buffer, (size_t)r->size, (unsigned)r->number);
        io_prep_pwrite(r->iocb, fd, r->buffer, (size_t)r->size, offset);
        break;
    case READ: io_prep_pread(r->iocb, fd, r->buffer, (size_t)r->size, offset); break;
    case SYNC: one_in(2) ? io_prep_fsync(r->iocb, fd) : io_prep_fdsync(r->iocb, fd); break;
    case POLL: io_prep_poll(r->iocb, r->eventfd = eventfd(1, EFD_CLOEXEC), POLLIN); break;
    default: set_nonsense(r, fd);
    }
    r->iocb->data = (void *)((uintptr_t)r->number + 1);
    if (r->kind == WRITE && one_in(6)) io_set_eventfd(r->iocb, r->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static void note_covered(struct request *r) {
    static _Thread_local struct request *found[REQUESTS];
    int covers = 0;
    for (struct request *other = requests; other < requests + count(); other++)
        if (other->state == SUBMITTED && other->file == r->file && other->kind != SYNC) found[covers++] = other;
    r->covered = realloc(r->covered, ((size_t)covers + 1) * sizeof *found);
    memcpy(r->covered, found, (size_t)covers * sizeof *found);
    r->covers = covers;
}

// One list, entry after entry, as far as they are taken. Under the context's lock for reading.
static void submit_list(int context, struct request **list, int length) {
    struct iocb *iocbs[LIST];
    for (int i = 0; i < length; i++) iocbs[i] = list[i]->iocb;
    for (int done = 0; done < length;) {
        int taken = io_submit(contexts[context].number, length - done, iocbs + done);
        for (int i = done; i < done + taken; i++) {
            enum state submitting = SUBMITTING;
            atomic_compare_exchange_strong(&list[i]->state, &submitting, SUBMITTED);
            use_again(list[i]);
        }
        if (taken > 0) {
            done += taken;
        } else if (taken == -EAGAIN && !one_in(3)) {
            // Full. Another thread may destroy it meanwhile.
            pthread_rwlock_unlock(&contexts[context].lock);
            reap(context);
            nap_us(100);
            pthread_rwlock_rdlock(&contexts[context].lock);
        } else {
            struct request *r = list[done++];
            r->state = REFUSED;
            bool may_be_refused = taken == -EAGAIN || r->kind == NONSENSE || r->kind == POLL;
            if (!may_be_refused) BAD("io_submit of %s: %s", describe(r), check_errno(-taken));
        }
    }
}

static void close_used(int fd) {
    if (fd < 0) return;
    if (one_in(2)) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, fd);
        close(null);
    }
    close(fd);
}

static void submit_some(void) {
    int context = (int)below(CONTEXTS), usual_file = (int)below(FILES), length = 0, extra[LIST];
    struct request *list[LIST];
    pthread_rwlock_rdlock(&contexts[context].lock);
    for (int wanted = 1 + (int)below(LIST); length < wanted; length++) {
        unsigned choice = below(100);
        enum kind kind = choice < 55 ? WRITE : choice < 65 ? READ : choice < 92 ? SYNC : choice < 97 ? POLL : NONSENSE;
        struct request *r = list[length] = new_request(kind);
        if (!r) break;
        int file = one_in(4) ? (int)below(FILES) : usual_file, fd = one_in(2) ? files[file] : direct[file];
        extra[length] = one_in(3) ? dup(fd) : -1;
        r->context = context;
        prepare(r, file, extra[length] >= 0 ? extra[length] : fd);
        r->state = SUBMITTING;
        if (kind == SYNC) note_covered(r);
    }
    submit_list(context, list, length);
    for (int i = 0; i < length; i++) close_used(extra[i]);
    pthread_rwlock_unlock(&contexts[context].lock);
}

static void submit_posix(void) {
    struct request *r = new_request(POSIX_WRITE);
    if (!r) return;
    r->file = (int)below(FILES);
    pattern(r->buffer, (size_t)r->size, (unsigned)r->number);
    r->cb = (struct aiocb){.aio_fildes = one_in(2) ? files[r->file] : direct[r->file],
                           .aio_buf = r->buffer,
                           .aio_nbytes = (size_t)r->size,
                           .aio_offset = (off_t)r->number * MOST_BYTES,
                           .aio_sigevent.sigev_notify = SIGEV_NONE};
    if (aio_write(&r->cb)) BAD("aio_write: %s", check_errno(errno));
    r->state = SUBMITTED;
}

static void cancel(void) {
    struct request *r = count() ? &requests[below((unsigned)count())] : NULL;
    // The iocb must still be the request's.
    if (!r || r->kind != SYNC || r->state != SUBMITTED || r->place != OWN) return;
    struct context *context = &contexts[r->context];
    pthread_rwlock_rdlock(&context->lock);
    pthread_mutex_lock(&reaping);
    struct io_event event = {0};
    if (r->state == SUBMITTED && io_cancel(context->number, r->iocb, &event) == 0) {
        if (r->events++) BAD("%s: cancelled after its event", describe(r));
        if (event.data != (void *)((uintptr_t)r->number + 1) || event.obj != r->iocb || (long)event.res != -ECANCELED)
            BAD("%s: io_cancel's event says %ld", describe(r), (long)event.res);
        r->state = CANCELLED;
    }
    pthread_mutex_unlock(&reaping);
    pthread_rwlock_unlock(&context->lock);
}

static void set_up(struct context *context, int most) {
    context->number = NULL;
    double deadline = now_s() + PATIENCE_S;
    int failed;
    // The system's limit on requests is shared with whoever else is there.
    while ((failed = io_setup(most, &context->number)) == -EAGAIN && now_s() < deadline) nap_us(5000);
    if (failed) BAD("io_setup: %s", check_errno(-failed));
}

static void destroy(void) {
    int c = (int)below(CONTEXTS);
    pthread_rwlock_wrlock(&contexts[c].lock);
    pthread_mutex_lock(&reaping);
    int failed = one_in(4) ? io_queue_release(contexts[c].number) : io_destroy(contexts[c].number);
    if (failed) BAD("io_destroy: %s", check_errno(-failed));
    for (struct request *r = requests; r < requests + count(); r++)
        if (r->context == c && is_unfinished(r)) r->state = DESTROYED;
    set_up(&contexts[c], 1 + (int)below(100));
    pthread_mutex_unlock(&reaping);
    pthread_rwlock_unlock(&contexts[c].lock);
}

static void child(void) {
    struct iocb write, sync, *list[] = {&write, &sync};
    static char bytes[512];
    struct io_event events[2];
    io_context_t context = NULL;
    int fd = memfd_create("child", 0);
    if (io_submit(contexts[0].number, 1, list) != -EINVAL) _exit(20);
    if (io_setup(8, &context)) _exit(21);
    io_prep_pwrite(&write, fd, bytes, sizeof bytes, 0);
    io_prep_fsync(&sync, fd);
    if (io_submit(context, 2, list) != 2 || io_getevents(context, 2, 2, events, NULL) != 2) _exit(22);
    _exit(io_destroy(context) ? 23 : 0);
}

static void fork_one(void) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE_S);
        child();
    }
    int status = 0;
    if (pid > 0 && (waitpid(pid, &status, 0) != pid || status)) BAD("a child of fork ended with status %#x", status);
}

static void *run_thread(void *argument) {
    start_random((unsigned)(uintptr_t)argument);
    for (int steps = 5 + (int)below(30); steps > 0; steps--) {
        unsigned choice = below(100);
        if (choice < 50)
            submit_some();
        else if (choice < 60)
            submit_posix();
        else if (choice < 80)
            reap((int)below(CONTEXTS));
        else if (choice < 88)
            cancel();
        else if (choice < 91)
            destroy();
        else if (choice < 92)
            fork_one();
        else
            nap_us(below(1500));
    }
    return NULL;
}

// ---- the end of a schedule ----

static void wait_until_ended(void) {
    double deadline = now_s() + PATIENCE_S;
    for (struct request *r = requests; r < requests + count(); r++)
        while (is_unfinished(r)) {
            if (now_s() > deadline) BAD("%s never ends", describe(r));
            for (int c = 0; c < CONTEXTS; c++) reap(c);
            nap_us(200);
        }
}

static void check_result(struct request *r) {
    uint64_t told = 0;
    if (r->kind == POSIX_WRITE && aio_error(&r->cb)) BAD("%s: %s", describe(r), check_errno(aio_error(&r->cb)));
    if (r->kind == WRITE && r->state == ENDED && r->eventfd >= 0 && (read(r->eventfd, &told, sizeof told) != sizeof told || told != 1))
        BAD("%s: its eventfd says %lu", describe(r), (unsigned long)told);
    bool wrote = (r->kind == WRITE && r->state == ENDED) || r->kind == POSIX_WRITE;
    static unsigned char found[MOST_BYTES] __attribute__((aligned(BLOCK)));
    size_t size = (size_t)r->size;
    if (!wrote) return;
    CHECK_EQ(pread(direct[r->file], found, size, (off_t)r->number * MOST_BYTES), size);
    if (memcmp(found, r->buffer, size)) BAD("%s: other bytes in the file", describe(r));
}

static void free_request(struct request *r) {
    if (r->eventfd >= 0) close(r->eventfd);
    if (r->iocb && r->place == HEAP) free(r->iocb);
    if (r->iocb && r->place == PAGE) munmap((void *)((uintptr_t)r->iocb & ~(uintptr_t)4095), 4096);
}

// The files keep their blocks from one schedule to the next: what overwrites them is under way when io_submit returns.
static void open_file(int f) {
    char name[20];
    snprintf(name, sizeof name, "file-%d", f);
    files[f] = temp_open(name, O_RDWR);
    struct stat found;
    CHECK_EQ(fstat(files[f], &found), 0);
    static const char zeroes[MOST_BYTES];
    for (; found.st_size < (off_t)REQUESTS * MOST_BYTES; found.st_size += MOST_BYTES)
        CHECK_EQ(pwrite(files[f], zeroes, MOST_BYTES, found.st_size), MOST_BYTES);
    char *path = temp_path(name);
    direct[f] = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    free(path);
    if (direct[f] < 0) direct[f] = temp_open(name, O_RDWR);
}

static void schedule(void) {
    start_random(MOST_THREADS);
    for (int i = 0; i < REQUESTS; i++) requests[i].state = UNUSED_;
    request_count = 0;
    threads = 1 + (int)below(MOST_THREADS);
    for (int f = 0; f < FILES; f++) open_file(f);
    for (int c = 0; c < CONTEXTS; c++) set_up(&contexts[c], 1 + (int)below(64));
    pthread_t ids[MOST_THREADS];
    for (int i = 0; i < threads; i++) CHECK_EQ(pthread_create(&ids[i], NULL, run_thread, (void *)(uintptr_t)i), 0);
    for (int i = 0; i < threads; i++) join(ids[i], "one of the schedule's");
    wait_until_ended();
    for (struct request *r = requests; r < requests + count(); r++) check_result(r);
    for (int c = 0; c < CONTEXTS; c++) CHECK_EQ(io_destroy(contexts[c].number), 0);
    for (int f = 0; f < FILES; f++) close(files[f]), close(direct[f]);
    for (struct request *r = requests; r < requests + count(); r++) free_request(r);
}

int main(int argc, char **argv) {
    for (int c = 0; c < CONTEXTS; c++) pthread_rwlock_init(&contexts[c].lock, NULL);
    for (int i = 0; i < REQUESTS; i++) CHECK_EQ(posix_memalign((void **)&requests[i].buffer, BLOCK, MOST_BYTES), 0);
    run_schedules(argc, argv, schedule);
    printf("%lu syncs compared with what they cover\n", syncs_checked);
    return 0;
}
