//! The program's own contexts of the kernel's AIO: plain system calls.

use std::mem::MaybeUninit;
use std::ptr;

use libc::{c_int, c_long, timespec};

use super::aio_abi::{io_event, iocb};
use super::aio_ring::{self, IO_PGETEVENTS};
use super::readable::{KERNEL_SET, is_readable};
use crate::sys::errno::{Errno, Result, check};

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

/// Waits until the context's ring has an event, and leaves it there. False: the time is up. Errors: EINVAL, EINTR; EFAULT, the time
/// cannot be read.
pub fn wait_for_event(context: u64, timeout: *const timespec) -> Result<bool> {
    let mut time = read_time(timeout)?;
    let timeout = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    let one: c_long = 1;
    aio_ring::wait_for_event(|nowhere| {
        // SAFETY: the kernel checks the address; the time is this frame's.
        unsafe { libc::syscall(libc::SYS_io_getevents, context, one, one, nowhere, timeout) }
    })
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
    let mut copy = iocb::NONE;
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
