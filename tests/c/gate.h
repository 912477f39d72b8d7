// The fallback of struct held where there is no userfaultfd (emulators): memory mapped from a FUSE file of our own
// whose pages are not delivered until their gate is opened. Needs root, for the mount. Used through check.h only.
// Unlike with userfaultfd, a process cannot die while it is held so: the kernel waits for FUSE's answer.
#ifndef GATE_H
#define GATE_H

#include <linux/fuse.h>
#include <sys/mount.h>

enum { GATES = 1024, GATE_SPAN = 1 << 26, GATE_BUFFER = 1 << 16 };

// Shared with the process that serves the file. A gate is a span of the file; the content behind it is in a memfd.
struct gates {
    int touched[GATES], opened[GATES];
};
static struct gates *gates_;
static int gate_file_ = -1, gate_content_ = -1, gates_used_;

struct gate_server {
    int device, life;
    struct {
        uint64_t unique, offset;
        uint32_t size;
    } pending[64];
    int pendings;
};

UNUSED static void gate_reply(int device, uint64_t unique, int error, const void *data, size_t size) {
    static char out[GATE_BUFFER];
    struct fuse_out_header header = {.len = (uint32_t)(sizeof header + size), .error = -error, .unique = unique};
    memcpy(out, &header, sizeof header);
    if (size) memcpy(out + sizeof header, data, size);
    if (write(device, out, header.len) < 0 && errno != ENOENT) _exit(1);
}

UNUSED static void gate_answer_opened(struct gate_server *server) {
    static char data[8192];
    for (int i = 0; i < server->pendings;) {
        if (!__atomic_load_n(&gates_->opened[server->pending[i].offset / GATE_SPAN], __ATOMIC_ACQUIRE)) {
            i++;
            continue;
        }
        ssize_t got = pread(gate_content_, data, server->pending[i].size, (off_t)server->pending[i].offset);
        gate_reply(server->device, server->pending[i].unique, got < 0 ? EIO : 0, data, got < 0 ? 0 : (size_t)got);
        server->pending[i] = server->pending[--server->pendings];
    }
}

UNUSED static void gate_request(struct gate_server *server, const struct fuse_in_header *in) {
    const void *body = in + 1;
    struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096, .max_pages = 1};
    struct fuse_attr_out attr = {.attr_valid = 3600};
    struct fuse_open_out open_out = {0};
    attr.attr = (struct fuse_attr){.ino = 1, .mode = S_IFREG | 0600, .nlink = 1};
    attr.attr.size = (uint64_t)GATES * GATE_SPAN;
    switch (in->opcode) {
    case FUSE_INIT: gate_reply(server->device, in->unique, 0, &init, sizeof init); break;
    case FUSE_GETATTR: gate_reply(server->device, in->unique, 0, &attr, sizeof attr); break;
    case FUSE_OPEN: gate_reply(server->device, in->unique, 0, &open_out, sizeof open_out); break;
    case FUSE_FLUSH:
    case FUSE_RELEASE: gate_reply(server->device, in->unique, 0, NULL, 0); break;
    case FUSE_FORGET:
    case FUSE_INTERRUPT: break;
    case FUSE_READ: {
        const struct fuse_read_in *read = body;
        if (server->pendings == 64 || read->size > 8192) _exit(1);
        server->pending[server->pendings].unique = in->unique;
        server->pending[server->pendings].offset = read->offset;
        server->pending[server->pendings++].size = read->size;
        __atomic_store_n(&gates_->touched[read->offset / GATE_SPAN], 1, __ATOMIC_RELEASE);
        break;
    }
    default: gate_reply(server->device, in->unique, ENOSYS, NULL, 0);
    }
}

// Serves until the test process is gone.
UNUSED static _Noreturn void gate_serve(int device, int life) {
    static char in[GATE_BUFFER] __attribute__((aligned(8)));
    static struct gate_server server;
    server.device = device;
    server.life = life;
    for (;;) {
        struct pollfd polls[] = {{.fd = device, .events = POLLIN}, {.fd = life}};
        if (poll(polls, 2, 1) < 0 && errno != EINTR) _exit(1);
        if (polls[1].revents) _exit(0);
        if (polls[0].revents & POLLERR) _exit(0);
        if (polls[0].revents & POLLIN) {
            ssize_t got = read(device, in, sizeof in);
            if (got >= (ssize_t)sizeof(struct fuse_in_header)) gate_request(&server, (void *)in);
        }
        gate_answer_opened(&server);
    }
}

// A grandchild, so that the program's own wait() never sees it.
UNUSED static void gate_start_server(int device) {
    int life[2];
    CHECK_EQ(pipe2(life, O_CLOEXEC), 0);
    pid_t child = _Fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (_Fork() == 0) {
            // No copy of the program's files, nor of the end whose closing says that it is gone. Not close(): that is
            // the library's.
            for (int fd = 3; fd < 1024; fd++)
                if (fd != device && fd != life[0] && fd != gate_content_) syscall(SYS_close, fd);
            gate_serve(device, life[0]);
        }
        _exit(0);
    }
    CHECK_EQ(waitpid(child, NULL, 0), child);
    close(life[0]);
    close(device);
}

// Mounts the file, opens it and hides it again.
UNUSED static void gates_start(const char *path) {
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC), place = open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0600);
    char options[128];
    if (device < 0) SKIP("neither userfaultfd nor /dev/fuse");
    CHECK(place >= 0);
    close(place);
    snprintf(options, sizeof options, "fd=%d,rootmode=100600,user_id=%d,group_id=%d,max_read=4096", device,
             (int)getuid(), (int)getgid());
    if (mount("aio-rs-gates", path, "fuse", MS_NOSUID | MS_NODEV, options))
        SKIP("neither userfaultfd nor a FUSE mount: %s", check_errno(errno));
    gates_ = mmap(NULL, sizeof *gates_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    gate_content_ = memfd_create("gates", MFD_CLOEXEC);
    CHECK(gates_ != MAP_FAILED && gate_content_ >= 0);
    CHECK_EQ(ftruncate(gate_content_, (off_t)GATES * GATE_SPAN), 0);
    gate_start_server(device);
    gate_file_ = open(path, O_RDWR | O_CLOEXEC);
    CHECK(gate_file_ >= 0);
    // Only now does the kernel ask for the size.
    struct stat status;
    CHECK(fstat(gate_file_, &status) == 0 && status.st_size == (off_t)GATES * GATE_SPAN);
    CHECK_EQ(umount2(path, MNT_DETACH), 0);
    unlink(path);
}

// A new gate: its memory, which blocks, and what will be behind it.
UNUSED static int gate_new(const char *path, size_t length, char **buffer, char **content) {
    if (gate_file_ < 0) gates_start(path);
    int gate = gates_used_++;
    CHECK(gate < GATES && length <= GATE_SPAN);
    off_t offset = (off_t)gate * GATE_SPAN;
    *buffer = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, gate_file_, offset);
    *content = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, gate_content_, offset);
    CHECK(*buffer != MAP_FAILED && *content != MAP_FAILED);
    // One page at a time, none ahead.
    madvise(*buffer, length, MADV_RANDOM);
    return gate;
}

UNUSED static bool gate_touched(int gate) { return __atomic_load_n(&gates_->touched[gate], __ATOMIC_ACQUIRE); }

UNUSED static void gate_open(int gate) { __atomic_store_n(&gates_->opened[gate], 1, __ATOMIC_RELEASE); }

#endif
