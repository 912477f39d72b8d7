//! What the calls of `<libaio.h>` do. Contexts are the kernel's; reads, writes and polls go to it as they are; syncs, too, unless
//! something submitted before on their file has not completed: those are deferred (`syncs`).

use std::sync::atomic::Ordering;

use libc::{c_int, c_long, c_uint, timespec};

use super::abi::{io_callback_t, io_context_t};
use super::contexts::{Hidden, Seen};
use super::in_flight::{self, InFlight, Target};
use super::scheduler::Fate;
use super::state::{self, NoDuplicates, State};
use super::submitters::Submitter;
use super::syncs;
use crate::engine;
use crate::stats;
use crate::sys::aio_abi::{IO_CMD_FDSYNC, IO_CMD_FSYNC, io_event, iocb};
use crate::sys::contexts::{self as kernel, Wanted};
use crate::sys::errno::{Errno, Result};
use crate::sys::readable::ReadablePages;

/// io_setup. The library meets the context when it is submitted to. Errors: those of io_setup(2).
///
/// # Safety
/// As for the system call.
pub unsafe fn setup(count: c_int, place: *mut io_context_t) -> Result<()> {
    // It says whether figures are wanted at the end.
    engine::configuration();
    // SAFETY: the caller's promise.
    unsafe { kernel::setup(count, place.cast()) }?;
    let Some(state) = state::state() else { return Ok(()) };
    // SAFETY: the kernel has just stored it there.
    let number = number(unsafe { place.read_unaligned() });
    if let Some(hidden) = forget_predecessor(state, number) {
        syncs::abandon(state, number);
        state.contexts.end(hidden);
    }
    Ok(())
}

fn forget_predecessor(state: &'static State, number: u64) -> Option<Hidden> {
    let _locked = state.lock();
    state.contexts.forget_predecessor(number)
}

/// io_destroy. Deferred syncs are submitted first: the kernel's io_destroy completes all that was submitted. Error: EINVAL.
pub fn destroy(context: io_context_t) -> Result<()> {
    let number = number(context);
    let Some(state) = state::state() else { return kernel::destroy(number) };
    syncs::finish(state, Some(number));
    let hidden = state.hide(number);
    syncs::abandon(state, number);
    let read_still = state.ring_still_read(number);
    let done = kernel::destroy(number);
    read_still.into_iter().for_each(|ring| ring.stand_in());
    if let Some(hidden) = hidden {
        state.contexts.end(hidden);
    }
    syncs::dismiss(state);
    done
}

/// io_submit. How many were accepted. Errors: those of io_submit(2), if the first was not.
pub fn submit(context: io_context_t, count: c_long, list: *const *mut iocb) -> Result<c_long> {
    let number = number(context);
    let total = usize::try_from(count).unwrap_or(0);
    if total == 0 {
        return kernel::submit(number, count, list);
    }
    let state = state::get().map_err(|_| Errno::AGAIN)?;
    syncs::look(state);
    let submitter = state.contexts.submitters.enter();
    let Some(mut in_flight) = state.find_or_meet(number, &submitter)? else {
        return kernel::submit(number, count, list);
    };
    let mut pages = ReadablePages::new(&state.steady);
    // For a sync alone that is done below.
    let is_sync = |pages: &mut _| total == 1 && read_entry(pages, list).is_some_and(|entry| entry.is_sync());
    if state.has_deferred() && !is_sync(&mut pages) {
        in_flight = state.look_closely(number, &submitter, false)?;
    }
    // As the kernel does.
    let total = total.min(in_flight.longest_list());
    let mut looked = false;
    let mut done = 0;
    while done < total {
        let rest = list.wrapping_add(done);
        let step = match Run::find(state, in_flight, &submitter, &mut pages, rest, total - done) {
            Run::Plain { len, first_seq } => {
                submit_plain(state, &submitter, in_flight, &mut pages, rest, len, first_seq)
            }
            Run::Sync(block, copy) => {
                let closely = state.look_closely(number, &submitter, true);
                closely.and_then(|now| {
                    in_flight = now;
                    submit_sync(state, &submitter, in_flight, &mut pages, rest, block, &copy)
                })
            }
            Run::Unreadable => kernel::submit(number, 1, rest).map(|accepted| (1, accepted)),
            Run::Full if looked => Err(Errno::AGAIN),
            Run::Full => {
                looked = true;
                state.look_closely(number, &submitter, false).map(|now| {
                    in_flight = now;
                    (0, 0)
                })
            }
        };
        match step {
            Ok((tried, accepted)) => {
                done += usize::try_from(accepted).unwrap_or(0);
                if accepted < tried {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    stats::slot().libaio_requests.fetch_add(u64::try_from(done).unwrap_or(0), Ordering::Relaxed);
    Ok(c_long::try_from(done).unwrap_or(c_long::MAX))
}

/// What stands at the beginning of a list.
enum Run {
    /// So many to be handed over as they are. Their records are made, with numbers from `first_seq` on.
    Plain {
        len: usize,
        first_seq: u64,
    },
    Sync(*mut iocb, iocb),
    Unreadable,
    /// There are as many in flight as the context has room for.
    Full,
}

impl Run {
    fn find(
        state: &'static State,
        in_flight: &InFlight,
        submitter: &Submitter,
        pages: &mut ReadablePages<'_>,
        list: *const *mut iocb,
        count: usize,
    ) -> Run {
        let mut len = 0;
        let numbers = u64::try_from(count).unwrap_or(0);
        let first_seq = state.contexts.number_requests(numbers);
        submitter.submits(first_seq, numbers);
        let mut seq = first_seq;
        while len < count {
            let Some(entry) = read_entry(pages, list.wrapping_add(len)) else {
                return Run::plain_or(state, len, first_seq, Run::Unreadable);
            };
            if entry.is_sync() {
                // SAFETY: `read_entry` has found all of it readable; it need not be aligned.
                let copy = unsafe { entry.block.read_unaligned() };
                return Run::plain_or(state, len, first_seq, Run::Sync(entry.block, copy));
            }
            if !in_flight.reserve() {
                return Run::plain_or(state, len, first_seq, Run::Full);
            }
            in_flight.enter(entry.name, seq, Target::Descriptor(entry.fd));
            len += 1;
            seq += 1;
        }
        Run::entered(state, len, first_seq)
    }

    fn entered(state: &State, len: usize, first_seq: u64) -> Run {
        state.contexts.entered(first_seq);
        Run::Plain { len, first_seq }
    }

    fn plain_or(state: &State, len: usize, first_seq: u64, other: Run) -> Run {
        if len > 0 { Run::entered(state, len, first_seq) } else { other }
    }
}

/// What matters of an iocb in a list.
struct Entry {
    block: *mut iocb,
    opcode: i16,
    fd: i32,
    /// See `in_flight::name`.
    name: u64,
}

impl Entry {
    fn is_sync(&self) -> bool {
        matches!(self.opcode, IO_CMD_FSYNC | IO_CMD_FDSYNC)
    }
}

/// None: the entry, or its iocb, cannot be read.
fn read_entry(pages: &mut ReadablePages<'_>, entry: *const *mut iocb) -> Option<Entry> {
    if !pages.has(entry.addr(), size_of::<*mut iocb>()) {
        return None;
    }
    // SAFETY: it can be read.
    let block = unsafe { entry.read_unaligned() };
    if !pages.has(block.addr(), size_of::<iocb>()) {
        return None;
    }
    // SAFETY: it can be read; it need not be aligned.
    let (opcode, fd, data) = unsafe {
        let opcode = (&raw const (*block).aio_lio_opcode).read_unaligned();
        let fd = (&raw const (*block).aio_fildes).read_unaligned();
        (opcode, fd, (&raw const (*block).data).read_unaligned())
    };
    Some(Entry { block, opcode, fd, name: in_flight::name(block, data) })
}

/// Hands over what has its records. How many were tried, and accepted.
fn submit_plain(
    state: &'static State,
    submitter: &Submitter,
    in_flight: &'static InFlight,
    pages: &mut ReadablePages<'_>,
    list: *const *mut iocb,
    len: usize,
    first_seq: u64,
) -> Result<(c_long, c_long)> {
    let tried = c_long::try_from(len).unwrap_or(0);
    let done = kernel::submit(in_flight.address(), tried, list);
    let accepted = done.map_or(0, |done| usize::try_from(done).unwrap_or(0));
    for (index, seq) in (accepted..len).zip(first_seq + u64::try_from(accepted).unwrap_or(0)..) {
        match read_entry(pages, list.wrapping_add(index)) {
            Some(entry) => in_flight.withdraw(entry.name, seq),
            None => in_flight.withdraw_unnamed(seq),
        }
    }
    if accepted > 0 && state.look(in_flight, submitter) == Seen::Another {
        state.move_records(in_flight, first_seq);
    }
    done.map(|accepted| (tried, accepted))
}

fn submit_sync(
    state: &'static State,
    submitter: &Submitter,
    in_flight: &'static InFlight,
    pages: &mut ReadablePages<'_>,
    entry: *const *mut iocb,
    block: *mut iocb,
    copy: &iocb,
) -> Result<(c_long, c_long)> {
    let common = copy.common();
    let zeroes = (common.nbytes, common.offset, common.__pad3, copy.aio_rw_flags) == (0, 0, 0, 0);
    let plain = common.buf.is_null() && zeroes;
    // What the kernel refuses at once it shall refuse.
    let fate = if plain { syncs::defer(state, in_flight, block, copy)? } else { Fate::Free };
    if matches!(fate, Fate::Deferred) {
        return Ok((1, 1));
    }
    if !state.has_deferred() {
        in_flight.lift_limit();
    }
    if !in_flight.reserve() {
        return Err(Errno::AGAIN);
    }
    let seq = state.contexts.number_requests(1);
    in_flight.enter(in_flight::name(block, copy.data), seq, Target::Descriptor(copy.aio_fildes));
    state.contexts.entered(seq);
    submit_plain(state, submitter, in_flight, pages, entry, 1, seq)
}

/// io_cancel. A deferred sync is cancelled at once: its event is stored, and 0 returned. Errors: those of
/// io_cancel(2); EINPROGRESS, the kernel has begun to cancel, and the event will come.
pub fn cancel(context: io_context_t, block: *mut iocb, event: *mut io_event) -> Result<()> {
    let held = state::state().and_then(|state| syncs::cancel(state, number(context), block, event));
    held.unwrap_or_else(|| kernel::cancel(number(context), block, event))
}

/// io_getevents, or io_pgetevents if there is a signal mask. How many events were stored. Errors: those of the system calls.
///
/// # Safety
/// The kernel checks the addresses; what is stored there is the caller's.
pub unsafe fn get_events(
    context: io_context_t,
    wanted: &Wanted,
    mask: Option<*const libc::sigset_t>,
) -> Result<c_long> {
    let number = number(context);
    let Some(state) = state::state() else { return take(number, wanted, mask) };
    let in_flight = state.contexts.find(number);
    // Before the look: a sync may wait for it.
    in_flight.into_iter().for_each(|in_flight| in_flight.reaping.announce());
    syncs::look(state);
    let visit = in_flight.map(|in_flight| in_flight.reaping.visit());
    let got = take(number, wanted, mask)?;
    if let Ok(len) = usize::try_from(got)
        && len > 0
    {
        // SAFETY: the kernel has just stored so many.
        unsafe { translate(state, wanted.events, len) };
        visit.iter().for_each(|visit| visit.took(u64::try_from(len).unwrap_or(0)));
        // What has ended need not be looked through by `closes`.
        if state.contexts.find(number).is_some_and(|in_flight| !in_flight.is_empty()) {
            let submitter = state.contexts.submitters.enter();
            let found = state.contexts.find_for(number, &submitter);
            found.map(|in_flight| state.look(in_flight, &submitter));
        }
    }
    drop(visit);
    syncs::look(state);
    Ok(got)
}

/// Puts the program's iocbs into events that name one of the library's.
///
/// # Safety
/// There are so many events, wherever the program wanted them.
unsafe fn translate(state: &State, events: *mut io_event, len: usize) {
    if events.is_aligned() {
        // SAFETY: the caller's promise.
        return state.shadows.translate(unsafe { std::slice::from_raw_parts_mut(events, len) });
    }
    for place in (0..len).map(|index| events.wrapping_add(index)) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut event = place.read_unaligned();
            state.shadows.translate(std::slice::from_mut(&mut event));
            place.write_unaligned(event);
        }
    }
}

fn take(number: u64, wanted: &Wanted, mask: Option<*const libc::sigset_t>) -> Result<c_long> {
    match mask {
        Some(mask) => kernel::get_events_masked(number, wanted, mask),
        None => kernel::get_events(number, wanted),
    }
}

/// io_queue_run: calls the function of each request that has completed. How many there were.
///
/// # Safety
/// The data of every request of the context are its function (io_set_callback).
pub unsafe fn run(context: io_context_t) -> Result<c_long> {
    let mut called = 0;
    loop {
        let mut event = io_event::NONE;
        let mut no_time = timespec { tv_sec: 0, tv_nsec: 0 };
        let wanted = Wanted { at_least: 0, at_most: 1, events: &raw mut event, timeout: &raw mut no_time };
        // SAFETY: places of this frame.
        match unsafe { get_events(context, &wanted, None) } {
            Ok(0) => return Ok(called),
            Ok(_) => {}
            Err(error) => return if called > 0 { Ok(called) } else { Err(error) },
        }
        called += 1;
        // SAFETY: the caller's promise; NULL is no function.
        let function: io_callback_t = unsafe { std::mem::transmute(event.data) };
        if let Some(function) = function {
            // SAFETY: the caller's promise.
            unsafe { function(context, event.obj, event.res.cast_signed(), event.res2.cast_signed()) };
        }
    }
}

/// io_queue_wait: waits until a request has completed, and leaves its event. Errors: ETIMEDOUT, EINVAL, EFAULT, EINTR.
pub fn wait(context: io_context_t, timeout: *const timespec) -> Result<()> {
    if kernel::wait_for_event(number(context), timeout)? { Ok(()) } else { Err(Errno(libc::ETIMEDOUT)) }
}

/// The program gives a descriptor up: requests in flight keep its file.
pub fn closes(fd: c_int) {
    if let Some(state) = in_use() {
        state.contexts.closes(fd);
        syncs::closes(state, fd.cast_unsigned(), fd.cast_unsigned());
    }
}

/// The same for all from `first` to `last`.
pub fn closes_range(first: c_uint, last: c_uint) {
    let Some(state) = in_use() else { return };
    syncs::closes(state, first, last);
    for (_, on) in state.contexts.all_in_flight().flat_map(InFlight::records) {
        if let Target::Descriptor(fd) = on
            && (first..=last).contains(&fd.cast_unsigned())
        {
            state.contexts.closes(fd);
        }
    }
}

/// While this exists the library makes no descriptor of its own here.
pub fn fix_descriptors() -> Option<NoDuplicates> {
    in_use().map(State::forbid_duplicates)
}

fn in_use() -> Option<&'static State> {
    state::state().filter(|state| state.contexts.has_any() && state.is_of_this_process())
}

/// Whether the descriptor is the library's own.
pub fn owns(fd: c_int) -> bool {
    lowest_own(fd) == Some(fd)
}

/// The lowest of the library's own descriptors from `first` on.
pub fn lowest_own(first: c_int) -> Option<c_int> {
    syncs::lowest_own(state::state()?, first)
}

fn number(context: io_context_t) -> u64 {
    u64::try_from(context.expose_provenance()).unwrap_or(0)
}
