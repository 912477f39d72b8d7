//! aio_cancel: what has not started is taken out; its notification is left to a library thread.

use libc::c_int;

use crate::abi::aiocb;
use crate::dispatch::complete;
use crate::engine::{Caller, Engine, Locked};
use crate::request::Handle;
use crate::slab::Id;
use crate::sys::clock::{self, Nanos};
use crate::sys::descriptor::{self, FdKind};
use crate::sys::errno::{Errno, Result};
use crate::sys::thread::Pause;
use crate::threads::threadless;

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
    let (mut cancelled, mut pause) = (0, Pause::new());
    let mut newest = None;
    let deadline = clock::now() + LONGEST_TRY;
    let left = loop {
        let pass = cancel_pass(engine, fd, block, &mut newest);
        cancelled += pass.cancelled;
        if pass.tried == 0 || clock::now() > deadline {
            break pass.left;
        }
        pause.once();
    };
    Ok(match (cancelled, left) {
        (_, 1..) => libc::AIO_NOTCANCELED,
        (0, 0) => libc::AIO_ALLDONE,
        (1.., 0) => libc::AIO_CANCELED,
    })
}

/// The poller tries a read without waiting, so it knows in a moment whether that has ended or can be cancelled. Longer
/// than this it takes only if another process took the data away at that very moment.
const LONGEST_TRY: Nanos = 1_000_000_000;

/// What a pass over the requests found.
#[derive(Default)]
struct Pass {
    cancelled: u32,
    /// Not cancelled, and of these: stream reads that the poller is trying right now.
    left: u32,
    tried: u32,
}

/// `newest`: the last request that was there at the first pass; younger ones are not meant.
fn cancel_pass(engine: &'static Engine, fd: c_int, block: *const aiocb, newest: &mut Option<u64>) -> Pass {
    let mut pass = Pass::default();
    let Some(caller) = Caller::enter(engine) else { return pass };
    let mut table = caller.lock();
    let newest = *newest.get_or_insert(table.order.newest_seq());
    match Handle::new(block) {
        Ok(handle) => table.find(handle.key()).into_iter().for_each(|id| pass.cancel(&mut table, id, newest)),
        Err(_) => {
            let walks = [table.order.walk(fd), table.order.walk_refused(fd)];
            for mut walk in walks.into_iter().flatten() {
                while let Some(id) = table.order.step(&mut walk) {
                    pass.cancel(&mut table, id, newest);
                }
            }
        }
    }
    let retired = table.retired.take();
    // Successors may run, and notifications are pending.
    threadless::unlock_and_wake(&caller, table);
    if let Some(fd) = retired {
        engine.duplicates.close(fd);
    }
    pass
}

impl Pass {
    fn cancel(&mut self, table: &mut Locked, id: Id, newest: u64) {
        if table.order.seq(id) > newest {
            return;
        }
        if try_cancel(table, id) {
            self.cancelled += 1;
        } else {
            self.left += 1;
            self.tried += u32::from(table.order.is_tried(id));
        }
    }
}

/// Cancels one request, unless it runs. Waking under the lock: only here, where the walk must not be interrupted, and only
/// a system call if somebody waits.
pub fn try_cancel(table: &mut Locked, id: Id) -> bool {
    let of_stream = table.order.payload(id).fd_kind != FdKind::File;
    let Some(ended) = table.cancel(id) else { return false };
    complete::wake(&ended);
    table.add_pending_of(&ended);
    // The poller may still wait for it.
    table.streams_moved |= of_stream;
    // At most one: the requests of a private duplicate are not cancelled together.
    table.retired = table.retired.or(ended.retired);
    true
}
