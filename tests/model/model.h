// What the two random models share: a seed for each schedule, random numbers for each thread, and failures that name the seed.
#ifndef MODEL_H
#define MODEL_H

#include "../c/check.h"

// The schedule that runs, and whose random numbers this thread draws.
static unsigned long seed;
static _Thread_local uint64_t random_state;

#define BAD(...)                                                                                                       \
    do {                                                                                                               \
        char what_[600];                                                                                               \
        snprintf(what_, sizeof what_, __VA_ARGS__);                                                                    \
        FAIL("seed %lu: %s", seed, what_);                                                                             \
    } while (0)

// Each thread of a schedule draws numbers of its own, so that they do not depend on how the threads are scheduled.
HELPER void start_random(unsigned thread) { random_state = seed * 0x9E3779B97F4A7C15u + thread * 0xBF58476D1CE4E5B9u + 1; }

// 0 to n - 1.
HELPER unsigned below(unsigned n) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return n ? (unsigned)((random_state * 0x2545F4914F6CDD1Du) >> 33) % n : 0;
}

HELPER bool one_in(unsigned n) { return below(n) == 0; }

HELPER void nap_us(long us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

// The bytes that a request with this number writes.
HELPER void pattern(unsigned char *to, size_t size, unsigned number) {
    uint64_t x = seed * 1000003u + number * 7919u + 12345u;
    for (size_t i = 0; i < size; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        to[i] = (unsigned char)(x >> 56);
    }
}

HELPER int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 2048; fd++) count += fcntl(fd, F_GETFD) != -1;
    return count;
}

HELPER void join(pthread_t thread, const char *what) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 3 * PATIENCE_S;
    if (pthread_timedjoin_np(thread, NULL, &deadline)) BAD("a thread hangs: %s", what);
}

// Arguments: the first seed, and how many schedules or (with "s" behind it) seconds.
HELPER void run_schedules(int argc, char **argv, void schedule(void)) {
    if (argc < 3) FAIL("usage: %s FIRST-SEED COUNT|SECONDSs", argv[0]);
    unsigned long first = strtoul(argv[1], NULL, 10);
    char *unit;
    double amount = strtod(argv[2], &unit), started = now_s();
    bool seconds = *unit == 's';
    int before = 0;
    unsigned long done = 0;
    // What the library makes once, and keeps, is there after some schedules.
    enum { WARM = 6 };
    for (; seconds ? now_s() < started + amount : (double)done < amount; done++) {
        seed = first + done;
        schedule();
        if (done + 1 == WARM) before = open_descriptors();
    }
    int after = open_descriptors();
    if (done > 2 * WARM && after > before + 8) FAIL("descriptors leak: %d after %d schedules, %d at the end", before, WARM, after);
    printf("%lu schedules from seed %lu in %.1f s\n", done, first, now_s() - started);
}

#endif
