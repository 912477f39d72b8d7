//! lio_listio: entries are taken in groups, one lock section each; a record of the call counts the members down.

use std::ffi::c_void;
use std::ptr;
use std::slice;

use libc::c_int;

use crate::abi::{aiocb, lio, sigevent};
use crate::calls::{parse, submit, suspend};
use crate::dispatch::{caller_reap, kernel_submit};
use crate::engine::{Caller, Engine, Locked};
use crate::notify::Notify;
use crate::order::Admission;
use crate::request::{Operation, Request};
use crate::slab::{Id, NONE};
use crate::status::Status;
use crate::sys::cancellation::with_cleanup;
use crate::sys::errno::{Errno, Result};
use crate::table;
use crate::table::in_kernel::Own;
use crate::table::list_calls::ListCall;
use crate::table::notifications::PendingNotification;
use crate::threads::starter;
use crate::threads::threadless;

/// Entries per lock section; they stand on the caller's stack, which may be a signal's small one.
const GROUP: usize = 8;

/// An entry of the list, and the request it asks for or why it cannot be had.
type Entry<'a> = (&'a aiocb, Result<Admission<Request>>);

/// lio_listio. Errors: EINVAL (mode, n, the sigevent); EAGAIN, not all entries could be queued; EIO, an entry failed;
/// EINTR, a handler ran during LIO_WAIT.
///
/// # Safety
/// `list` points to `n` pointers, each NULL or to an aiocb as for aio_read; `event` is NULL or points to a sigevent.
pub unsafe fn listio(mode: c_int, list: *const *mut aiocb, n: c_int, event: *const sigevent) -> Result<()> {
    let n = usize::try_from(n).map_err(|_| Errno::INVAL)?;
    let waits = match mode {
        libc::LIO_WAIT => true,
        libc::LIO_NOWAIT => false,
        _ => return Err(Errno::INVAL),
    };
    if n > 0 && list.is_null() {
        return Err(Errno::INVAL);
    }
    // SAFETY: the caller's promise.
    let event = unsafe { event.as_ref() }.filter(|_| !waits);
    let notify = parse::parse_list_notification(event)?;
    // SAFETY: the caller's promise; an empty list is not looked at.
    let list = if n == 0 { &[] } else { unsafe { slice::from_raw_parts(list, n) } };
    // SAFETY: the caller's promise.
    unsafe { run(list, waits, notify) }
}

/// # Safety
/// As for `listio`.
unsafe fn run(list: &[*mut aiocb], waits: bool, notify: Notify) -> Result<()> {
    let engine = Engine::get()?;
    let notify = notify.if_possible(engine.threadless)?;
    let list_call = open_list_call(engine, waits, notify)?;
    let mut refused = None;
    // The list's notification is left to library threads, like that of a request.
    let may_serve = waits || notify.is_none();
    for group in list.chunks(GROUP) {
        // SAFETY: the caller's promise.
        refused = worse(refused, unsafe { submit_group(engine, group, list_call, may_serve) });
    }
    close_list_call(engine, list_call);
    let failed = if waits { wait_for_list_call(engine, list_call)? } else { false };
    match refused {
        Some(error) => Err(error),
        None if failed => Err(Errno::IO),
        None => Ok(()),
    }
}

/// A record for the list, if anybody will ask for its end. It has one member, this call itself, until `close_list_call`.
fn open_list_call(engine: &'static Engine, waits: bool, notify: Notify) -> Result<Id> {
    if !waits && notify.is_none() {
        return Ok(NONE);
    }
    let caller = Caller::enter(engine).ok_or(Errno::AGAIN)?;
    // A notification needs a thread even if the list is empty.
    let mut table = if waits { caller.lock() } else { starter::ensure(&caller)? };
    table.reserve_list_call().map_err(|_| Errno::AGAIN)?;
    let undelivered = u32::from(!notify.is_none());
    let status = Status::default();
    status.begin(false);
    Ok(table.list_calls.insert(ListCall { pending: 1, undelivered, awaited: waits, failed: false, notify, status }))
}

/// All members are in: from here on the last one to end finishes the list.
fn close_list_call(engine: &'static Engine, list_call: Id) {
    if list_call == NONE {
        return;
    }
    let Some(caller) = Caller::enter(engine) else { return };
    let mut table = caller.lock();
    let is_pending = table.list_calls[list_call].undelivered > 0;
    if is_pending {
        // The thread that there was at the beginning may have ended.
        drop(table);
        table = starter::ensure(&caller).unwrap_or_else(|_| caller.lock());
    }
    table.leave_list_call(list_call, false);
    if is_pending && let Some(notify) = table.member_delivered(list_call) {
        table.notifications.push(PendingNotification { notify, ..PendingNotification::NONE });
    }
    threadless::unlock_and_wake(&caller, table);
}

/// Submits some entries. Returns the worst error of those that were refused.
///
/// # Safety
/// As for `listio`.
unsafe fn submit_group(engine: &'static Engine, group: &[*mut aiocb], list_call: Id, may_serve: bool) -> Option<Errno> {
    let mut parsed: [Option<Entry>; GROUP] = [const { None }; GROUP];
    for (place, block) in parsed.iter_mut().zip(group) {
        // SAFETY: the caller's promise.
        *place = unsafe { parse_entry(engine, *block, may_serve) };
    }
    if parsed.iter().all(Option::is_none) {
        return None;
    }
    // In a child that a handler has forked the list is the parent's; what is not in it yet cannot be.
    let Some(caller) = Caller::enter(engine) else { return Some(Errno::AGAIN) };
    let (mut table, no_thread) = match starter::ensure(&caller) {
        Ok(table) => (table, None),
        Err(error) => (caller.lock(), Some(error)),
    };
    let mut refused = None;
    let mut own = [const { None }; GROUP];
    let mut places = own.iter_mut();
    for (block, entry) in parsed.iter().flatten() {
        let admitted = match (no_thread, entry) {
            (Some(error), Ok(new)) => {
                engine.lock_free.refuse(new);
                Err(error)
            }
            (Some(error), Err(_)) => Err(error),
            (None, Err(error)) => Err(*error),
            (None, Ok(new)) => admit_member(&mut table, new, list_call).map(|id| {
                if let Some(place) = places.next().filter(|_| new.direct) {
                    *place = Some(Own::of(&table, id));
                }
            }),
        };
        if let Err(error) = admitted {
            refuse(&table, block, error);
            refused = worse(refused, Some(error));
        }
    }
    threadless::unlock_and_wake(&caller, table);
    kernel_submit::submit(engine, &mut own.into_iter().flatten());
    refused
}

/// An entry to submit, or why it cannot be. None: nothing is left to do.
///
/// # Safety
/// `block` is NULL or points to an aiocb as for aio_read.
unsafe fn parse_entry<'a>(engine: &'static Engine, block: *mut aiocb, may_serve: bool) -> Option<Entry<'a>> {
    // SAFETY: the caller's promise.
    let entry = unsafe { block.as_ref() }?;
    let operation = match entry.aio_lio_opcode {
        lio::NOP => return None,
        lio::READ => Ok(Operation::Read),
        lio::WRITE => Ok(Operation::Write),
        lio::DSYNC => Ok(Operation::DataSync),
        lio::SYNC => Ok(Operation::Sync),
        _ => Err(Errno::INVAL),
    };
    // SAFETY: the caller's promise.
    let new = operation.and_then(|operation| unsafe { submit::parse_or_serve(block, operation, engine, may_serve) });
    Some((entry, new.transpose()?))
}

fn admit_member(table: &mut Locked, new: &Admission<Request>, list_call: Id) -> Result<Id> {
    let id = table.admit(new, list_call)?;
    if list_call != NONE {
        let record = &mut table.list_calls[list_call];
        record.pending += 1;
        record.undelivered += u32::from(!record.notify.is_none());
    }
    Ok(id)
}

/// An entry's error is its status, unless the aiocb is in flight: then it belongs to that request.
fn refuse(table: &Locked, block: &aiocb, error: Errno) {
    let key = u64::try_from(ptr::from_ref(block).addr()).unwrap_or(0);
    if !table.is_in_flight(key) {
        block.status.publish(error.0, -1);
    }
}

/// "Try again" is told before "some entry is wrong".
fn worse(one: Option<Errno>, other: Option<Errno>) -> Option<Errno> {
    match (one, other) {
        (None, None) => None,
        (Some(Errno::AGAIN), _) | (_, Some(Errno::AGAIN)) => Some(Errno::AGAIN),
        _ => Some(Errno::IO),
    }
}

/// LIO_WAIT. Returns whether a member failed. Error: EINTR; the members go on.
fn wait_for_list_call(engine: &'static Engine, list_call: Id) -> Result<bool> {
    let status = status_of(engine, list_call).ok_or(Errno::INTR)?;
    let argument = ptr::without_provenance_mut(usize::try_from(list_call).unwrap_or(0));
    let in_kernel = || caller_reap::is_all_in_kernel(table::unfinished);
    // SAFETY: the record stays while `awaited` is set, and its memory is never unmapped.
    let status = unsafe { &*status };
    let wait = || suspend::wait_for([status].into_iter(), None, in_kernel, || true);
    let waited = with_cleanup(abandon_list_call, argument, wait);
    let failed = leave(engine, list_call);
    waited.map(|()| failed)
}

fn status_of(engine: &'static Engine, list_call: Id) -> Option<*const Status> {
    let caller = Caller::enter(engine)?;
    let table = caller.lock();
    Some(ptr::from_ref(&table.list_calls[list_call].status))
}

/// Nobody waits for the list any more; what it had to say.
fn leave(engine: &'static Engine, list_call: Id) -> bool {
    // A handler may have forked during the wait: the child has nothing to leave.
    let Some(caller) = Caller::enter(engine) else { return false };
    let mut table = caller.lock();
    let record = &mut table.list_calls[list_call];
    record.awaited = false;
    let failed = record.failed;
    table.drop_list_call_if_done(list_call);
    failed
}

/// The cleanup handler of a thread that is cancelled in LIO_WAIT.
extern "C" fn abandon_list_call(list_call: *mut c_void) {
    if let (Some(engine), Ok(list_call)) = (Engine::current(), Id::try_from(list_call.addr())) {
        leave(engine, list_call);
    }
}
