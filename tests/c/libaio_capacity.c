// A context has room for as many requests as were asked for, again and again, whichever way their events are taken; a list for
// which there is no room is accepted in part. Each accepted request is counted, and no other.
// interface: libaio
#include "rings.h"

enum { ASKED = 20, MOST = 4096, ROUNDS = 30 };

int main(void) {
    io_context_t made = context(ASKED);
    static struct iocb polls[MOST], syncs[2];
    static struct io_event events[MOST];
    struct iocb *list[MOST], *mixed[] = {&syncs[0], &polls[0], &syncs[1], NULL};
    unsigned long long accepted = 0;
    int p[2], fd = temp_file();
    CHECK_EQ(pipe(p), 0);
    for (int i = 0; i < MOST; i++) {
        io_prep_poll(&polls[i], p[0], POLLIN);
        list[i] = &polls[i];
    }
    for (int round = 0; round < ROUNDS; round++) {
        int room = io_submit(made, MOST, list);
        CHECK(room >= ASKED && room < MOST, "round %d: room for %d", round, room);
        CHECK_EQ(io_submit(made, 1, &list[room]), -EAGAIN);
        CHECK_EQ(write(p[1], "x", 1), 1);
        reap_all(made, round % WAYS, events, room);
        for (int i = 0; i < room; i++) CHECK((events[i].res & POLLIN) && place_of(events, room, &polls[i]) >= 0);
        // A list with what is refused at its end.
        for (int i = 0; i < 2; i++) io_prep_fsync(&syncs[i], fd);
        CHECK_EQ(io_submit(made, 4, mixed), 3);
        reap_all(made, round % WAYS, events, 3);
        char byte;
        CHECK_EQ(read(p[0], &byte, 1), 1);
        accepted += (unsigned long long)room + 3;
    }
    if (is_library()) CHECK_EQ(counts().libaio_requests, accepted);
    CHECK_EQ(io_destroy(made), 0);
    return 0;
}
