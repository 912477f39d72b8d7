//! aio_cancel: what has not started is taken out; its notification is left to a library thread.

use libc::c_int;

use crate::abi::aiocb;
use crate::complete;
use crate::engine::{Caller, Engine, Locked};
use crate::errno::{Errno, Result};
use crate::request::Handle;
use crate::slab::Id;
use crate::submit;
use crate::sys::descriptor::{self, Nature};

/// aio_cancel. Returns AIO_CANCELED, AIO_NOTCANCELED or AIO_ALLDONE. Errors: EBADF; EINVAL, an aiocb of another descriptor.
///
/// # Safety
/// `block` is NULL (all requests of the descriptor) or points to an aiocb.
pub unsafe fn cancel(fd: c_int, block: *const aiocb) -> Result<c_int> {
    if !descriptor::is_open(fd) {
        return Err(Errno::BADF);
    }
    // SAFETY: the caller's promise.
    if unsafe { block.as_ref() }.is_some_and(|block| block.aio_fildes != fd) {
        return Err(Errno::INVAL);
    }
    let Some(engine) = Engine::current() else {
        return Ok(libc::AIO_ALLDONE);
    };
    let caller = Caller::enter(engine);
    let mut table = caller.lock();
    let (cancelled, left) = match Handle::new(block) {
        Ok(handle) => cancel_one(&mut table, handle),
        Err(_) => cancel_all(&mut table, fd),
    };
    let retired = table.retired.take();
    // Successors may run, and notifications are owed.
    submit::hand_over(&caller, table);
    if let Some(fd) = retired {
        descriptor::close_quietly(fd);
    }
    Ok(match (cancelled, left) {
        (_, 1..) => libc::AIO_NOTCANCELED,
        (0, 0) => libc::AIO_ALLDONE,
        (1.., 0) => libc::AIO_CANCELED,
    })
}

fn cancel_one(table: &mut Locked, handle: Handle) -> (u32, u32) {
    match table.find(handle.key()) {
        None => (0, 0),
        Some(id) => {
            let done = try_cancel(table, id);
            (u32::from(done), u32::from(!done))
        }
    }
}

fn cancel_all(table: &mut Locked, fd: c_int) -> (u32, u32) {
    let (mut cancelled, mut left) = (0, 0);
    let Some(mut walk) = table.order.walk(fd) else {
        return (0, 0);
    };
    while let Some(id) = table.order.step(&mut walk) {
        let done = try_cancel(table, id);
        cancelled += u32::from(done);
        left += u32::from(!done);
    }
    (cancelled, left)
}

/// Cancels one request, unless it runs. Waking under the lock: only here, where the walk must not be interrupted, and only
/// a system call if somebody waits.
pub fn try_cancel(table: &mut Locked, id: Id) -> bool {
    let of_stream = table.order.payload(id).nature != Nature::File;
    let Some(ended) = table.cancel(id) else { return false };
    complete::wake(&ended);
    complete::owe(table, &ended);
    // The poller may still wait for it.
    table.streams_moved |= of_stream;
    // At most one: the requests of a private duplicate are not cancelled together.
    table.retired = table.retired.or(ended.retired);
    true
}
