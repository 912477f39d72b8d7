// While reads of what is in the page cache go on that send signals from within the call, the library's thread stays, however
// short its idle time: a handler's read never has to start one.
// glibc: skip: it has no such thread
// env: AIO_RS=idle=100ms
// takes: 4
#include "check.h"

// The id of another thread, or 0.
static int other_thread(void) {
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    int found = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        int id = atoi(entry->d_name);
        if (id != 0 && id != getpid()) found = id;
    }
    closedir(dir);
    return found;
}

int main(void) {
    int fd = temp_file(), number = SIGRTMIN + 1, first = 0;
    put_pattern(fd, 0, 4096, 1);
    if (!can_read_cached(fd)) SKIP("the file system cannot say what it has in the page cache");
    if (!has_inline_route()) return 0; // then every read needs a thread, and perhaps another one
    block_signal(number);
    static unsigned char data[100];
    struct aiocb cb = request(fd, data, 100, 0);
    notify_by_signal(&cb, number, 0);
    double begin = now_s(), last = begin, now;
    int looks = 0;
    while ((now = now_s()) < begin + 3) {
        CHECK_EQ(aio_read(&cb), 0);
        take_signal(number);
        // At first there may be more than one. When this thread had no processor for half the idle time, it asked for nothing.
        if (now < begin + 1 || now_s() - last > 0.05) first = 0;
        last = now_s();
        if (now < begin + 1) continue;
        if (first == 0) first = other_thread();
        else looks++;
        if (other_thread() != first && now_s() - last > 0.05) first = 0;
        CHECK_EQ(first ? other_thread() : 0, first);
    }
    CHECK(looks > 0);
    WAIT_FOR(other_thread() == 0); // and not longer than that
    return 0;
}
