//! Every symbol of `<libaio.h>`. Each makes one call; errors are negative errno values.
//!
//! # Safety
//! All of these take pointers as `<libaio.h>` says: a request's buffer stays in place until its event has come.
#![allow(clippy::missing_safety_doc)]

use libc::{c_int, c_long, c_longlong, c_void, iovec, sigset_t, size_t, timespec};

use super::abi::*;
use super::queue;
use crate::sys::contexts::Wanted;
use crate::sys::errno::{Errno, Result};

/// Makes a context for `maxevents` requests at a time. `*ctxp` has to be 0. 0, -EINVAL, -EFAULT, -ENOMEM, -EAGAIN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_setup(maxevents: c_int, ctxp: *mut io_context_t) -> c_int {
    // SAFETY: the caller's promise.
    status(|| unsafe { queue::setup(maxevents, ctxp) })
}

/// Destroys a context: waits for its requests, and for what its syncs wait for. 0, -EINVAL.
#[unsafe(no_mangle)]
pub extern "C" fn io_destroy(ctx: io_context_t) -> c_int {
    status(|| queue::destroy(ctx))
}

/// Submits `nr` requests. An IO_CMD_FSYNC or IO_CMD_FDSYNC completes after every request on the same file that was submitted
/// before it, on whatever context. The number of those accepted; if that is none, the first one's -EINVAL, -EBADF, -EFAULT or
/// -EAGAIN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_submit(ctx: io_context_t, nr: c_long, ios: *mut *mut iocb) -> c_int {
    count(|| queue::submit(ctx, nr, ios))
}

/// Tries to cancel a request. 0: a sync that waited for others is cancelled, and `*evt` is its event; -EINPROGRESS: the kernel
/// cancels it, and the event will come; -EINVAL, -EFAULT, -EAGAIN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_cancel(ctx: io_context_t, iocb: *mut iocb, evt: *mut io_event) -> c_int {
    status(|| queue::cancel(ctx, iocb, evt))
}

/// Waits for `min_nr` events and takes up to `nr`. Their number; -EINVAL, -EFAULT, -EINTR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_getevents(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    count(|| unsafe { queue::get_events(ctx, &Wanted { at_least: min_nr, at_most: nr, events, timeout }, None) })
}

/// io_getevents with another signal mask while it waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_pgetevents(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut timespec,
    sigmask: *mut sigset_t,
) -> c_int {
    let wanted = Wanted { at_least: min_nr, at_most: nr, events, timeout };
    // SAFETY: the caller's promise.
    count(|| unsafe { queue::get_events(ctx, &wanted, Some(sigmask)) })
}

/// io_setup, with `*ctxp` set to 0 before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_queue_init(maxevents: c_int, ctxp: *mut io_context_t) -> c_int {
    if maxevents <= 0 {
        return -libc::EINVAL;
    }
    // SAFETY: the caller's promise.
    unsafe {
        ctxp.write_unaligned(std::ptr::null_mut());
        io_setup(maxevents, ctxp)
    }
}

/// io_destroy.
#[unsafe(no_mangle)]
pub extern "C" fn io_queue_release(ctx: io_context_t) -> c_int {
    io_destroy(ctx)
}

/// Calls the function of each request that has completed. How many there were, or a negative errno.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_queue_run(ctx: io_context_t) -> c_int {
    // SAFETY: the caller's promise.
    count(|| unsafe { queue::run(ctx) })
}

/// Waits until a request has completed, and leaves its event. 0, -ETIMEDOUT, -EINVAL, -EINTR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_queue_wait(ctx: io_context_t, timeout: *mut timespec) -> c_int {
    status(|| queue::wait(ctx, timeout))
}

/// Submits a sync of `fd` and its data and metadata, with `cb` as its function. 0, or as io_submit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_fsync(ctx: io_context_t, iocb: *mut iocb, cb: io_callback_t, fd: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        io_prep_fsync(iocb, fd);
        submit_with(ctx, iocb, cb)
    }
}

/// Submits a sync of `fd` and its data, with `cb` as its function. 0, or as io_submit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_fdsync(ctx: io_context_t, iocb: *mut iocb, cb: io_callback_t, fd: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        io_prep_fdsync(iocb, fd);
        submit_with(ctx, iocb, cb)
    }
}

/// Submits a poll of `fd` for `events`, with `cb` as its function. 0, or as io_submit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_poll(
    ctx: io_context_t,
    iocb: *mut iocb,
    cb: io_callback_t,
    fd: c_int,
    events: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        io_prep_poll(iocb, fd, events);
        submit_with(ctx, iocb, cb)
    }
}

unsafe fn submit_with(ctx: io_context_t, iocb: *mut iocb, cb: io_callback_t) -> c_int {
    let mut list = [iocb];
    // SAFETY: the caller's promise.
    unsafe {
        io_set_callback(iocb, cb);
        io_submit(ctx, 1, list.as_mut_ptr()).min(0)
    }
}

/// Has io_queue_run call `cb` for the request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_set_callback(iocb: *mut iocb, cb: io_callback_t) {
    // SAFETY: the caller's promise.
    unsafe { (*iocb).data = cb.map_or(std::ptr::null_mut(), |cb| cb as *mut c_void) };
}

/// A read of `count` bytes at `offset`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_prep_pread(
    iocb: *mut iocb,
    fd: c_int,
    buf: *mut c_void,
    count: size_t,
    offset: c_longlong,
) {
    // SAFETY: the caller's promise.
    unsafe { prepare(iocb, IO_CMD_PREAD, fd, buf, count, offset) };
}

/// A write of `count` bytes at `offset`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_prep_pwrite(
    iocb: *mut iocb,
    fd: c_int,
    buf: *mut c_void,
    count: size_t,
    offset: c_longlong,
) {
    // SAFETY: the caller's promise.
    unsafe { prepare(iocb, IO_CMD_PWRITE, fd, buf, count, offset) };
}

/// A read into `iovcnt` buffers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_prep_preadv(
    iocb: *mut iocb,
    fd: c_int,
    iov: *const iovec,
    iovcnt: c_int,
    offset: c_longlong,
) {
    // SAFETY: the caller's promise.
    unsafe { prepare(iocb, IO_CMD_PREADV, fd, iov.cast_mut().cast(), buffers(iovcnt), offset) };
}

/// A write from `iovcnt` buffers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_prep_pwritev(
    iocb: *mut iocb,
    fd: c_int,
    iov: *const iovec,
    iovcnt: c_int,
    offset: c_longlong,
) {
    // SAFETY: the caller's promise.
    unsafe { prepare(iocb, IO_CMD_PWRITEV, fd, iov.cast_mut().cast(), buffers(iovcnt), offset) };
}

/// A sync of the file's data and metadata.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_prep_fsync(iocb: *mut iocb, fd: c_int) {
    // SAFETY: the caller's promise.
    unsafe { prepare(iocb, IO_CMD_FSYNC, fd, std::ptr::null_mut(), 0, 0) };
}

/// A sync of the file's data.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_prep_fdsync(iocb: *mut iocb, fd: c_int) {
    // SAFETY: the caller's promise.
    unsafe { prepare(iocb, IO_CMD_FDSYNC, fd, std::ptr::null_mut(), 0, 0) };
}

/// A wait for `events` of poll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_prep_poll(iocb: *mut iocb, fd: c_int, events: c_int) {
    // SAFETY: the caller's promise.
    unsafe {
        prepare(iocb, IO_CMD_POLL, fd, std::ptr::null_mut(), 0, 0);
        (*iocb).u.poll.events = events;
    }
}

/// Has the request tell an eventfd when it has completed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn io_set_eventfd(iocb: *mut iocb, eventfd: c_int) {
    // SAFETY: the caller's promise.
    let common = unsafe { (*iocb).common_mut() };
    common.flags |= 1;
    common.resfd = eventfd.cast_unsigned();
}

unsafe fn prepare(block: *mut iocb, opcode: i16, fd: c_int, buffer: *mut c_void, count: size_t, offset: c_longlong) {
    let mut made = iocb { aio_lio_opcode: opcode, aio_fildes: fd, ..iocb::NONE };
    let common = made.common_mut();
    (common.buf, common.offset) = (buffer, offset);
    common.nbytes = libc::c_ulong::try_from(count).unwrap_or(libc::c_ulong::MAX);
    // SAFETY: the caller's promise.
    unsafe { block.write(made) };
}

fn buffers(count: c_int) -> size_t {
    size_t::try_from(count).unwrap_or(size_t::MAX)
}

/// As libaio's calls, these leave errno alone: a signal handler may make them.
fn count(call: impl FnOnce() -> Result<c_long>) -> c_int {
    let errno = Errno::last();
    let result = call();
    errno.set();
    result.map_or_else(|error| -error.0, |count| c_int::try_from(count).unwrap_or(c_int::MAX))
}

fn status(call: impl FnOnce() -> Result<()>) -> c_int {
    count(|| call().map(|()| 0))
}
