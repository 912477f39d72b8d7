//! The kernel's own AIO (io_setup(2)): it takes what O_DIRECT transfers, and completes it without a thread.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use libc::{c_int, c_long, c_uint, timespec};

use super::syscalls;
use crate::errno::{Errno, Result, check};
use crate::sys::cancellation::with_cleanup;
use crate::sys::clock::{self, Nanos};
use crate::sys::transfer::Transfer;

/// The kernel's struct iocb.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Iocb {
    data: u64,
    #[cfg(target_endian = "little")]
    key: u32,
    flags: c_int,
    #[cfg(target_endian = "big")]
    key: u32,
    opcode: u16,
    priority: i16,
    fd: c_int,
    buffer: u64,
    count: u64,
    offset: i64,
    reserved: u64,
    more_flags: u32,
    event_fd: u32,
}

/// The kernel's struct io_event.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Event {
    pub token: u64,
    iocb: u64,
    result: i64,
    result2: i64,
}

const _: () = assert!(size_of::<Iocb>() == 64 && size_of::<Event>() == 32);

impl Event {
    pub const NONE: Event = Event { token: 0, iocb: 0, result: 0, result2: 0 };

    /// None: `wake`'s.
    pub fn result(&self) -> Option<Result<isize>> {
        if self.token == WAKEUP {
            return None;
        }
        let result = isize::try_from(self.result).unwrap_or(-1);
        Some(if result >= 0 { Ok(result) } else { Err(Errno(c_int::try_from(-result).unwrap_or(libc::EIO))) })
    }
}

const PREAD: u16 = 0;
const PWRITE: u16 = 1;
const POLL: u16 = 5;
/// Do not wait in io_submit.
const RWF_NOWAIT: c_int = 8;
/// io_pgetevents(2), which the crate libc does not know. Elsewhere a number that no system call has: callers sleep there.
pub(super) const IO_PGETEVENTS: c_long = if cfg!(target_arch = "x86_64") {
    333
} else if cfg!(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")) {
    292
} else {
    -1
};
/// No request has it.
const WAKEUP: u64 = u64::MAX;

impl Iocb {
    pub const NONE: Iocb = Iocb {
        data: 0,
        key: 0,
        flags: 0,
        opcode: 0,
        priority: 0,
        fd: -1,
        buffer: 0,
        count: 0,
        offset: 0,
        reserved: 0,
        more_flags: 0,
        event_fd: 0,
    };

    /// What does not fit is refused by the kernel.
    pub fn new(transfer: &Transfer) -> Iocb {
        Iocb {
            data: transfer.token,
            flags: RWF_NOWAIT,
            opcode: if transfer.writes { PWRITE } else { PREAD },
            fd: transfer.fd,
            buffer: u64::try_from(transfer.buffer.expose_provenance()).unwrap_or(0),
            count: u64::try_from(transfer.count).unwrap_or(u64::MAX),
            offset: i64::try_from(transfer.offset).unwrap_or(-1),
            ..Iocb::NONE
        }
    }
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

/// How the ring of results begins, which the kernel maps where the context's number says (fs/aio.c).
#[repr(C)]
pub(super) struct Ring {
    pub id: u32,
    pub size: u32,
    pub head: AtomicU32,
    pub tail: AtomicU32,
    pub magic: u32,
    /// Nobody needs to know these: the kernel stores them once, and never reads them.
    pub compatible_features: AtomicU32,
    incompatible_features: u32,
    header_length: u32,
}

const RING_HEADER: usize = size_of::<Ring>();

pub(super) const MAGIC: u32 = 0xa10a_10a1;

impl Ring {
    /// Whether it is laid out as we know it.
    pub fn is_known(&self) -> bool {
        self.magic == MAGIC && self.incompatible_features == 0 && usize::try_from(self.header_length) == Ok(RING_HEADER)
    }
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
        let number = usize::try_from(self.number.load(Ordering::Relaxed)).unwrap_or(0);
        let first: *const Event = ptr::with_exposed_provenance(number + RING_HEADER);
        let mut head = ring.head.load(Ordering::Relaxed);
        // Acquire: the kernel has stored the results before the tail.
        let tail = ring.tail.load(Ordering::Acquire);
        let mut got = 0;
        for event in events.iter_mut() {
            let Some(index) = usize::try_from(head).ok().filter(|_| head != tail && head < ring.size) else { break };
            // SAFETY: the mapping holds `size` results behind its header, and the kernel leaves those before the tail alone.
            *event = unsafe { first.wrapping_add(index).read() };
            head = (head + 1) % ring.size;
            got += 1;
        }
        // Release: the kernel may use their places again.
        ring.head.store(head, Ordering::Release);
        got
    }

    /// Waits for results and takes them, where the ring is not ours. Returns how many; 0: the time is up. Errors: EINTR, and
    /// what a sandbox that came later says.
    pub fn reap(&self, events: &mut [Event], patience: Nanos) -> Result<usize> {
        let context = self.number.load(Ordering::Relaxed);
        let timeout: timespec = clock::to_timespec(patience);
        let at_least: c_long = 1;
        // SAFETY: there is room for so many events.
        let got = unsafe {
            let room = events.len();
            libc::syscall(libc::SYS_io_getevents, context, at_least, room, events.as_mut_ptr(), &raw const timeout)
        };
        check(got).map(|got| usize::try_from(got).unwrap_or(0))
    }

    /// Waits until there are results, and leaves them where they are: the kernel takes none out of the ring that it cannot
    /// store (EFAULT). False: the time is up. A cancellation point. Errors: EINTR, a signal handler ran; and as `reap`.
    pub fn watch(&self, patience: Nanos, cleanup: extern "C" fn(*mut c_void), argument: *mut c_void) -> Result<bool> {
        const NOWHERE: *mut Event = ptr::without_provenance_mut(usize::MAX - 4095);
        let context = self.number.load(Ordering::Relaxed);
        let timeout: timespec = clock::to_timespec(patience);
        let one: c_long = 1;
        // Not io_getevents: that ends with EINTR when the process was only stopped, too.
        let mask = ptr::null::<c_void>();
        // SAFETY: the kernel checks the address.
        let wait = || unsafe { libc::syscall(IO_PGETEVENTS, context, one, one, NOWHERE, &raw const timeout, mask) };
        match check(with_cleanup(cleanup, argument, || syscalls::cancellable(wait))) {
            Err(Errno(libc::EFAULT)) => Ok(true),
            got => got.map(|_| false),
        }
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
        self.ring().is_some_and(|ring| ring.head.load(Ordering::Relaxed) != ring.tail.load(Ordering::Acquire))
    }

    /// How many results were taken so far, modulo the size of the ring.
    pub fn taken(&self) -> u32 {
        self.ring().map_or(0, |ring| ring.head.load(Ordering::Relaxed))
    }

    fn ring(&self) -> Option<&Ring> {
        let number = self.number.load(Ordering::Relaxed);
        if number == NOT_YET || number == REFUSED {
            return None;
        }
        let ring: *const Ring = ptr::with_exposed_provenance(usize::try_from(number).ok()?);
        // SAFETY: the kernel has mapped the ring there, which is never unmapped.
        let ring = unsafe { ring.as_ref() }?;
        ring.is_known().then_some(ring)
    }

    /// Ends the `reap` under way, or the next one. `ready` is a descriptor that can be written to at once. Error: it cannot.
    pub fn wake(&self, ready: c_int) -> Result<()> {
        let mask = u64::from(libc::POLLOUT.cast_unsigned());
        let mut iocb = Iocb { data: WAKEUP, opcode: POLL, fd: ready, buffer: mask, ..Iocb::NONE };
        if self.submit(&[&raw mut iocb]) == 1 { Ok(()) } else { Err(Errno::AGAIN) }
    }
}
