//! Starting threads, and what the kernel tells of them.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::errno::{Errno, Result, check_code};
use crate::sys::fork;
use crate::sys::signals::Blocked;

/// What a thread runs. "C-unwind": a notification function may leave it by pthread_exit.
pub type Main = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// Enough for the library's own threads, which call nothing of the program's.
const SMALL_STACK: usize = 256 * 1024;

/// Starts a detached thread with all signals blocked. Errors: EAGAIN (no more threads), ENOMEM.
pub fn spawn(main: Main, argument: *mut c_void) -> Result<()> {
    // First: `small_stack` may take a lock of the C library's, too.
    check_process()?;
    spawn_with_stack(small_stack(), main, argument).or_else(|error| match error.0 {
        libc::EINVAL => spawn_with_stack(0, main, argument),
        _ => Err(error),
    })
}

/// Error: EAGAIN, because pthread_create might hang in this process (see `fork::may_make_threads`).
fn check_process() -> Result<()> {
    if fork::may_make_threads() { Ok(()) } else { Err(Errno::AGAIN) }
}

/// `SMALL_STACK`, and what the C library takes from each stack for itself: above all the thread-local storage of the program
/// and its libraries, which may be large. Computed once: it is fixed when the program starts.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn small_stack() -> usize {
    static BYTES: AtomicUsize = AtomicUsize::new(0);
    let known = BYTES.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let bytes = SMALL_STACK.saturating_add(taken_from_stack()).next_multiple_of(PAGE);
    BYTES.store(bytes, Ordering::Relaxed);
    bytes
}

/// The largest page that a kernel may have.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const PAGE: usize = 64 * 1024;

/// glibc tells by an internal function, which Rust's standard library calls too. A statically linked program does not export
/// it; there it is the sum of the modules' thread-local segments.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn taken_from_stack() -> usize {
    type Smallest = unsafe extern "C" fn(*const libc::pthread_attr_t) -> usize;
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    let mut segments = 0;
    // SAFETY: the symbol, if it is there, is glibc's function of this type, which reads initialised attributes; `add_segments`
    // gets a pointer to `segments`, which outlives the call.
    unsafe {
        libc::dl_iterate_phdr(Some(add_segments), (&raw mut segments).cast());
        let symbol = libc::dlsym(libc::RTLD_DEFAULT, c"__pthread_get_minstack".as_ptr());
        let smallest = std::mem::transmute::<*mut c_void, Option<Smallest>>(symbol);
        if let Some(smallest) = smallest
            && libc::pthread_attr_init(attributes.as_mut_ptr()) == 0
        {
            segments = smallest(attributes.as_ptr()).max(segments);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
    segments
}

/// Adds the size of one module's thread-local storage to `sum`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" fn add_segments(module: *mut libc::dl_phdr_info, _size: usize, sum: *mut c_void) -> libc::c_int {
    // SAFETY: dl_iterate_phdr passes a module, whose headers are mapped, and the pointer of `taken_from_stack`.
    unsafe {
        let headers = std::slice::from_raw_parts((*module).dlpi_phdr, usize::from((*module).dlpi_phnum));
        for header in headers.iter().filter(|header| header.p_type == libc::PT_TLS) {
            let bytes = header.p_memsz.saturating_add(header.p_align);
            let sum = &mut *sum.cast::<usize>();
            *sum = sum.saturating_add(usize::try_from(bytes).unwrap_or(0));
        }
    }
    0
}

/// musl enlarges the stack itself by what it needs; elsewhere thread-local storage does not lie on the stack.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn small_stack() -> usize {
    SMALL_STACK
}

/// Lowers the calling thread's timer slack, by which the kernel may prolong a sleep, from 50 microseconds to 1.
#[cfg(libaio)]
pub fn be_on_time() {
    const NANOSECONDS: libc::c_ulong = 1_000;
    // SAFETY: passes numbers only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, NANOSECONDS) };
}

/// Starts a detached thread with the default stack, to run functions of the program. It starts with all signals blocked.
pub fn spawn_for_program(main: Main, argument: *mut c_void) -> Result<()> {
    spawn_with_stack(0, main, argument).or_else(|error| match error.0 {
        // The default (`ulimit -s`) is too small to hold the thread-local storage.
        libc::EINVAL => spawn_with_stack(small_stack(), main, argument),
        _ => Err(error),
    })
}

fn spawn_with_stack(bytes: usize, main: Main, argument: *mut c_void) -> Result<()> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    // SAFETY: `attributes` is initialised first, used, and destroyed last.
    unsafe {
        check_code(libc::pthread_attr_init(attributes.as_mut_ptr()))?;
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        if bytes != 0 {
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), bytes);
        }
        let result = create(attributes.as_ptr(), main, argument);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        result
    }
}

/// Starts a thread with the program's own attributes. Errors: those of pthread_create.
///
/// # Safety
/// `attributes` points to initialised attributes.
pub unsafe fn spawn_with(attributes: *const libc::pthread_attr_t, main: Main, argument: *mut c_void) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { create(attributes, main, argument) }
}

/// # Safety
/// `attributes` is NULL or points to initialised attributes.
unsafe fn create(attributes: *const libc::pthread_attr_t, main: Main, argument: *mut c_void) -> Result<()> {
    // Declared anew because the crate libc declares the start routine as plain "C". The calling convention is the same.
    unsafe extern "C" {
        fn pthread_create(
            thread: *mut libc::pthread_t,
            attributes: *const libc::pthread_attr_t,
            main: Main,
            argument: *mut c_void,
        ) -> libc::c_int;
    }
    check_process()?;
    let mut thread = MaybeUninit::uninit();
    // The new thread inherits the signal mask.
    let _blocked = Blocked::all();
    // SAFETY: `thread` has room for the result; the rest is the caller's promise.
    check_code(unsafe { pthread_create(thread.as_mut_ptr(), attributes, main, argument) })
}

/// Names the calling thread, for ps, top and debuggers (Linux: 15 bytes at most).
pub fn set_name(name: &CStr) {
    // SAFETY: the name is a C string; a name too long is refused, and that does no harm.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) };
}

/// The kernel's number of the calling thread. Never 0, which stands for "no thread".
pub fn current_id() -> i32 {
    #[cfg(target_os = "linux")]
    // SAFETY: gettid takes nothing and always succeeds.
    return unsafe { libc::syscall(libc::SYS_gettid) }.try_into().unwrap_or(0);
    // Elsewhere nothing looks a thread up by its number.
    #[cfg(not(target_os = "linux"))]
    return 1;
}

/// The process ID.
pub fn process_id() -> i32 {
    // SAFETY: getpid takes nothing and always succeeds.
    unsafe { libc::getpid() }
}

/// Runs `f` in the child of every fork(2).
pub fn at_fork_in_child(f: extern "C" fn()) {
    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<extern "C" fn()>,
            parent: Option<extern "C" fn()>,
            child: Option<extern "C" fn()>,
        ) -> libc::c_int;
    }
    // SAFETY: `f` stays mapped: the library is never unloaded. If memory is short, the page that `fork::Mark` has wiped in a
    // child still tells.
    unsafe { pthread_atfork(None, None, Some(f)) };
}

/// For waiting in a loop where no wake-up comes: yields the processor at first, then sleeps a millisecond at a time.
pub struct Pause(u32);

impl Pause {
    pub fn new() -> Pause {
        Pause(0)
    }

    /// One step of the wait.
    pub fn once(&mut self) {
        const TURNS: u32 = 50;
        if self.0 < TURNS {
            self.0 += 1;
            // SAFETY: sched_yield takes nothing.
            unsafe { libc::sched_yield() };
        } else {
            sleep_a_millisecond();
        }
    }
}

pub fn sleep_a_millisecond() {
    sleep_for(super::clock::MILLISECOND);
}

/// No cancellation point on Linux, unlike libc's nanosleep: callers hold things that a cancelled thread would not give back.
pub fn sleep_for(time: super::clock::Nanos) {
    let time = super::clock::to_timespec(time);
    // SAFETY: nanosleep reads one timespec.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::syscall(libc::SYS_nanosleep, &raw const time, 0usize)
    };
    // SAFETY: nanosleep reads one timespec.
    #[cfg(not(target_os = "linux"))]
    unsafe {
        libc::nanosleep(&raw const time, std::ptr::null_mut())
    };
}

/// The processor time that a thread of this process has used. None: there is no such thread, or the system cannot tell.
pub fn processor_time(thread: i32) -> Option<super::clock::Nanos> {
    #[cfg(target_os = "linux")]
    {
        // The number of a thread's clock, as pthread_getcpuclockid computes it. By a raw call: the program may have replaced
        // clock_gettime with a function that does not know such clocks.
        const OF_THREAD: i32 = 4;
        const PRECISE: i32 = 2;
        let clock = (!thread) << 3 | OF_THREAD | PRECISE;
        let mut time = MaybeUninit::<libc::timespec>::zeroed();
        // SAFETY: room for one timespec, and one of zeros is valid.
        let (done, time) = unsafe {
            let done = libc::syscall(libc::SYS_clock_gettime, clock, time.as_mut_ptr());
            (done, time.assume_init())
        };
        (thread > 0 && done == 0).then(|| super::clock::from_timespec(&time))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = thread;
        None
    }
}

/// How often the calling thread has slept (voluntary context switches). None: the system cannot tell.
pub fn times_slept() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: room for one rusage, and one of zeros is valid.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
            usage.assume_init()
        };
        u64::try_from(usage.ru_nvcsw).ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}
