// A write that waits for ever holds up no other stream and no file, whatever it waits for and however many there are: stalled
// terminals, eventfds whose counter is full, full FIFOs. When there is room it goes on, and nothing of it is lost.
// glibc: fails: twenty stalled terminals stop every other request
// env: AIO_RS=threads=2
#include "check.h"
#include <pty.h>
#include <sys/eventfd.h>
#include <termios.h>

enum { TERMINALS = 30, COUNTERS = 5, FIFOS = 5, LENGTH = 100000 };

static char data[LENGTH];

// Streams and files of all kinds go on.
static void others_go_on(void) {
    int p[2], s[2], file = temp_file();
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    for (int i = 0; i < 10; i++) {
        char in[2] = "";
        struct aiocb pipe_read = request(p[0], &in[0], 1, 0), socket_read = request(s[0], &in[1], 1, 0);
        struct aiocb write_cb = request(file, "data", 4, 0), sync = request(file, NULL, 0, 0);
        CHECK_EQ(aio_read(&pipe_read), 0);
        CHECK_EQ(aio_read(&socket_read), 0);
        CHECK_EQ(write(p[1], "a", 1), 1);
        CHECK_EQ(write(s[1], "b", 1), 1);
        CHECK_DONE(&pipe_read, 0, 1);
        CHECK_DONE(&socket_read, 0, 1);
        CHECK(in[0] == 'a' && in[1] == 'b');
        CHECK_EQ(aio_write(&write_cb), 0);
        CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
        CHECK_DONE(&write_cb, 0, 4);
        CHECK_DONE(&sync, 0, 0);
    }
    for (int i = 0; i < 2; i++) close(p[i]), close(s[i]);
    close(file);
}

static void check_all_come(int fd) {
    static char back[LENGTH];
    size_t got = 0;
    while (got < LENGTH) {
        struct aiocb cb = request(fd, back + got, LENGTH - got, 0);
        CHECK_EQ(aio_read(&cb), 0);
        wait_done(&cb);
        CHECK_EQ(aio_error(&cb), 0);
        ssize_t more = aio_return(&cb);
        CHECK(more > 0);
        got += (size_t)more;
    }
    CHECK(memcmp(back, data, LENGTH) == 0);
}

int main(void) {
    static struct aiocb terminal_cbs[TERMINALS], counter_cbs[COUNTERS], fifo_cbs[FIFOS];
    int masters[TERMINALS], slaves[TERMINALS], counters[COUNTERS], readers[FIFOS], writers[FIFOS];
    uint64_t almost_full = UINT64_MAX - 4, ten = 10;
    fill(data, LENGTH, 1);
    for (int i = 0; i < TERMINALS; i++) {
        struct termios modes;
        CHECK_EQ(openpty(&masters[i], &slaves[i], NULL, NULL, NULL), 0);
        CHECK_EQ(tcgetattr(slaves[i], &modes), 0);
        cfmakeraw(&modes);
        CHECK_EQ(tcsetattr(slaves[i], TCSANOW, &modes), 0);
        terminal_cbs[i] = request(slaves[i], data, LENGTH, 0);
        CHECK_EQ(aio_write(&terminal_cbs[i]), 0);
    }
    for (int i = 0; i < COUNTERS; i++) {
        counters[i] = eventfd(0, 0);
        CHECK_EQ(write(counters[i], &almost_full, 8), 8);
        counter_cbs[i] = request(counters[i], &ten, 8, 0);
        CHECK_EQ(aio_write(&counter_cbs[i]), 0);
    }
    for (int i = 0; i < FIFOS; i++) {
        char *path = temp_path("fifo");
        CHECK_EQ(mkfifo(path, 0600), 0);
        readers[i] = open(path, O_RDONLY | O_NONBLOCK);
        writers[i] = open(path, O_WRONLY);
        CHECK(readers[i] >= 0 && writers[i] >= 0);
        unlink(path);
        fifo_cbs[i] = request(writers[i], data, LENGTH, 0);
        CHECK_EQ(aio_write(&fifo_cbs[i]), 0);
    }
    others_go_on();
    for (int i = 0; i < TERMINALS; i++) CHECK_EQ(aio_error(&terminal_cbs[i]), EINPROGRESS);
    for (int i = 0; i < COUNTERS; i++) CHECK_EQ(aio_error(&counter_cbs[i]), EINPROGRESS);
    for (int i = 0; i < FIFOS; i++) CHECK_EQ(aio_error(&fifo_cbs[i]), EINPROGRESS);

    for (int i = 0; i < TERMINALS; i++) {
        check_all_come(masters[i]);
        CHECK_DONE(&terminal_cbs[i], 0, LENGTH);
    }
    for (int i = 0; i < COUNTERS; i++) {
        uint64_t value = 0;
        struct aiocb cb = request(counters[i], &value, 8, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, 8);
        CHECK(value == almost_full);
        CHECK_DONE(&counter_cbs[i], 0, 8);
    }
    for (int i = 0; i < FIFOS; i++) {
        CHECK_EQ(fcntl(readers[i], F_SETFL, 0), 0);
        check_all_come(readers[i]);
        CHECK_DONE(&fifo_cbs[i], 0, LENGTH);
    }
    others_go_on();
    return 0;
}
