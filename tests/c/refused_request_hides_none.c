// A request that cannot work (here: a read of a descriptor open for writing only) changes nothing for the others of its
// descriptor: close and aio_cancel still find them.
// glibc: skip: it sends queued writes into the next file of a closed number anyway
// env: AIO_RS=threads=1
// holds-reads
#include "check.h"

static char byte;

static void refused(struct aiocb *cb, int fd, bool reads) {
    *cb = request(fd, &byte, 1, 0);
    CHECK_EQ(reads ? aio_read(cb) : aio_write(cb), 0);
}

// The only worker is held: what is submitted now stays queued.
static void with_a_queued_write(bool cancels) {
    int busy = temp_file(), look, fd;
    put_pattern(busy, 0, 4096, 1);
    struct held h;
    struct aiocb head, before, queued, after;
    held_read(&h, &head, busy, 4096, 0);
    char *path = temp_path("old");
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    look = open(path, O_RDONLY);
    CHECK(fd >= 0 && look >= 0);
    unsigned char data[512];
    fill(data, sizeof data, 2);
    refused(&before, fd, true);
    queued = request(fd, data, sizeof data, 0);
    CHECK_EQ(aio_write(&queued), 0);
    refused(&after, fd, true);
    if (cancels) {
        CHECK_EQ(aio_cancel(fd, NULL), AIO_CANCELED);
        CHECK_DONE(&before, ECANCELED, -1);
        CHECK_DONE(&queued, ECANCELED, -1);
        CHECK_DONE(&after, ECANCELED, -1);
    }
    CHECK_EQ(close(fd), 0);
    int new_file = temp_file();
    CHECK_EQ(new_file, fd);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    if (!cancels) {
        CHECK_DONE(&before, EBADF, -1);
        CHECK_DONE(&queued, 0, sizeof data);
        CHECK_DONE(&after, EBADF, -1);
        CHECK(file_holds(look, 0, sizeof data, 2), "the write is lost");
    }
    struct stat st;
    CHECK_EQ(fstat(new_file, &st), 0);
    CHECK(st.st_size == 0, "the new file has %ld bytes", (long)st.st_size);
    close(new_file);
    close(look);
    close(busy);
    free(path);
}

static void with_a_waiting_read(bool ended) {
    int p[2];
    char data;
    CHECK_EQ(pipe(p), 0);
    struct aiocb waiting = request(p[0], &data, 1, 0), wrong;
    CHECK_EQ(aio_read(&waiting), 0);
    refused(&wrong, p[0], false);
    if (ended) CHECK_DONE(&wrong, EBADF, -1);
    CHECK_EQ(close(p[0]), 0);
    CHECK_DONE(&waiting, ECANCELED, -1);
    if (!ended) CHECK_DONE(&wrong, EBADF, -1);
    close(p[1]);
}

int main(void) {
    with_a_queued_write(false);
    with_a_queued_write(true);
    with_a_waiting_read(false);
    with_a_waiting_read(true);
    return 0;
}
