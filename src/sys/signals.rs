//! The signal mask of the calling thread, and sending signals to the program.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, sigset_t};

use crate::sys::cancellation::Deferral;
use crate::sys::errno::{Errno, Result, check};

/// All signals stay blocked in this thread until the guard is dropped. libc never blocks the signals that it uses itself, one
/// of which cancels threads, so cancellation is deferred too.
pub struct Blocked {
    old: sigset_t,
    deferral: Deferral,
}

impl Blocked {
    pub fn all() -> Blocked {
        let deferral = Deferral::begin();
        Blocked { old: change_mask(libc::SIG_SETMASK, &full_set()), deferral }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        change_mask(libc::SIG_SETMASK, &self.old);
        self.deferral.end();
    }
}

/// Blocks all signals in the calling thread, one of the library's, for good.
pub fn block_all() {
    change_mask(libc::SIG_SETMASK, &full_set());
}

/// Unblocks all signals in the calling thread, as a SIGEV_THREAD function expects them.
pub fn unblock_all() {
    change_mask(libc::SIG_UNBLOCK, &full_set());
}

/// Runs a write, which returns its error if any, and discards the SIGPIPE or SIGXFSZ that the kernel sends with EPIPE or
/// EFBIG. (It sends them to the writing thread, where they are pending when the write returns.)
pub fn without_those_of_write(write: impl FnOnce() -> Option<Errno>) {
    let _blocked = Blocked::all();
    let before = pending();
    let raised = match write() {
        Some(Errno(libc::EPIPE)) => libc::SIGPIPE,
        Some(Errno(libc::EFBIG)) => libc::SIGXFSZ,
        _ => return,
    };
    // One that was pending before is the program's, and the kernel keeps only one of a kind: leave it.
    if !has(&before, raised) && has(&pending(), raised) {
        take(raised);
    }
}

/// The same for any number of writes. Signals are blocked already.
pub fn without_those_of_writes(writes: impl FnOnce()) {
    let before = pending();
    writes();
    let now = pending();
    for raised in [libc::SIGPIPE, libc::SIGXFSZ] {
        if !has(&before, raised) && has(&now, raised) {
            take(raised);
        }
    }
}

fn has(set: &sigset_t, number: c_int) -> bool {
    // SAFETY: a valid set.
    unsafe { libc::sigismember(ptr::from_ref(set), number) == 1 }
}

fn pending() -> sigset_t {
    let mut set = MaybeUninit::<sigset_t>::zeroed();
    // SAFETY: `set` has room for one, and a set of zeros is valid.
    unsafe {
        libc::sigpending(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Discards a pending signal, which is blocked.
fn take(number: c_int) {
    let mut set = MaybeUninit::<sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that the other calls use; no siginfo is wanted, and the time is zero. On Linux
    // the C library's function would be a cancellation point.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), number);
        #[cfg(target_os = "linux")]
        {
            const BYTES: usize = 8;
            let (set, no_time) = (set.as_ptr(), std::mem::zeroed::<libc::timespec>());
            libc::syscall(libc::SYS_rt_sigtimedwait, set, ptr::null::<libc::siginfo_t>(), &raw const no_time, BYTES);
        }
        #[cfg(not(target_os = "linux"))]
        {
            let mut taken = 0;
            crate::sys::cancellation::put_off(|| libc::sigwait(set.as_ptr(), &raw mut taken));
        }
    }
}

fn full_set() -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set it is given.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Changes the mask and returns the old one.
fn change_mask(how: c_int, set: &sigset_t) -> sigset_t {
    let mut old = MaybeUninit::<sigset_t>::zeroed();
    // SAFETY: `set` is a valid set; `old` has room for one, and a set of zeros is valid.
    unsafe {
        libc::pthread_sigmask(how, ptr::from_ref(set), old.as_mut_ptr());
        old.assume_init()
    }
}

/// Whether the program has a handler function for this signal, or had one at an earlier call: a handler may uninstall itself
/// while it runs (SA_RESETHAND). (For the signals that the C library uses itself, sigaction fails.)
pub fn has_handler(number: c_int) -> bool {
    /// One bit for each signal number.
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let bit = 1 << (number.cast_unsigned() % u64::BITS);
    let has = SEEN.load(Ordering::Relaxed) & bit != 0 || action(number).is_some_and(|action| is_handler(&action));
    if has {
        SEEN.fetch_or(bit, Ordering::Relaxed);
    }
    has
}

fn is_handler(action: &libc::sigaction) -> bool {
    action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN
}

fn action(number: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is set; `action` has room for one, and an action of zeros is valid.
    unsafe { (libc::sigaction(number, ptr::null(), action.as_mut_ptr()) == 0).then(|| action.assume_init()) }
}

/// Whether all of the program's handlers ask that interrupted system calls be restarted (SA_RESTART).
#[cfg(target_os = "linux")]
pub fn all_handlers_restart() -> bool {
    let restarts = |action: libc::sigaction| !is_handler(&action) || action.sa_flags & libc::SA_RESTART != 0;
    (1..=max_signal()).all(|number| action(number).is_none_or(restarts))
}

/// Only Linux's code asks.
#[cfg(not(target_os = "linux"))]
pub fn all_handlers_restart() -> bool {
    false
}

/// The highest signal number that sigqueue takes.
pub fn max_signal() -> c_int {
    #[cfg(target_os = "nto")]
    return 63;
    #[cfg(not(target_os = "nto"))]
    return 64;
}

/// Queues a signal with a value to the process. Errors: EAGAIN (the queue is full).
#[cfg(target_os = "linux")]
pub fn queue_to_process(signo: c_int, value: usize) -> Result<()> {
    let info = Info::new(signo, value);
    // SAFETY: the kernel reads one siginfo; a process may queue any negative si_code to itself.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, info.pid, signo, ptr::from_ref(&info)) };
    check(done).map(|_| ())
}

/// Queues a signal with a value to one thread (SIGEV_THREAD_ID). Errors: EAGAIN, ESRCH (no such thread any more).
#[cfg(target_os = "linux")]
pub fn queue_to_thread(thread: c_int, signo: c_int, value: usize) -> Result<()> {
    let info = Info::new(signo, value);
    // SAFETY: as above; the kernel refuses a thread of another process.
    let done = unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, info.pid, thread, signo, ptr::from_ref(&info)) };
    check(done).map(|_| ())
}

/// The kernel's siginfo for a queued signal. It can say SI_ASYNCIO, which sigqueue(3) cannot.
#[cfg(target_os = "linux")]
#[repr(C)]
struct Info {
    signo: c_int,
    errno: c_int,
    code: c_int,
    pad: c_int,
    pid: c_int,
    uid: libc::uid_t,
    value: usize,
    rest: [usize; 12],
}

#[cfg(target_os = "linux")]
const _: () = assert!(size_of::<Info>() == size_of::<libc::siginfo_t>());

#[cfg(target_os = "linux")]
impl Info {
    fn new(signo: c_int, value: usize) -> Info {
        // SAFETY: both always succeed.
        let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
        Info { signo, errno: 0, code: libc::SI_ASYNCIO, pad: 0, pid, uid, value, rest: [0; 12] }
    }
}

/// Queues a signal with a value to the process. Here its si_code is SI_QUEUE instead of SI_ASYNCIO.
#[cfg(not(target_os = "linux"))]
pub fn queue_to_process(signo: c_int, value: usize) -> Result<()> {
    unsafe extern "C" {
        fn sigqueue(pid: libc::pid_t, signo: c_int, value: usize) -> c_int;
    }
    // SAFETY: passes numbers only; `union sigval` is passed like a pointer.
    check(unsafe { sigqueue(libc::getpid(), signo, value) }).map(|_| ())
}
