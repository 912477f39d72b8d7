// Sandboxes: filters that refuse system calls, from where the program installs them on, in all its threads or one.
#ifndef SANDBOX_H
#define SANDBOX_H

#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

// 0: in the calling thread only.
static unsigned filter_flags = SECCOMP_FILTER_FLAG_TSYNC;

HELPER void install_filter(struct sock_filter *program, size_t length) {
    struct sock_fprog filter = {.len = (unsigned short)length, .filter = program};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter_flags, &filter))
        SKIP("no seccomp: %s", check_errno(errno));
}

// These calls fail with this error.
HELPER void forbid(const int *calls, unsigned count, int error) {
    struct sock_filter program[3 + 32];
    CHECK(count > 0 && count <= 32);
    size_t n = 0;
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < count; i++)
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i],
                                                    (unsigned char)(count - i), 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error);
    install_filter(program, n);
    for (unsigned i = 0; i < count; i++)
        CHECK_FAILS(syscall(calls[i], -1, 0, 0, 0, 0, 0), error); // else this would prove nothing
}

#endif
