//! How a deferred sync is submitted to the kernel: by a shadow iocb; by the program's own, where the program takes events from the
//! ring itself and looks for that; and what is submitted in its place if the kernel refuses it. Under the lock.

use std::ptr;
use std::sync::atomic::AtomicU64;

use libc::c_int;

use super::deferred::Deferred;
use super::in_flight::{self, InFlight, Record, Target};
use super::reaping::Reaper;
use super::shadows::StandsFor;
use super::state::State;
use crate::sys::aio_abi::{IO_CMD_PREAD, iocb};
use crate::sys::aio_ring::Completions;
use crate::sys::clock::{self, Nanos};
use crate::sys::contexts;
use crate::sys::descriptor;
use crate::sys::errno::{Errno, Result};

/// A ready sync waits so long for the program to show who takes the events of its context, if nobody did so far; and so long if
/// that was the library: the program may go on by itself.
const UNDECIDED: Nanos = 20 * clock::MILLISECOND;
pub const SILENT: Nanos = 2 * clock::MILLISECOND;

/// Who takes the event of a ready sync, whose context the kernel knows. None: it has to wait until that shows.
pub fn reaper_of(sync: &mut Deferred, now: Nanos) -> Option<Reaper> {
    if sync.ending {
        return Some(Reaper::Library);
    }
    let reaping = &sync.in_flight.reaping;
    let (since, calls) = *sync.ready_since.get_or_insert_with(|| (now, reaping.calls()));
    // SAFETY: the kernel knows it.
    let ring = unsafe { Completions::of(sync.in_flight.address()) };
    let reaper = ring.map_or(Reaper::Program, |ring| reaping.reaper(ring.size(), calls, || ring.head()));
    let waited = now.saturating_sub(since);
    match reaper {
        Reaper::Unknown => (waited >= UNDECIDED).then_some(reaper),
        // With an eventfd the program may come only when it is told.
        Reaper::LibraryBefore if waited >= SILENT || sync.eventfd.is_some() => {
            reaping.be_silent();
            Some(Reaper::Library)
        }
        Reaper::LibraryBefore => None,
        _ => Some(reaper),
    }
}

/// Whether the program's iocb still says what it said, and its descriptors are the same: it can be handed in as it is, and the
/// program finds it in the ring. What it changes between this look and the kernel's own, a moment later, is executed.
pub fn is_unchanged(sync: &Deferred) -> bool {
    let handles = [Some(sync.fd), sync.eventfd];
    handles.into_iter().flatten().all(|handle| handle.is_programs())
        && contexts::peek_iocb(sync.block).is_some_and(|now| now.asks_the_same_as(&sync.copy))
}

/// Submits `block` for a sync, with a record. Errors: those of io_submit(2).
pub fn submit_as(sync: &Deferred, block: *mut iocb) -> Result<Option<Record>> {
    let object = in_flight::name(block, sync.copy.data);
    // It was reserved when the sync was taken in.
    let record = sync.in_flight.enter(object, sync.seq, Target::File(sync.file));
    let done = contexts::submit(sync.in_flight.address(), 1, &raw const block);
    if done == Ok(1) {
        return Ok(record);
    }
    sync.in_flight.withdraw(object, sync.seq);
    sync.in_flight.reserve_again();
    Err(done.err().unwrap_or(Errno::AGAIN))
}

/// Submits a shadow of the sync that says `copy`. Errors: those of io_submit(2); ENOMEM.
pub fn submit_shadow(
    state: &State,
    sync: &Deferred,
    mut copy: iocb,
    eventfd: Option<Result<c_int>>,
) -> Result<Option<Record>> {
    let mut done = Err(Errno::BADF);
    if let Ok(eventfd) = eventfd.unwrap_or(Ok(-1)) {
        if sync.eventfd.is_some() {
            copy.common_mut().resfd = eventfd.cast_unsigned();
        }
        done = submit_copy(state, sync, &copy, None);
    }
    if sync.eventfd.is_some() && matches!(done, Err(Errno(libc::EINVAL | libc::EBADF))) {
        // The program has closed its eventfd by a raw system call.
        copy.common_mut().flags = 0;
        done = submit_copy(state, sync, &copy, None);
    }
    done
}

fn submit_copy(state: &State, sync: &Deferred, copy: &iocb, result: Option<Errno>) -> Result<Option<Record>> {
    let stands_for = StandsFor { block: sync.block, seq: sync.seq, in_flight: sync.in_flight, result };
    let shadow = state.shadows.make(copy, stands_for).or_else(|| {
        reclaim_shadows(state);
        state.shadows.make(copy, stands_for)
    });
    let block = shadow.ok_or(Errno(libc::ENOMEM))?;
    submit_as(sync, block).inspect_err(|_| state.shadows.give_back(block))
}

/// Frees the shadows whose events the library will not see, as the program has taken them itself or their context is gone. If these
/// are few, makes more, so that the search is paid for by what it finds.
fn reclaim_shadows(state: &State) {
    // Shadows of one context often lie side by side.
    let mut last: Option<(&InFlight, bool)> = None;
    let mut freed = 0;
    for shadow in state.shadows.in_use() {
        if shadow.in_flight.has(shadow.object, shadow.seq) {
            continue;
        }
        let known = last.filter(|(of, _)| ptr::eq(*of, shadow.in_flight)).map(|(_, drained)| drained);
        let drained = known.unwrap_or_else(|| is_drained(shadow.in_flight));
        last = Some((shadow.in_flight, drained));
        freed += usize::from(drained && state.shadows.free(&shadow));
    }
    if freed * 2 <= state.shadows.count() {
        state.shadows.grow();
    }
}

/// Whether a context has no event in its ring or on its way through the library; or is gone.
fn is_drained(in_flight: &InFlight) -> bool {
    let address = in_flight.address();
    // SAFETY: the kernel has just said that it is there.
    let ring = contexts::exists(address).then(|| unsafe { Completions::of(address) });
    ring.is_none_or(|ring| ring.is_some_and(|ring| ring.filled() == 0)) && in_flight.reaping.is_calm()
}

/// Has the kernel store an event with an error instead of the sync's own: by a read that it refuses. The library puts `error` into
/// the event when the program takes it by io_getevents; in the ring it is another one.
pub fn submit_refusal(
    state: &State,
    sync: &Deferred,
    eventfd: Option<Result<c_int>>,
    error: Errno,
) -> Result<Option<Record>> {
    static NOWHERE: AtomicU64 = AtomicU64::new(0);
    let mut copy = iocb { aio_lio_opcode: IO_CMD_PREAD, aio_rw_flags: 0, ..sync.copy };
    let common = copy.common_mut();
    (common.buf, common.nbytes, common.offset) = (NOWHERE.as_ptr().cast(), descriptor::TOO_FEW, 0);
    let mut done = Err(Errno::BADF);
    if let Some(Ok(eventfd)) = eventfd {
        // If it is none any more, the kernel says so before it reads.
        copy.aio_fildes = eventfd;
        copy.common_mut().resfd = eventfd.cast_unsigned();
        done = submit_copy(state, sync, &copy, Some(error));
    }
    if matches!(done, Err(Errno(libc::EINVAL | libc::EBADF))) {
        copy.common_mut().flags = 0;
        let apart = descriptor::apart(|fd| submit_copy(state, sync, &iocb { aio_fildes: fd, ..copy }, Some(error)));
        done = apart.unwrap_or(Err(Errno(libc::ENOMEM)));
    }
    // Nothing else can be tried, but later.
    done.map_err(|error| if error == Errno::AGAIN { error } else { Errno(libc::ENOMEM) })
}
