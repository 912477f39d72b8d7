// An iocb or a list whose memory is gone since it was used last gives EFAULT, however it went; what stands before it in a list is
// accepted.
// interface: libaio
#include "rings.h"

enum { WAYS_TO_GO = 6 };

static int fd;
static char *data;

static char *pages(int file) {
    char *made = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, file, 0);
    CHECK(made != MAP_FAILED);
    return made;
}

// Takes the second page away.
static void take_away(int way, char *second, int file) {
    switch (way) {
    case 0: CHECK_EQ(munmap(second, BLOCK), 0); break;
    case 1: CHECK_EQ(syscall(SYS_munmap, second, BLOCK), 0); break;
    case 2: CHECK_EQ(mprotect(second, BLOCK, PROT_NONE), 0); break;
    case 3: CHECK(mmap(second, BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == second); break;
    case 4: CHECK(mremap(second, BLOCK, BLOCK, MREMAP_MAYMOVE | MREMAP_FIXED, buffer(BLOCK)) != MAP_FAILED); break;
    default: CHECK_EQ(ftruncate(file, BLOCK), 0);
    }
}

static void iocbs(io_context_t made, int way) {
    int file = memfd_create("iocbs", MFD_CLOEXEC);
    CHECK_EQ(ftruncate(file, 2 * BLOCK), 0);
    char *second = pages(way == 5 ? file : -1) + BLOCK;
    struct io_event events[2];
    // All of it there, and half of it.
    struct iocb good, *blocks[] = {(struct iocb *)second, (struct iocb *)(second - 32)};
    io_prep_pread(&good, fd, data, 512, 0);
    for (int i = 0; i < 2; i++) {
        struct iocb *list[] = {&good, blocks[i]};
        io_prep_pread(blocks[i], fd, data, 512, 0);
        submit(made, list, 2);
        reap_all(made, BY_CALL, events, 2);
    }
    take_away(way, second, file);
    for (int i = 0; i < 2; i++) {
        struct iocb *list[] = {&good, blocks[i], &good};
        CHECK_EQ(io_submit(made, 1, &blocks[i]), -EFAULT);
        CHECK_EQ(io_submit(made, 3, list), 1);
        reap_all(made, BY_CALL, events, 1);
        CHECK(events[0].obj == &good && events[0].res == 512);
    }
    CHECK_EQ(close(file), 0);
}

static void lists(io_context_t made, int way) {
    int file = memfd_create("list", MFD_CLOEXEC);
    CHECK_EQ(ftruncate(file, 2 * BLOCK), 0);
    char *second = pages(way == 5 ? file : -1) + BLOCK;
    struct io_event events[2];
    struct iocb good, **list = (struct iocb **)second - 1;
    io_prep_pread(&good, fd, data, 512, 0);
    list[0] = list[1] = &good;
    submit(made, list, 2);
    reap_all(made, BY_CALL, events, 2);
    take_away(way, second, file);
    CHECK_EQ(io_submit(made, 1, list + 1), -EFAULT);
    CHECK_EQ(io_submit(made, 2, list), 1);
    reap_all(made, BY_CALL, events, 1);
    CHECK_EQ(close(file), 0);
}

// The stack of a thread that is no more.
static struct iocb *of_thread;

static void *submits(void *made) {
    struct iocb block;
    struct io_event event;
    io_prep_pread(&block, fd, data, 512, 0);
    of_thread = &block;
    submit(made, &of_thread, 1);
    reap_all(made, BY_CALL, &event, 1);
    return NULL;
}

static void stacks(io_context_t made) {
    size_t size = 1 << 18;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(stack != MAP_FAILED);
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstack(&attributes, stack, size), 0);
    CHECK_EQ(pthread_create(&thread, &attributes, submits, made), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(munmap(stack, size), 0);
    CHECK_EQ(io_submit(made, 1, &of_thread), -EFAULT);
}

int main(void) {
    io_context_t made = context(8);
    fd = temp_file();
    put_pattern(fd, 0, BLOCK, 1);
    data = buffer(BLOCK);
    for (int way = 0; way < WAYS_TO_GO; way++) {
        iocbs(made, way);
        lists(made, way);
    }
    stacks(made);
    CHECK_EQ(io_destroy(made), 0);
    return 0;
}
