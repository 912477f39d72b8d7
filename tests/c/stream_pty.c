// A terminal: a read waits for a line and holds up neither the writes of the terminal nor file requests.
// glibc: fails: a read that waits on a terminal stops the writes of that terminal
#include "check.h"
#include <termios.h>

int main(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0) SKIP("no pseudo-terminals: %s", strerror(errno));
    CHECK_EQ(grantpt(master), 0);
    CHECK_EQ(unlockpt(master), 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    CHECK(slave >= 0);
    struct termios mode;
    CHECK_EQ(tcgetattr(slave, &mode), 0);
    mode.c_lflag &= (tcflag_t)~ECHO;
    mode.c_oflag &= (tcflag_t)~OPOST;
    CHECK_EQ(tcsetattr(slave, TCSANOW, &mode), 0);

    char line[64] = "", shown[64] = "";
    struct aiocb in = request(slave, line, sizeof line, 77), out = request(slave, "prompt> ", 8, 99);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_EQ(aio_write(&out), 0);
    CHECK_DONE(&out, 0, 8);
    CHECK_EQ(read(master, shown, sizeof shown), 8);
    CHECK(strcmp(shown, "prompt> ") == 0, "%s", shown);

    int file = temp_file();
    struct aiocb write_cb = request(file, "data", 4, 0);
    CHECK_EQ(aio_write(&write_cb), 0);
    CHECK_DONE(&write_cb, 0, 4);

    CHECK_EQ(write(master, "hal", 3), 3); // no line yet
    CHECK_EQ(aio_error(&in), EINPROGRESS);
    CHECK_EQ(write(master, "lo\n", 3), 3);
    CHECK_DONE(&in, 0, 6);
    CHECK(strcmp(line, "hallo\n") == 0, "%s", line);

    // The master's side is a stream as well.
    memset(shown, 0, sizeof shown);
    in = request(master, shown, sizeof shown, 0);
    CHECK_EQ(aio_read(&in), 0);
    out = request(slave, "bye", 3, 0);
    CHECK_EQ(aio_write(&out), 0);
    CHECK_DONE(&out, 0, 3);
    CHECK_DONE(&in, 0, 3);
    CHECK(strcmp(shown, "bye") == 0, "%s", shown);

    // A waiting read of a terminal can be cancelled, and takes nothing.
    memset(line, 0, sizeof line);
    in = request(slave, line, sizeof line, 0);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_EQ(aio_cancel(slave, &in), AIO_CANCELED);
    CHECK_EQ(write(master, "more\n", 5), 5);
    CHECK_EQ(read(slave, shown, sizeof shown), 5);
    CHECK_EQ(line[0], 0);

    // The end of file of a terminal, and its hang-up.
    in = request(slave, line, sizeof line, 0);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_EQ(write(master, "\4", 1), 1);
    CHECK_DONE(&in, 0, 0);
    in = request(slave, line, sizeof line, 0);
    CHECK_EQ(aio_read(&in), 0);
    close(master);
    wait_done(&in);
    CHECK(aio_error(&in) == EIO || aio_return(&in) == 0, "%d", aio_error(&in));
    return 0;
}
