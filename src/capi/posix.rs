//! Every exported symbol. Each converts its arguments, makes one call, and sets errno. "C-unwind": a thread whose cancellation
//! was asynchronous may end when the call is over (`sys::cancellation::defer`).
//!
//! # Safety
//! All of these take pointers as `<aio.h>` says: an aiocb and its buffer stay in place until the request has ended.
#![allow(clippy::missing_safety_doc)]

use std::ffi::{CStr, c_char};

#[cfg(target_os = "linux")]
use libc::c_uint;
use libc::{c_int, size_t, ssize_t, timespec};

use crate::abi::{aiocb, aioinit, sigevent};
use crate::calls::{self, cancel, close, init, listio, submit, suspend};
use crate::dispatch::caller_reap;
use crate::figures::aio_rs_stats;
use crate::request::Operation;
use crate::sys::cancellation::defer;
use crate::sys::errno::{Errno, Result, to_c};
use crate::sys::tools;
use crate::threads::threadless;

/// Queues a read of `aio_nbytes` bytes at `aio_offset`. Source: POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_read(block: *mut aiocb) -> c_int {
    tools::handed_in();
    // SAFETY: the caller's promise.
    status(defer(|| unsafe { submit::submit(block, Operation::Read) }))
}

/// Queues a write of `aio_nbytes` bytes at `aio_offset`. Source: POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_write(block: *mut aiocb) -> c_int {
    tools::handed_in();
    // SAFETY: the caller's promise.
    status(defer(|| unsafe { submit::submit(block, Operation::Write) }))
}

/// Queues a barrier: an fsync (O_SYNC) or fdatasync (O_DSYNC) behind all requests of the file. Source: POSIX, QNX.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_fsync(op: c_int, block: *mut aiocb) -> c_int {
    tools::handed_in();
    // SAFETY: the caller's promise.
    status(defer(|| Operation::sync(op).and_then(|operation| unsafe { submit::submit(block, operation) })))
}

/// EINPROGRESS, 0 or the request's error. Source: POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_error(block: *const aiocb) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { block.as_ref() } {
        Some(block) => match block.status.error() {
            libc::EINPROGRESS if block.status.is_in_kernel() => {
                defer(caller_reap::poll);
                seen(block)
            }
            libc::EINPROGRESS if defer(threadless::help) => seen(block),
            libc::EINPROGRESS => libc::EINPROGRESS,
            _ => seen(block),
        },
        None => {
            Errno::INVAL.set();
            libc::EINVAL
        }
    }
}

/// The request's result; -1 with errno for a failed one. Source: POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_return(block: *mut aiocb) -> ssize_t {
    // SAFETY: the caller's promise.
    let result = unsafe { block.as_ref() }.ok_or(Errno::INVAL).and_then(|block| match seen(block) {
        0 => Ok(block.status.returned()),
        error => Err(Errno(error)),
    });
    result.unwrap_or_else(|error| {
        error.set();
        -1
    })
}

/// Waits until one of the listed requests has ended. A cancellation point. Source: POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_suspend(list: *const *const aiocb, n: c_int, timeout: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    status(defer(|| unsafe { suspend::suspend(list, n, timeout) }))
}

/// Cancels one request of a descriptor, or all. Source: POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_cancel(fd: c_int, block: *mut aiocb) -> c_int {
    // SAFETY: the caller's promise.
    to_c(defer(|| unsafe { cancel::cancel(fd, block) }))
}

/// Queues a list of requests; LIO_WAIT waits for all, and is a cancellation point. Source: POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lio_listio(
    mode: c_int,
    list: *const *mut aiocb,
    n: c_int,
    event: *mut sigevent,
) -> c_int {
    tools::handed_in();
    // SAFETY: the caller's promise.
    status(defer(|| unsafe { listio::listio(mode, list, n, event) }))
}

/// Maximum of threads, expected requests, idle time. Source: glibc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_init(settings: *const aioinit) {
    // SAFETY: the caller's promise.
    if let Some(settings) = unsafe { settings.as_ref() } {
        // The interface has no way to report that memory ran out; requests will.
        let _ = init::init(settings);
    }
}

// ---- the same under their names for files of more than 2 GiB, which glibc has on 64-bit targets too ----

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_read64(block: *mut aiocb) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { aio_read(block) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_write64(block: *mut aiocb) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { aio_write(block) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_fsync64(op: c_int, block: *mut aiocb) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { aio_fsync(op, block) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_error64(block: *const aiocb) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { aio_error(block) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_return64(block: *mut aiocb) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { aio_return(block) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_suspend64(list: *const *const aiocb, n: c_int, timeout: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { aio_suspend(list, n, timeout) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_cancel64(fd: c_int, block: *mut aiocb) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { aio_cancel(fd, block) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lio_listio64(
    mode: c_int,
    list: *const *mut aiocb,
    n: c_int,
    event: *mut sigevent,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lio_listio(mode, list, n, event) }
}

// ---- closing descriptors: see `close` ----

/// close. Requests of the descriptor that have not started go on. A cancellation point.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn close(fd: c_int) -> c_int {
    to_c(close::close(fd))
}

/// dup2. As `close` for the descriptor that is replaced.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn dup2(old: c_int, new: c_int) -> c_int {
    to_c(close::dup2(old, new))
}

/// dup3. As `close` for the descriptor that is replaced.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    to_c(close::dup3(old, new, flags))
}

/// close_range. As `close` for each; the library's own descriptors stay.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    to_c(close::close_range(first, last, flags.cast_unsigned()))
}

/// closefrom. As `close` for each; the library's own descriptors stay.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn closefrom(first: c_int) {
    close::closefrom(first);
}

/// fclose. As `close` for the stream's descriptor. (musl's closes without asking anybody.)
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { close::fclose(stream) }
}

/// pclose. As `close` for the stream's descriptor.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { close::pclose(stream) }
}

/// closedir. As `close` for the directory's descriptor.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn closedir(directory: *mut libc::DIR) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { close::closedir(directory) }
}

// ---- extensions, declared in aio_rs.h ----

/// The library's version, "1.2.3". A program can tell by this symbol that it runs on aio_rs.
#[unsafe(no_mangle)]
pub extern "C" fn aio_rs_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// Copies what the library has counted so far in this process to `out`, which has room for `size` bytes: sizeof (struct aio_rs_stats).
/// Never writes more than that. Fields that the library does not know yet are set to 0; fields that the caller does not know are
/// left out. Returns 0, or -1 with EINVAL for NULL, E2BIG for a size that no structure of figures has (above 4096).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_rs_stats(out: *mut aio_rs_stats, size: size_t) -> c_int {
    // SAFETY: the caller's promise.
    status(unsafe { calls::stats::copy(out.cast(), size) })
}

/// The error status; what the library did for the request has happened before.
fn seen(block: &aiocb) -> c_int {
    let error = block.status.error();
    if error != libc::EINPROGRESS {
        tools::observed(&raw const block.status);
    }
    error
}

fn status(result: Result<()>) -> c_int {
    to_c(result.map(|()| 0))
}
