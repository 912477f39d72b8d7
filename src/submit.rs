//! Admission: one lock section takes a request in and hands it to whoever will run it.

use crate::abi::aiocb;
use crate::engine::{Caller, Engine, Locked};
use crate::errno::Result;
use crate::request::{self, Operation};
use crate::route::worker::{self, HandOuts};
use crate::slab::NONE;

/// aio_read, aio_write, aio_fsync.
///
/// Errors: those of `request::parse`; EINVAL, the aiocb is in flight; EAGAIN, no memory or no thread.
///
/// # Safety
/// `block` is NULL or points to an aiocb that stays in place, with its buffer, until the request has ended.
pub unsafe fn submit(block: *const aiocb, operation: Operation) -> Result<()> {
    let engine = Engine::get()?;
    // SAFETY: the caller's promise.
    let new = unsafe { request::parse(block, operation, engine.fsync_needs_write) }?;
    let caller = Caller::enter(engine);
    let mut table = worker::ensure(&caller)?;
    table.admit(&new, NONE)?;
    hand_over(&caller, table);
    Ok(())
}

/// Releases the lock and wakes whoever runs what is ready.
pub fn hand_over(caller: &Caller, mut table: Locked) {
    let handed = HandOuts::prepare(&mut table);
    drop(table);
    handed.send(caller.engine);
}
