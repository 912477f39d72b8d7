// A request on a stream ends when read(2) or write(2) would, with the same answer, whatever the stream is and whatever state
// it is in: each line of the table below is run by the system call, in a child, and by a request. What waits for ever there
// waits here, and if it is a read it can be cancelled and takes nothing.
// glibc: fails: twenty requests that wait stop every file
// timeout: 120
#include "check.h"
#include <netinet/in.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <termios.h>

enum { LARGE = 1 << 20, MOST = 8 };

static int others[MOST], others_count;

// Stays open as long as the descriptor under test.
static int keep(int fd) {
    CHECK(fd >= 0 && others_count < MOST);
    return others[others_count++] = fd;
}

static void put(int fd, const char *text) { CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text)); }

static void nonblocking(int fd) { CHECK_EQ(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0); }

// Takes nothing more without waiting.
static int fill_up(int fd, size_t size) {
    static char data[LARGE];
    int flags = fcntl(fd, F_GETFL);
    CHECK_EQ(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    for (; size > 0; size /= 2)
        while (write(fd, data, size) > 0) {}
    CHECK_EQ(fcntl(fd, F_SETFL, flags), 0);
    return fd;
}

static int option(int fd, int name, int value) {
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, name, &value, sizeof value), 0);
    return fd;
}

static int timeout_of(int fd, int name) {
    struct timeval time = {0, 100000};
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, name, &time, sizeof time), 0);
    return fd;
}

// Two connected descriptors: returns one, keeps the other in `peer`.
static int peer;
static int pair_(int a, int b) {
    peer = keep(b);
    return a;
}
static int sockets(int type) {
    int s[2];
    CHECK_EQ(socketpair(AF_UNIX, type, 0, s), 0);
    return pair_(s[0], s[1]);
}
static int pipe_end(int end, int flags) {
    int p[2];
    CHECK_EQ(pipe2(p, flags), 0);
    return pair_(p[end], p[!end]);
}
static int tcp(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    int listener = keep(socket(AF_INET, SOCK_STREAM, 0)), fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(bind(listener, (void *)&name, length), 0);
    CHECK_EQ(listen(listener, 1), 0);
    CHECK_EQ(getsockname(listener, (void *)&name, &length), 0);
    CHECK_EQ(connect(fd, (void *)&name, length), 0);
    return pair_(fd, accept(listener, NULL, NULL));
}
static int udp(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_EQ(bind(other, (void *)&name, length), 0);
    CHECK_EQ(getsockname(other, (void *)&name, &length), 0);
    CHECK_EQ(connect(fd, (void *)&name, length), 0);
    return pair_(fd, other);
}
static void close_peer(void) {
    CHECK_EQ(close(peer), 0);
    for (int i = 0; i < others_count; i++)
        if (others[i] == peer) others[i] = others[--others_count];
}

// The modes of a terminal: canonical, or raw with VMIN and VTIME.
static int terminal(int raw, int least, int time) {
    int master, slave;
    struct termios modes;
    CHECK_EQ(openpty(&master, &slave, NULL, NULL, NULL), 0);
    CHECK_EQ(tcgetattr(slave, &modes), 0);
    modes.c_lflag &= (tcflag_t)~ECHO;
    if (raw) {
        cfmakeraw(&modes);
        modes.c_cc[VMIN] = (cc_t)least;
        modes.c_cc[VTIME] = (cc_t)time;
    }
    CHECK_EQ(tcsetattr(slave, TCSANOW, &modes), 0);
    return pair_(slave, master);
}
static int master_of(int slave) {
    int master = peer;
    for (int i = 0; i < others_count; i++)
        if (others[i] == master) others[i] = slave;
    peer = slave;
    return master;
}

static int fifo(int flags) {
    static int count;
    char name[32];
    snprintf(name, sizeof name, "fifo%d.%d", (int)getpid(), count++);
    char *path = temp_path(name);
    CHECK_EQ(mkfifo(path, 0600), 0);
    int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);
    CHECK(fd >= 0);
    if (!(flags & O_NONBLOCK)) CHECK_EQ(fcntl(fd, F_SETFL, 0), 0);
    peer = -1;
    if ((flags & O_ACCMODE) == O_RDONLY && flags & O_CREAT) peer = keep(open(path, O_WRONLY | O_CLOEXEC));
    unlink(path);
    return fd;
}
// The end for writing of one; the other end is kept.
static int fifo_writer(int flags) {
    char *path = temp_path("fifo");
    CHECK_EQ(mkfifo(path, 0600), 0);
    peer = keep(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    int fd = open(path, O_WRONLY | flags | O_CLOEXEC);
    CHECK(fd >= 0);
    unlink(path);
    return fd;
}

// Bytes that are there to be read afterwards.
static int left_in(int fd) {
    int left = -1;
    return ioctl(fd, FIONREAD, &left) == 0 ? left : -1;
}

// What is typed at a terminal gets there a moment later.
static int with(int fd, const char *data) {
    put(peer, data);
    bool seen = isatty(fd) && strcmp(data, "no line") != 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (seen && *data == 4) CHECK_EQ(poll(&p, 1, PATIENCE_S * 1000), 1);
    if (seen && *data != 4) WAIT_FOR(left_in(fd) == (int)strlen(data));
    return fd;
}
static int shut(int fd, int how) {
    CHECK_EQ(shutdown(fd, how), 0);
    return fd;
}
static int alone(int fd) {
    close_peer();
    return fd;
}
static int quick(int fd) {
    nonblocking(fd);
    return fd;
}
static int reset(void) {
    int fd = tcp();
    struct linger linger = {1, 0};
    CHECK_EQ(setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    return alone(fd);
}
static int counter(uint64_t value, int flags) {
    int fd = eventfd(0, flags);
    if (value) CHECK_EQ(write(fd, &value, 8), 8);
    return fd;
}
static int timer(bool expired, int flags) {
    int fd = timerfd_create(CLOCK_MONOTONIC, flags);
    struct itimerspec at = {.it_value = {0, 1}};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (expired) {
        CHECK_EQ(timerfd_settime(fd, 0, &at, NULL), 0);
        CHECK_EQ(poll(&p, 1, PATIENCE_S * 1000), 1);
    }
    return fd;
}
static int signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return signalfd(-1, &set, 0);
}
static int watch(bool event) {
    int fd = inotify_init1(IN_CLOEXEC), file = temp_open("watched", O_RDWR);
    CHECK(inotify_add_watch(fd, temp_path("watched"), IN_MODIFY) >= 0);
    if (event) put(file, "x");
    close(file);
    return fd;
}
static int process(void) { return (int)syscall(SYS_pidfd_open, getpid(), 0); }
static int unconnected(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static int listening(void) {
    int fd = unconnected();
    CHECK_EQ(listen(fd, 1), 0);
    return fd;
}
static int lowat(int fd, int least) { return option(fd, SO_RCVLOWAT, least); }
static int empty_datagram(void) {
    int fd = sockets(SOCK_DGRAM);
    CHECK_EQ(send(peer, "", 0, 0), 0);
    return fd;
}
static int stopped(int fd) {
    CHECK_EQ(tcflow(fd, TCOOFF), 0);
    return fd;
}
// Room for a part of what is written.
static int little_room(int fd) {
    static char half[4096];
    fill_up(fd, sizeof half);
    CHECK_EQ(read(peer, half, sizeof half), (ssize_t)sizeof half);
    return fd;
}
static int packets(void) {
    int fd = pipe_end(0, O_DIRECT);
    put(peer, "one");
    put(peer, "two");
    return fd;
}
// Something in its error queue: poll reports that for ever.
static int with_error_queue(void) {
    int fd = udp(), stamps = 1 << 1 | 1 << 4; // SOF_TIMESTAMPING_TX_SOFTWARE, _SOFTWARE
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps), 0);
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    struct pollfd p = {.fd = fd};
    CHECK_EQ(poll(&p, 1, PATIENCE_S * 1000), 1);
    return fd;
}
static int faults(void) {
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    if (fd < 0) return counter(0, 0);
    CHECK_EQ(ioctl(fd, UFFDIO_API, &api), 0);
    return fd;
}

// ---- The table ----

enum { READ, WRITE };

#define ROWS                                                                                                           \
    R(READ, 0, pipe_end(0, 0))                                                                                         \
    R(READ, 8, pipe_end(0, 0))                                                                                         \
    R(READ, 0, with(pipe_end(0, 0), "data"))                                                                           \
    R(READ, 8, with(pipe_end(0, 0), "data"))                                                                           \
    R(READ, 8, pipe_end(0, O_NONBLOCK))                                                                                \
    R(READ, 0, pipe_end(0, O_NONBLOCK))                                                                                \
    R(READ, 8, alone(with(pipe_end(0, 0), "data")))                                                                    \
    R(READ, 8, alone(pipe_end(0, 0)))                                                                                  \
    R(READ, 2, packets())                                                                                              \
    R(READ, 8, packets())                                                                                              \
    R(READ, 8, pipe_end(1, 0))                                                                                         \
    R(READ, 8, fifo(O_RDONLY))                                                                                         \
    R(READ, 8, fifo(O_RDONLY | O_NONBLOCK))                                                                            \
    R(READ, 0, fifo(O_RDONLY))                                                                                         \
    R(READ, 8, fifo(O_RDONLY | O_CREAT))                                                                               \
    R(READ, 8, quick(fifo(O_RDONLY | O_CREAT)))                                                                        \
    R(READ, 8, with(fifo(O_RDONLY | O_CREAT), "data"))                                                                 \
    R(READ, 3, with(fifo(O_RDONLY | O_CREAT), "data"))                                                                 \
    R(READ, 8, alone(with(fifo(O_RDONLY | O_CREAT), "data")))                                                          \
    R(READ, 8, alone(fifo(O_RDONLY | O_CREAT)))                                                                        \
    R(READ, 8, fifo(O_RDWR))                                                                                           \
    R(READ, 0, sockets(SOCK_STREAM))                                                                                   \
    R(READ, 8, sockets(SOCK_STREAM))                                                                                   \
    R(READ, 0, with(sockets(SOCK_STREAM), "data"))                                                                     \
    R(READ, 8, with(sockets(SOCK_STREAM), "data"))                                                                     \
    R(READ, 8, quick(sockets(SOCK_STREAM)))                                                                            \
    R(READ, 0, quick(sockets(SOCK_STREAM)))                                                                            \
    R(READ, 8, alone(with(sockets(SOCK_STREAM), "data")))                                                              \
    R(READ, 8, alone(sockets(SOCK_STREAM)))                                                                            \
    R(READ, 8, shut(sockets(SOCK_STREAM), SHUT_RD))                                                                    \
    R(READ, 8, shut(sockets(SOCK_STREAM), SHUT_WR))                                                                    \
    R(READ, 8, timeout_of(sockets(SOCK_STREAM), SO_RCVTIMEO))                                                          \
    R(READ, 8, timeout_of(quick(sockets(SOCK_STREAM)), SO_RCVTIMEO))                                                   \
    R(READ, 8, lowat(with(sockets(SOCK_STREAM), "data"), 6))                                                           \
    R(READ, 8, lowat(with(sockets(SOCK_STREAM), "data"), 4))                                                           \
    R(READ, 4, lowat(with(sockets(SOCK_STREAM), "data"), 6))                                                           \
    R(READ, 8, lowat(alone(with(sockets(SOCK_STREAM), "data")), 6))                                                    \
    R(READ, 8, timeout_of(lowat(with(sockets(SOCK_STREAM), "data"), 6), SO_RCVTIMEO))                                  \
    R(READ, 8, quick(lowat(with(sockets(SOCK_STREAM), "data"), 6)))                                                    \
    R(READ, 8, sockets(SOCK_DGRAM))                                                                                    \
    R(READ, 0, sockets(SOCK_DGRAM))                                                                                    \
    R(READ, 0, with(sockets(SOCK_DGRAM), "data"))                                                                      \
    R(READ, 2, with(sockets(SOCK_DGRAM), "data"))                                                                      \
    R(READ, 8, empty_datagram())                                                                                       \
    R(READ, 8, shut(sockets(SOCK_DGRAM), SHUT_RD))                                                                     \
    R(READ, 8, timeout_of(sockets(SOCK_DGRAM), SO_RCVTIMEO))                                                           \
    R(READ, 8, alone(sockets(SOCK_DGRAM)))                                                                             \
    R(READ, 0, with(sockets(SOCK_SEQPACKET), "data"))                                                                  \
    R(READ, 2, with(sockets(SOCK_SEQPACKET), "data"))                                                                  \
    R(READ, 8, alone(sockets(SOCK_SEQPACKET)))                                                                         \
    R(READ, 8, tcp())                                                                                                  \
    R(READ, 8, alone(tcp()))                                                                                           \
    R(READ, 8, reset())                                                                                                \
    R(READ, 8, shut(tcp(), SHUT_RD))                                                                                   \
    R(READ, 8, lowat(with(tcp(), "data"), 6))                                                                          \
    R(READ, 8, timeout_of(lowat(with(tcp(), "data"), 6), SO_RCVTIMEO))                                                 \
    R(READ, 8, timeout_of(tcp(), SO_RCVTIMEO))                                                                         \
    R(READ, 8, unconnected())                                                                                          \
    R(READ, 0, unconnected())                                                                                          \
    R(READ, 8, listening())                                                                                            \
    R(READ, 8, udp())                                                                                                  \
    R(READ, 8, shut(udp(), SHUT_RD))                                                                                   \
    R(READ, 8, timeout_of(with_error_queue(), SO_RCVTIMEO))                                                            \
    R(READ, 8, counter(0, 0))                                                                                          \
    R(READ, 8, counter(7, 0))                                                                                          \
    R(READ, 8, counter(7, EFD_SEMAPHORE))                                                                              \
    R(READ, 4, counter(7, 0))                                                                                          \
    R(READ, 0, counter(0, 0))                                                                                          \
    R(READ, 8, counter(0, EFD_NONBLOCK))                                                                               \
    R(READ, 8, timer(false, 0))                                                                                        \
    R(READ, 8, timer(true, 0))                                                                                         \
    R(READ, 4, timer(true, 0))                                                                                         \
    R(READ, 4, timer(false, 0))                                                                                        \
    R(READ, 8, timer(false, TFD_NONBLOCK))                                                                             \
    R(READ, 8, signals())                                                                                              \
    R(READ, 128, signals())                                                                                            \
    R(READ, 4096, watch(false))                                                                                        \
    R(READ, 4096, watch(true))                                                                                         \
    R(READ, 8, watch(true))                                                                                            \
    R(READ, 128, epoll_create1(0))                                                                                     \
    R(READ, 128, process())                                                                                            \
    R(READ, 8, terminal(0, 0, 0))                                                                                      \
    R(READ, 0, terminal(0, 0, 0))                                                                                      \
    R(READ, 8, with(terminal(0, 0, 0), "no line"))                                                                     \
    R(READ, 8, with(terminal(0, 0, 0), "line\n"))                                                                      \
    R(READ, 2, with(terminal(0, 0, 0), "line\n"))                                                                      \
    R(READ, 8, with(terminal(0, 0, 0), "\4"))                                                                          \
    R(READ, 8, quick(terminal(0, 0, 0)))                                                                               \
    R(READ, 8, alone(terminal(0, 0, 0)))                                                                               \
    R(READ, 8, terminal(1, 1, 0))                                                                                      \
    R(READ, 8, terminal(1, 0, 0))                                                                                      \
    R(READ, 8, with(terminal(1, 0, 0), "x"))                                                                           \
    R(READ, 8, terminal(1, 0, 2))                                                                                      \
    R(READ, 8, with(terminal(1, 5, 0), "xyz"))                                                                         \
    R(READ, 8, with(terminal(1, 5, 0), "hello"))                                                                       \
    R(READ, 2, with(terminal(1, 5, 0), "hello"))                                                                       \
    R(READ, 8, with(terminal(1, 5, 1), "x"))                                                                           \
    R(READ, 8, terminal(1, 5, 1))                                                                                      \
    R(READ, 8, master_of(terminal(1, 0, 0)))                                                                           \
    R(READ, 8, master_of(terminal(1, 0, 2)))                                                                           \
    R(READ, 8, with(master_of(terminal(1, 1, 0)), "shown"))                                                            \
    R(READ, 8, alone(master_of(terminal(1, 1, 0))))                                                                    \
    R(READ, 32, faults())                                                                                              \
    R(WRITE, 0, pipe_end(1, 0))                                                                                        \
    R(WRITE, 8, pipe_end(1, 0))                                                                                        \
    R(WRITE, 8, fill_up(pipe_end(1, 0), 65536))                                                                        \
    R(WRITE, 0, fill_up(pipe_end(1, 0), 65536))                                                                        \
    R(WRITE, 8, quick(fill_up(pipe_end(1, 0), 65536)))                                                                 \
    R(WRITE, 8192, quick(little_room(pipe_end(1, 0))))                                                                 \
    R(WRITE, 8, alone(pipe_end(1, 0)))                                                                                 \
    R(WRITE, 0, alone(pipe_end(1, 0)))                                                                                 \
    R(WRITE, 8, pipe_end(0, 0))                                                                                        \
    R(WRITE, 5000, pipe_end(1, O_DIRECT))                                                                                 \
    R(WRITE, 8, fifo_writer(0))                                                                                        \
    R(WRITE, 0, fifo_writer(0))                                                                                        \
    R(WRITE, 8, fill_up(fifo_writer(0), 65536))                                                                        \
    R(WRITE, 8, quick(fill_up(fifo_writer(0), 65536)))                                                                 \
    R(WRITE, 8192, quick(little_room(fifo_writer(0))))                                                                 \
    R(WRITE, 8, alone(fifo_writer(0)))                                                                                 \
    R(WRITE, 0, sockets(SOCK_STREAM))                                                                                  \
    R(WRITE, 8, sockets(SOCK_STREAM))                                                                                  \
    R(WRITE, 8, fill_up(sockets(SOCK_STREAM), 4096))                                                                   \
    R(WRITE, 8, timeout_of(fill_up(sockets(SOCK_STREAM), 4096), SO_SNDTIMEO))                                          \
    R(WRITE, LARGE, timeout_of(sockets(SOCK_STREAM), SO_SNDTIMEO))                                                     \
    R(WRITE, LARGE, quick(sockets(SOCK_STREAM)))                                                                       \
    R(WRITE, 8, alone(sockets(SOCK_STREAM)))                                                                           \
    R(WRITE, 0, alone(sockets(SOCK_STREAM)))                                                                           \
    R(WRITE, 8, shut(sockets(SOCK_STREAM), SHUT_WR))                                                                   \
    R(WRITE, 8, shut(sockets(SOCK_STREAM), SHUT_RD))                                                                   \
    R(WRITE, 0, sockets(SOCK_DGRAM))                                                                                   \
    R(WRITE, LARGE, sockets(SOCK_DGRAM))                                                                               \
    R(WRITE, 8, fill_up(sockets(SOCK_DGRAM), 1))                                                                       \
    R(WRITE, 8, timeout_of(fill_up(sockets(SOCK_DGRAM), 1), SO_SNDTIMEO))                                              \
    R(WRITE, 8, alone(sockets(SOCK_DGRAM)))                                                                            \
    R(WRITE, 8, sockets(SOCK_SEQPACKET))                                                                               \
    R(WRITE, 0, sockets(SOCK_SEQPACKET))                                                                               \
    R(WRITE, 8, tcp())                                                                                                 \
    R(WRITE, 8, shut(tcp(), SHUT_WR))                                                                                  \
    R(WRITE, 8, unconnected())                                                                                         \
    R(WRITE, 0, unconnected())                                                                                         \
    R(WRITE, 8, listening())                                                                                           \
    R(WRITE, 8, counter(7, 0))                                                                                         \
    R(WRITE, 8, counter(UINT64_MAX - 1, 0))                                                                            \
    R(WRITE, 8, counter(UINT64_MAX - 1, EFD_NONBLOCK))                                                                 \
    R(WRITE, 4, counter(7, 0))                                                                                         \
    R(WRITE, 0, counter(7, 0))                                                                                         \
    R(WRITE, 8, timer(false, 0))                                                                                       \
    R(WRITE, 128, signals())                                                                                           \
    R(WRITE, 8, watch(false))                                                                                          \
    R(WRITE, 8, epoll_create1(0))                                                                                      \
    R(WRITE, 8, process())                                                                                             \
    R(WRITE, 8, terminal(0, 0, 0))                                                                                     \
    R(WRITE, 0, terminal(0, 0, 0))                                                                                     \
    R(WRITE, LARGE, terminal(1, 1, 0))                                                                                 \
    R(WRITE, 8, stopped(terminal(1, 1, 0)))                                                                            \
    R(WRITE, 8, quick(stopped(terminal(1, 1, 0))))                                                                     \
    R(WRITE, 8, alone(terminal(1, 1, 0)))                                                                              \
    R(WRITE, 8, master_of(terminal(1, 1, 0)))

static const struct row {
    const char *name;
    int call;
    size_t count;
} rows[] = {
#define R(call, count, make) {#call " of " #count ": " #make, call, count},
    ROWS
#undef R
};
enum { COUNT = sizeof rows / sizeof *rows };

static int make(int row) {
    int line = 0;
    others_count = 0;
#define R(call, count, make)                                                                                           \
    if (line++ == row) return make;
    ROWS
#undef R
    FAIL("row %d", row);
}

struct answer {
    bool waits;
    ssize_t result;
    int error, left;
};

static char *buffer_for(const struct row *row) {
    char *buffer = calloc(1, row->count + 1);
    CHECK(buffer != NULL);
    if (row->call == WRITE && row->count >= 8) buffer[0] = 2; // a number that an eventfd takes
    return buffer;
}

// What the system call does, in a child that is killed if it waits. A row that ends by itself after a time is blocked
// meanwhile: only what is blocked for much longer than any of those waits for ever.
static struct answer by_system_call(int number) {
    const struct row *row = &rows[number];
    int tell[2];
    CHECK_EQ(pipe2(tell, O_CLOEXEC), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct answer answer = {0};
        int fd = make(number);
        char *buffer = buffer_for(row);
        CHECK_EQ(write(tell[1], "", 1), 1);
        errno = 0;
        answer.result = row->call == READ ? read(fd, buffer, row->count) : write(fd, buffer, row->count);
        answer.error = answer.result < 0 ? errno : 0;
        answer.left = left_in(fd);
        CHECK_EQ(write(tell[1], &answer, sizeof answer), sizeof answer);
        _exit(0);
    }
    char begun;
    struct answer answer = {.waits = true};
    CHECK_EQ(close(tell[1]), 0);
    CHECK_EQ(read(tell[0], &begun, 1), 1);
    bool timed = strstr(row->name, "timeout_of") || strstr(row->name, ", 1)") || strstr(row->name, ", 2)");
    struct pollfd p = {.fd = tell[0], .events = POLLIN};
    for (int blocked = 0, limit = timed ? 1500 : 30; blocked < limit && answer.waits;) {
        if (poll(&p, 1, 1) == 1) {
            CHECK_EQ(read(tell[0], &answer, sizeof answer), sizeof answer);
        } else {
            long switches;
            blocked += thread_sleeps_(pid, pid, &switches);
        }
    }
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    close(tell[0]);
    return answer;
}

static int wrong;

static void compare(int number) {
    const struct row *row = &rows[number];
    struct answer right = by_system_call(number);
    int fd = make(number), before = left_in(fd);
    // The request may outlive this function.
    struct aiocb *cb = malloc(sizeof *cb);
    CHECK(cb != NULL);
    *cb = request(fd, buffer_for(row), row->count, 0);
    CHECK_EQ(row->call == READ ? aio_read(cb) : aio_write(cb), 0);
    struct answer answer = {.waits = false};
    const char *trouble = NULL;
    if (right.waits) {
        settle();
        answer.waits = aio_error(cb) == EINPROGRESS;
        bool is_plain = row->call == READ && !strstr(row->name, "lowat") && !strstr(row->name, "faults");
        if (answer.waits && is_plain && is_library()) {
            if (aio_cancel(fd, cb) != AIO_CANCELED) trouble = "not cancelled";
            if (left_in(fd) < before) trouble = "took something";
        }
    } else {
        double deadline = now_s() + PATIENCE_S;
        while (aio_error(cb) == EINPROGRESS && now_s() < deadline) pause_ms(1);
        answer.waits = aio_error(cb) == EINPROGRESS;
    }
    if (!answer.waits && !trouble) {
        answer.error = aio_error(cb);
        answer.left = left_in(fd);
        answer.result = aio_return(cb);
        if (answer.result != right.result || answer.error != right.error) trouble = "another answer";
        if (answer.left != right.left) trouble = "something else is left";
    }
    if (answer.waits != right.waits) trouble = answer.waits ? "waits" : "does not wait";
    if (trouble) {
        dprintf(2, "%s: %s: system call%s %zd %s, left %d; request%s %zd %s, left %d\n", row->name, trouble,
                right.waits ? " waits" : "", right.result, check_errno(right.error), right.left,
                answer.waits ? " waits" : "", answer.result, check_errno(answer.error), answer.left);
        wrong++;
    }
    if (answer.waits) return; // it has them
    close(fd);
    for (int i = 0; i < others_count; i++) close(others[i]);
}

// POSIX's poll tells neither whether anybody has a FIFO open for writing nor what a descriptor refuses.
static bool only_linux_tells(const char *name) {
    const char *names[] = {"READ of 8: fifo(O_RDONLY)", "READ of 4: timer(false, 0)", "READ of 8: signals()",
                           "READ of 128: epoll_create1(0)", "READ of 128: process()"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < COUNT; i++) {
        if (is_portable() && only_linux_tells(rows[i].name)) continue;
        compare(i);
    }
    CHECK_EQ(wrong, 0);
    _exit(0);
}
