//! The kernel's own AIO (io_setup(2)): it takes what O_DIRECT transfers, and completes it without a thread.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use libc::{c_int, c_long, c_uint, c_ulong, timespec};

use super::aio_abi::{IO_CMD_POLL, IO_CMD_PREAD, IO_CMD_PWRITE, io_event};
use super::aio_ring::{self, Completions, IO_PGETEVENTS};
use super::syscalls;
use crate::sys::cancellation::with_cleanup;
use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{Errno, Result, check};
use crate::sys::transfer::Transfer;

pub use super::aio_abi::iocb as Iocb;

/// What came of a request.
#[derive(Clone, Copy)]
pub struct Event {
    pub token: u64,
    /// Bytes, or a negative errno.
    result: c_long,
}

impl Event {
    pub const NONE: Event = Event { token: 0, result: 0 };

    fn new(event: &io_event) -> Event {
        let token = u64::try_from(event.data.expose_provenance()).unwrap_or(0);
        Event { token, result: event.res.cast_signed() }
    }

    /// None: `wake`'s.
    pub fn result(&self) -> Option<Result<isize>> {
        if self.token == WAKEUP {
            return None;
        }
        let result = isize::try_from(self.result).unwrap_or(-1);
        Some(if result >= 0 { Ok(result) } else { Err(Errno(c_int::try_from(-result).unwrap_or(libc::EIO))) })
    }
}

/// Do not wait in io_submit.
const RWF_NOWAIT: c_int = 8;
/// No request has it.
const WAKEUP: u64 = u64::MAX;

impl Iocb {
    /// What does not fit is refused by the kernel.
    pub fn new(transfer: &Transfer) -> Iocb {
        let mut iocb = Iocb {
            data: token_pointer(transfer.token),
            aio_lio_opcode: if transfer.writes { IO_CMD_PWRITE } else { IO_CMD_PREAD },
            aio_fildes: transfer.fd,
            ..Iocb::NONE
        };
        iocb.set_rw_flags(RWF_NOWAIT);
        let common = iocb.common_mut();
        common.buf = transfer.buffer;
        common.nbytes = c_ulong::try_from(transfer.count).unwrap_or(c_ulong::MAX);
        common.offset = i64::try_from(transfer.offset).unwrap_or(-1);
        iocb
    }
}

/// The kernel's `data` is a number to the library.
fn token_pointer(token: u64) -> *mut c_void {
    ptr::without_provenance_mut(usize::try_from(token).unwrap_or(usize::MAX))
}

/// Whether the process's limit lets a file be written up to this offset (RLIMIT_FSIZE). Beyond
/// it the kernel would send SIGXFSZ to whoever hands the request over.
pub fn may_write_up_to(end: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` has room for the limits.
    let known = check(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) }).is_ok();
    known && end <= limit.rlim_cur
}

/// The process's context, made when it is first needed. It is never destroyed: not in a child of fork either, where its
/// number means nothing.
pub struct Context {
    number: AtomicU64,
    /// It takes no more requests.
    given_up: AtomicBool,
    /// Results are taken by `take`: `watch` works, or nothing else does any more.
    ring_is_ours: AtomicBool,
}

const NOT_YET: u64 = 0;
const REFUSED: u64 = u64::MAX;

/// Requests in flight at the same time. All processes together have 65,536 (fs.aio-max-nr).
const ROOM: c_uint = 512;

impl Context {
    pub const fn new(wanted: bool) -> Context {
        let number = AtomicU64::new(if wanted { NOT_YET } else { REFUSED });
        Context { number, given_up: AtomicBool::new(false), ring_is_ours: AtomicBool::new(false) }
    }

    /// Whether it is there, or may be had.
    pub fn is_possible(&self) -> bool {
        self.number.load(Ordering::Relaxed) != REFUSED && !self.given_up.load(Ordering::Relaxed)
    }

    /// Makes it, if it was not made or refused before; one thread at a time. (A second one, to be destroyed, would take the
    /// kernel a tenth of a second.) False: the kernel, its limit or a sandbox refuses.
    pub fn open(&self) -> bool {
        if self.number.load(Ordering::Relaxed) == NOT_YET {
            let mut made = 0u64;
            // SAFETY: the kernel stores a context's number.
            let done = check(unsafe { libc::syscall(libc::SYS_io_setup, ROOM, &raw mut made) });
            self.number.store(if done.is_ok() { made } else { REFUSED }, Ordering::Relaxed);
        }
        self.is_possible()
    }

    /// Whether it is there.
    pub fn is_open(&self) -> bool {
        self.number.load(Ordering::Relaxed) != NOT_YET && self.is_possible()
    }

    /// From now on requests go elsewhere, and nobody `reap`s: what is still to come is in the ring.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.ring_is_ours.store(true, Ordering::Relaxed);
    }

    /// Hands requests to the kernel. How many it took: those at the beginning. The next one it refuses, for whatever reason.
    pub fn submit(&self, requests: &[*mut Iocb]) -> usize {
        let context = self.number.load(Ordering::Relaxed);
        // SAFETY: the kernel reads the iocbs, stores their keys, and checks the buffers.
        let done = unsafe { libc::syscall(libc::SYS_io_submit, context, requests.len(), requests.as_ptr()) };
        usize::try_from(done).unwrap_or(0)
    }

    /// Takes results out of the ring, without a system call. Returns how many. One thread at a time, under a lock, and only
    /// where nobody `reap`s: whoever stood still in between would take the ring back to where it was.
    pub fn take(&self, events: &mut [Event]) -> usize {
        let Some(ring) = self.ring() else { return 0 };
        let mut taken = 0;
        for (event, found) in events.iter_mut().zip(ring.untaken()) {
            *event = Event::new(&found);
            taken += 1;
        }
        ring.take(taken);
        usize::try_from(taken).unwrap_or(0)
    }

    /// Waits for results and takes them, where the ring is not ours. Returns how many; 0: the time is up. Errors: EINTR, and
    /// what a sandbox that came later says.
    pub fn reap(&self, events: &mut [Event], patience: Nanos) -> Result<usize> {
        const AT_ONCE: usize = 64;
        let context = self.number.load(Ordering::Relaxed);
        let timeout: timespec = clock::to_timespec(patience);
        let at_least: c_long = 1;
        let mut found = [io_event::NONE; AT_ONCE];
        // SAFETY: there is room for so many events.
        let got = unsafe {
            let room = events.len().min(AT_ONCE);
            libc::syscall(libc::SYS_io_getevents, context, at_least, room, found.as_mut_ptr(), &raw const timeout)
        };
        let got = check(got).map(|got| usize::try_from(got).unwrap_or(0))?;
        events.iter_mut().zip(&found).take(got).for_each(|(event, found)| *event = Event::new(found));
        Ok(got)
    }

    /// Waits until there are results, and leaves them in the ring. False: the time is up. A cancellation point. Errors: EINTR, a
    /// signal handler ran; and as `reap`.
    pub fn watch(&self, patience: Nanos, cleanup: extern "C" fn(*mut c_void), argument: *mut c_void) -> Result<bool> {
        let context = self.number.load(Ordering::Relaxed);
        let timeout: timespec = clock::to_timespec(patience);
        let one: c_long = 1;
        // Not io_getevents: that ends with EINTR when the process was only stopped, too.
        let mask = ptr::null::<c_void>();
        aio_ring::wait_for_event(|nowhere| {
            // SAFETY: the kernel checks the address.
            let wait = || unsafe { libc::syscall(IO_PGETEVENTS, context, one, one, nowhere, &raw const timeout, mask) };
            with_cleanup(cleanup, argument, || syscalls::cancellable(wait))
        })
    }

    /// Finds out whether `watch` works. There is a result, and nobody else takes it.
    pub fn try_watching(&self) {
        extern "C" fn nothing(_: *mut c_void) {}
        let works = self.has_results() && self.watch(0, nothing, ptr::null_mut()) == Ok(true) && self.has_results();
        // Where it has worked once, a caller may have taken the result that was to be seen.
        self.ring_is_ours.fetch_or(works, Ordering::Relaxed);
    }

    /// Whether `watch` works here.
    pub fn can_be_watched(&self) -> bool {
        self.is_ring_ours() && self.is_possible()
    }

    /// Whether results are to be taken by `take`, not by `reap`. Once they are, they stay so.
    pub fn is_ring_ours(&self) -> bool {
        self.ring_is_ours.load(Ordering::Relaxed)
    }

    /// Whether there is something to `reap`.
    pub fn has_results(&self) -> bool {
        self.ring().is_some_and(|ring| ring.head() != ring.tail())
    }

    /// How many results were taken so far, modulo the size of the ring.
    pub fn taken(&self) -> u32 {
        self.ring().map_or(0, |ring| ring.head())
    }

    fn ring(&self) -> Option<Completions> {
        let number = self.number.load(Ordering::Relaxed);
        if number == NOT_YET || number == REFUSED {
            return None;
        }
        // SAFETY: the kernel has mapped the ring there, and the context is never destroyed.
        unsafe { Completions::of(number) }
    }

    /// Ends the `reap` under way, or the next one. `ready` is a descriptor that can be written to at once. Error: it cannot.
    pub fn wake(&self, ready: c_int) -> Result<()> {
        let mut iocb =
            Iocb { data: token_pointer(WAKEUP), aio_lio_opcode: IO_CMD_POLL, aio_fildes: ready, ..Iocb::NONE };
        // As a whole word, in which the kernel looks for it whatever the order of bytes.
        iocb.common_mut().buf = ptr::without_provenance_mut(usize::from(libc::POLLOUT.cast_unsigned()));
        if self.submit(&[&raw mut iocb]) == 1 { Ok(()) } else { Err(Errno::AGAIN) }
    }
}
