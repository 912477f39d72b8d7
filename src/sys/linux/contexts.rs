//! The program's own contexts of the kernel's AIO: plain system calls, and a view of the rings.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::Ordering;

use libc::{c_int, c_long, timespec};

use super::kaio::{IO_PGETEVENTS, Ring};
use super::readable::{KERNEL_SET, is_readable};
use crate::errno::{Errno, Result, check};
use crate::libaio::abi::{io_event, iocb};

/// io_setup(2). Error: as there.
///
/// # Safety
/// The kernel checks the address; what is stored there is the caller's.
pub unsafe fn setup(count: c_int, place: *mut u64) -> Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { libc::syscall(libc::SYS_io_setup, count, place) }).map(|_| ())
}

/// io_destroy(2). Waits for what the context has in flight. Error: EINVAL.
pub fn destroy(context: u64) -> Result<()> {
    // SAFETY: whose context it is was decided by the caller.
    check(unsafe { libc::syscall(libc::SYS_io_destroy, context) }).map(|_| ())
}

/// io_submit(2). How many were accepted. Errors: as there.
pub fn submit(context: u64, count: c_long, list: *const *mut iocb) -> Result<c_long> {
    // SAFETY: the kernel checks all addresses; buffers are the program's.
    check(unsafe { libc::syscall(libc::SYS_io_submit, context, count, list) })
}

/// io_cancel(2). Errors: as there.
pub fn cancel(context: u64, block: *mut iocb, event: *mut io_event) -> Result<()> {
    // SAFETY: the kernel checks all addresses.
    check(unsafe { libc::syscall(libc::SYS_io_cancel, context, block, event) }).map(|_| ())
}

/// What io_getevents and io_pgetevents have in common.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub at_least: c_long,
    pub at_most: c_long,
    pub events: *mut io_event,
    pub timeout: *mut timespec,
}

/// io_getevents(2). How many were stored. Errors: as there.
pub fn get_events(context: u64, wanted: &Wanted) -> Result<c_long> {
    let Wanted { at_least, at_most, events, timeout } = *wanted;
    // SAFETY: the kernel checks all addresses.
    check(unsafe { libc::syscall(libc::SYS_io_getevents, context, at_least, at_most, events, timeout) })
}

/// io_pgetevents(2). How many were stored. Errors: as there; ENOSYS, Linux before 4.18.
pub fn get_events_masked(context: u64, wanted: &Wanted, mask: *const libc::sigset_t) -> Result<c_long> {
    /// The kernel's struct __aio_sigset.
    #[repr(C)]
    struct Mask {
        mask: *const libc::sigset_t,
        bytes: usize,
    }
    let Wanted { at_least, at_most, events, timeout } = *wanted;
    let mask = Mask { mask, bytes: KERNEL_SET };
    // SAFETY: the kernel checks all addresses.
    check(unsafe { libc::syscall(IO_PGETEVENTS, context, at_least, at_most, events, timeout, &raw const mask) })
}

/// Waits until the context's ring has an event, and leaves it there (nothing is taken that cannot be stored). False: the time
/// is up. Errors: EINVAL, EINTR; EFAULT, the time cannot be read.
pub fn wait_for_event(context: u64, timeout: *const timespec) -> Result<bool> {
    let mut time = read_time(timeout)?;
    let timeout = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    let nowhere = ptr::without_provenance_mut(usize::MAX - 4095);
    let wanted = Wanted { at_least: 1, at_most: 1, events: nowhere, timeout };
    match get_events(context, &wanted) {
        Err(Errno(libc::EFAULT)) => Ok(true),
        got => got.map(|_| false),
    }
}

/// None: for ever. (The kernel itself takes a negative time for that.)
fn read_time(timeout: *const timespec) -> Result<Option<timespec>> {
    if timeout.is_null() {
        return Ok(None);
    }
    let last = timeout.addr().saturating_add(size_of::<timespec>() - 8);
    if !is_readable(timeout.addr()) || !is_readable(last) {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: it can be read; it need not be aligned.
    let time = unsafe { timeout.read_unaligned() };
    let is_valid = time.tv_sec >= 0 && (0..1_000_000_000).contains(&time.tv_nsec);
    is_valid.then_some(Some(time)).ok_or(Errno::INVAL)
}

/// Whether the kernel knows the context. Not by io_getevents: that stores the ring's head, even if it takes nothing, and so takes
/// back what a program has taken meanwhile that moves the head itself.
pub fn exists(context: u64) -> bool {
    submit(context, 0, ptr::null()).is_ok()
}

/// The ring of completions that a context's number points to, in the program's memory.
#[derive(Clone, Copy)]
pub struct Completions {
    ring: &'static Ring,
    size: u32,
    events: *const io_event,
}

impl Completions {
    /// None: the kernel does not lay it out as we know it.
    ///
    /// # Safety
    /// The kernel knows the context, or knew it the last time that the program used it.
    pub unsafe fn of(context: u64) -> Option<Completions> {
        let start: *const Ring = ptr::with_exposed_provenance(usize::try_from(context).ok()?);
        // SAFETY: the kernel has mapped the ring there; the caller's promise.
        let ring = unsafe { start.as_ref() }?;
        let size = ring.size;
        if !ring.is_known() || size < 2 {
            return None;
        }
        Some(Completions { ring, size, events: start.wrapping_add(1).cast() })
    }

    /// What tells it from the process's other contexts, wherever it is mapped.
    pub fn id(&self) -> u32 {
        self.ring.id
    }

    /// Events that it has room for; one place stays empty.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Where the next event will stand.
    pub fn tail(&self) -> u32 {
        // Acquire: the kernel has stored the events before.
        self.ring.tail.load(Ordering::Acquire)
    }

    /// Events that were not taken.
    pub fn filled(&self) -> u32 {
        let head = self.ring.head.load(Ordering::Relaxed) % self.size;
        (self.tail() % self.size + self.size - head) % self.size
    }

    /// The place of the next event to be taken, or more by any number of rounds.
    pub fn head(&self) -> u32 {
        self.ring.head.load(Ordering::Acquire)
    }

    /// The ring was unmapped while somebody reads it who cannot be waited for: puts zeroes in its place, for good.
    pub fn stand_in(&self) {
        const PAGE: usize = 4096;
        let events = usize::try_from(self.size).unwrap_or(0).saturating_mul(size_of::<io_event>());
        let bytes = events.saturating_add(size_of::<Ring>()).next_multiple_of(PAGE);
        let place = ptr::from_ref(self.ring).cast_mut().cast();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: it replaces nothing; what is there by now can be read, too.
        unsafe { libc::mmap(place, bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    }

    /// A feature that no kernel knows of.
    const MARK: u32 = 1 << 31;

    /// Whether it was marked since the kernel made it.
    pub fn is_marked(&self) -> bool {
        self.ring.compatible_features.load(Ordering::Relaxed) & Completions::MARK != 0
    }

    /// Tells it from a later one at the same address.
    pub fn mark(&self) {
        self.ring.compatible_features.fetch_or(Completions::MARK, Ordering::Relaxed);
    }

    /// The iocb of the event at this place, and its data. The kernel may be storing another one there: see `Flight::look`.
    pub fn event(&self, place: u32) -> (*const iocb, *const c_void) {
        let event = self.events.wrapping_add(usize::try_from(place % self.size).unwrap_or(0));
        // SAFETY: the mapping holds `size` events behind its header.
        unsafe { ((&raw const (*event).obj).read_volatile(), (&raw const (*event).data).read_volatile()) }
    }
}

/// Stores an event where the program wants it. Error: EFAULT.
pub fn store_event(place: *mut io_event, event: &io_event) -> Result<()> {
    let from = libc::iovec { iov_base: ptr::from_ref(event).cast_mut().cast(), iov_len: size_of::<io_event>() };
    let to = libc::iovec { iov_base: place.cast(), iov_len: size_of::<io_event>() };
    // SAFETY: the kernel checks the address.
    let done = check(unsafe { libc::process_vm_writev(libc::getpid(), &raw const from, 1, &raw const to, 1, 0) });
    match done {
        Ok(stored) if usize::try_from(stored) == Ok(size_of::<io_event>()) => Ok(()),
        Ok(_) | Err(Errno(libc::EFAULT)) => Err(Errno(libc::EFAULT)),
        // A sandbox: then nobody checks.
        Err(_) if place.is_null() => Err(Errno(libc::EFAULT)),
        Err(_) => {
            // SAFETY: as the caller of the library says.
            unsafe { place.write_unaligned(*event) };
            Ok(())
        }
    }
}

/// Copies an iocb of the program's, unless it cannot be read.
pub fn copy_iocb(block: *const iocb) -> Option<iocb> {
    let last = block.addr().checked_add(size_of::<iocb>() - 8)?;
    if !is_readable(block.addr()) || !is_readable(last) {
        return None;
    }
    let mut copy = MaybeUninit::<iocb>::uninit();
    // SAFETY: it can be read, and any bits are one; it need not be aligned.
    unsafe {
        copy.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(block.cast(), size_of::<iocb>());
        Some(copy.assume_init())
    }
}

/// Copies an iocb that the program may change or unmap at any time, unless it cannot be read.
pub fn peek_iocb(block: *const iocb) -> Option<iocb> {
    let mut copy = iocb::ZERO;
    let to = libc::iovec { iov_base: (&raw mut copy).cast(), iov_len: size_of::<iocb>() };
    let from = libc::iovec { iov_base: block.cast_mut().cast(), iov_len: size_of::<iocb>() };
    // SAFETY: the kernel checks the address; any bits are an iocb.
    let done = check(unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) });
    match done {
        Ok(read) => (usize::try_from(read) == Ok(size_of::<iocb>())).then_some(copy),
        Err(Errno(libc::EFAULT)) => None,
        // A sandbox.
        Err(_) => copy_iocb(block),
    }
}
