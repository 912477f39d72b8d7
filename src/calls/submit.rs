//! Admission: a request goes into the submission queue, if somebody is sure to look; otherwise, and if it is a barrier, one
//! lock section takes it in and owner it to whoever will run it.

use crate::abi::aiocb;
use crate::calls::inline::{self, Inline};
use crate::calls::parse;
use crate::dispatch::{deliver, kernel_submit};
use crate::engine::{Caller, Engine};
use crate::lock_free::LockFree;
use crate::notify::Notify;
use crate::order::Admission;
use crate::request::{self, Operation, Request};
use crate::slab::NONE;
use crate::sys::errno::{Errno, Result};
use crate::table::in_kernel::Own;
use crate::threads::starter;
use crate::threads::threadless;
use crate::worker_slot::WorkerSlot;

/// aio_read, aio_write, aio_fsync.
///
/// Errors: those of `request::parse`; EINVAL, the aiocb is in flight; EAGAIN, no memory or no thread.
///
/// # Safety
/// `block` is NULL or points to an aiocb that stays in place, with its buffer, until the request has ended.
pub unsafe fn submit(block: *const aiocb, operation: Operation) -> Result<()> {
    loop {
        let engine = Engine::get()?;
        // SAFETY: the caller's promise.
        let Some(new) = (unsafe { parse_or_serve(block, operation, engine, true) })? else { return Ok(()) };
        if let Some(done) = hand_in(engine, &new) {
            return done;
        }
    }
}

/// A request to hand in. None: it has been served.
///
/// # Safety
/// As for `submit`.
pub unsafe fn parse_or_serve(
    block: *const aiocb,
    operation: Operation,
    engine: &'static Engine,
    may_serve: bool,
) -> Result<Option<Admission<Request>>> {
    let mut begun = 0;
    if may_serve && operation == Operation::Read {
        // SAFETY: the caller's promise.
        match unsafe { inline::read(engine, block) } {
            // In the child of a fork that was made meanwhile only its own read has been served: it is told by its own engine.
            Inline::Served(notify) => {
                let told = tell(engine, notify).or_else(|| tell(Engine::get().ok()?, notify));
                return told.unwrap_or(Err(Errno::AGAIN)).map(|()| None);
            }
            Inline::Begun(bytes) => begun = bytes,
            Inline::No => {}
        }
    }
    // SAFETY: the caller's promise.
    let mut new = unsafe { parse::parse(block, operation, engine) }?;
    if begun > 0 {
        new.payload.progress = u64::try_from(begun).unwrap_or(0);
    }
    Ok(Some(new))
}

/// Announces the end of a read that was served inside the call. None: a signal handler has forked meanwhile, and this is the
/// child. Error: EAGAIN, that cannot be done now, and there is no thread that could try again: then it was no request.
fn tell(engine: &'static Engine, notify: Notify) -> Option<Result<()>> {
    if deliver::send_from_call(&notify, engine) {
        return Some(Ok(()));
    }
    Caller::enter(engine).map(|caller| {
        let mut table = starter::ensure(&caller)?;
        table.add_pending(notify).map_err(|_| Errno::AGAIN)?;
        threadless::unlock_and_wake(&caller, table);
        Ok(())
    })
}

/// None: a signal handler has forked meanwhile, and this is the child. It has an engine of its own.
fn hand_in(engine: &'static Engine, new: &Admission<Request>) -> Option<Result<()>> {
    // A barrier covers what is unfinished now, under the lock: not what is unfinished when the queue is emptied.
    // What goes to the kernel's AIO goes there at once.
    if !new.kind.is_barrier() && !new.direct && !engine.threadless && push(engine, new) {
        return engine.is_current().then_some(Ok(()));
    }
    Caller::enter(engine).map(|caller| admit(&caller, new))
}

fn admit(caller: &Caller, new: &Admission<Request>) -> Result<()> {
    let mut table = starter::ensure(caller).inspect_err(|_| caller.engine.lock_free.refuse(new))?;
    let id = table.admit(new, NONE)?;
    let own = Own::of(&table, id);
    threadless::unlock_and_wake(caller, table);
    if new.direct {
        kernel_submit::submit(caller.engine, &mut [own].into_iter());
    }
    Ok(())
}

/// Pushes a request onto the submission queue. False: its caller has to take the lock.
fn push(engine: &'static Engine, new: &Admission<Request>) -> bool {
    let LockFree { submissions, in_flight, .. } = engine.lock_free;
    let handle = new.payload.handle;
    let key = handle.key();
    // What its status was before.
    // SAFETY: the caller is handing the aiocb in, and no request in flight has it.
    let claim = || in_flight.claim(key).then(|| unsafe { handle.block() }.status.begin(request::waits_for_device(new)));
    let unclaim = |before| {
        // SAFETY: as above.
        unsafe { handle.block() }.status.take_back(before);
        in_flight.end(key);
    };
    submissions.push(key, new, claim, unclaim, WorkerSlot::call)
}
