// io_fsync and io_fdsync complete after every request that was submitted before them, whatever takes the events out: calls,
// system calls, or the program itself; and whatever the sizes.
// interface: libaio
// glibc: fails: a sync completes before the writes that were submitted before it
// timeout: 120
// takes: 3
#include "rings.h"

enum { MOST = 32, ROUNDS = 300 };

int main(void) {
    io_context_t made = NULL;
    static struct iocb blocks[MOST], sync;
    int fd = direct_file(MOST * 16 * BLOCK);
    char *data = buffer(MOST * 16 * BLOCK);
    int overtaken = 0;
    for (int round = 0; round < ROUNDS * WAYS; round++) {
        // One for each way: who takes a sync's event by itself from a context of io_getevents finds the library's iocb there.
        if (round % ROUNDS == 0) {
            if (made) CHECK_EQ(io_destroy(made), 0);
            made = context(MOST + 2);
        }
        int count = 1 + round * 7 % MOST, size = (1 << round % 5) * BLOCK;
        struct iocb *list[MOST + 1];
        for (int i = 0; i < count; i++) {
            char *place = data + i * size;
            (i + round) % 5 ? io_prep_pwrite(&blocks[i], fd, place, size, i * size)
                            : io_prep_pread(&blocks[i], fd, place, size, i * size);
            list[i] = &blocks[i];
        }
        round % 2 ? io_prep_fsync(&sync, fd) : io_prep_fdsync(&sync, fd);
        sync.data = &list;
        list[count] = &sync;
        // In one list, or alone.
        int first = round % 3 ? count + 1 : count;
        submit(made, list, first);
        if (first == count) submit(made, list + count, 1);
        struct io_event events[MOST + 1];
        reap_all(made, round / ROUNDS, events, count + 1);
        int at = place_of(events, count + 1, &sync);
        if (at != count) overtaken++;
        CHECK(events[at].data == &list);
        CHECK_EQ(events[at].res, 0);
    }
    CHECK(overtaken == 0, "overtook in %d rounds of %d", overtaken, ROUNDS * WAYS);
    CHECK_EQ(io_destroy(made), 0);
    return 0;
}
