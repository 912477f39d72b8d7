// Writes to an O_APPEND descriptor land in call order, each in one piece, wherever aio_offset points.
#include "check.h"

enum { RECORDS = 10000 };

struct record {
    uint32_t number;
    unsigned char body[60];
};

static struct record records[RECORDS], back[RECORDS];
static struct aiocb cbs[RECORDS];

int main(void) {
    char *path = temp_path("log");
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    CHECK(fd >= 0);
    for (int i = 0; i < RECORDS; i++) {
        records[i].number = (uint32_t)i;
        fill(records[i].body, sizeof records[i].body, (unsigned)i);
        cbs[i] = request(fd, &records[i], sizeof records[i], i % 3 * 100000);
        if (is_library()) cbs[i].aio_reqprio = i * 7 % 20; // libc lets a lower priority overtake
    }
    // One by one, and in lists.
    for (int i = 0; i < RECORDS / 2; i++) CHECK_EQ(aio_write(&cbs[i]), 0);
    for (int i = RECORDS / 2; i < RECORDS; i += 50) {
        struct aiocb *list[50];
        for (int n = 0; n < 50; n++) {
            list[n] = &cbs[i + n];
            list[n]->aio_lio_opcode = LIO_WRITE;
        }
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, 50, NULL), 0);
    }
    for (int i = 0; i < RECORDS; i++) CHECK_DONE(&cbs[i], 0, sizeof(struct record));
    CHECK_EQ(lseek(fd, 0, SEEK_END), (off_t)sizeof records);
    CHECK_EQ(pread(fd, back, sizeof back, 0), (ssize_t)sizeof back);
    for (int i = 0; i < RECORDS; i++) {
        CHECK_EQ(back[i].number, i);
        CHECK(holds(back[i].body, sizeof back[i].body, (unsigned)i));
    }

    // The flag counts when the request is made; set later, too.
    int later = open(path, O_RDWR | O_TRUNC);
    CHECK(later >= 0);
    CHECK_EQ(fcntl(later, F_SETFL, O_APPEND), 0);
    for (int i = 0; i < 1000; i++) {
        cbs[i].aio_fildes = later;
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    for (int i = 0; i < 1000; i++) CHECK_DONE(&cbs[i], 0, sizeof(struct record));
    CHECK_EQ(pread(later, back, sizeof back, 0), (ssize_t)(1000 * sizeof *back));
    for (int i = 0; i < 1000; i++) CHECK_EQ(back[i].number, i);
    unlink(path);
    return 0;
}
