//! What calls of the program ask of the deferred syncs.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_uint, timespec};

use super::deferred::Deferred;
use super::duplicates;
use super::in_flight::InFlight;
use super::scheduler::{Fate, Scheduler, users_of};
use super::state::{self, State};
use crate::engine::{Caller, Engine};
use crate::order::FileKey;
use crate::sys::aio_abi::{io_event, iocb};
use crate::sys::contexts;
use crate::sys::descriptor::{self, FdKind};
use crate::sys::environment;
use crate::sys::errno::{Errno, Result};
use crate::sys::inode::Fields;
use crate::sys::thread::Pause;
use crate::table;
use crate::threads::threadless;

/// A sync is about to be submitted: defers it if something submitted before on its file has not completed. Errors: EBADF; EAGAIN, no
/// memory, no thread, no room in the context.
pub fn defer(state: &'static State, in_flight: &'static InFlight, block: *mut iocb, copy: &iocb) -> Result<Fate> {
    let posix = posix_has_unfinished();
    let seq = state.contexts.number_requests(1);
    if !posix && !state.has_deferred() && state.contexts.all_in_flight().all(InFlight::is_empty) {
        return Ok(Fate::Free);
    }
    let Some(file) = file_to_sync(copy)? else { return Ok(Fate::Free) };
    let newest = if posix { newest_unfinished(file) } else { None };
    let sync = Deferred::new(in_flight, block, copy, file, seq).after_posix(newest);
    finish_at_exit();
    Scheduler::lock(state).defer(sync).map_err(|_| Errno::AGAIN)
}

/// The kernel completes what it was given even if the process exits; so must the library what it has deferred. It notices exit and a
/// return from main, not _exit or a signal.
fn finish_at_exit() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Relaxed) && !REGISTERED.swap(true, Ordering::Relaxed) {
        environment::at_exit(exits);
    }
}

extern "C" fn exits() {
    if let Some(state) = contexts_of_process() {
        finish(state, None);
    }
}

fn contexts_of_process() -> Option<&'static State> {
    state::state().filter(|state| state.is_of_this_process())
}

/// Whether the other interface has anything unfinished.
fn posix_has_unfinished() -> bool {
    Engine::current().is_some_and(|engine| !engine.lock_free.submissions.is_empty() || table::unfinished() > 0)
}

/// The youngest request of the other interface, if there are unfinished ones on the file.
fn newest_unfinished(file: FileKey) -> Option<u64> {
    let caller = Caller::enter(Engine::current()?)?;
    let table = caller.lock();
    let newest = table.order.newest_seq();
    let unfinished = table.order.has_unfinished_up_to(file, newest);
    // `lock` may have admitted requests, which are to be started.
    threadless::unlock_and_wake(&caller, table);
    unfinished.then_some(newest)
}

/// The file that a sync is for. None: the kernel refuses it. Error: EBADF.
fn file_to_sync(copy: &iocb) -> Result<Option<FileKey>> {
    let flags = descriptor::flags(copy.aio_fildes)?;
    let found = descriptor::describe(copy.aio_fildes, flags, Fields::Identity)?;
    let refused = found.fd_kind != FdKind::File || flags & libc::O_PATH != 0;
    let tells_nobody = copy.eventfd().is_some_and(|fd| !descriptor::is_eventfd(fd));
    Ok((!refused && !tells_nobody).then_some(FileKey { device: found.device, inode: found.inode }))
}

/// Submits what is ready, if syncs are deferred and no other thread is at it.
pub fn look(state: &'static State) {
    if !state.has_deferred() {
        return;
    }
    if let Some(mut scheduler) = Scheduler::try_lock(state)
        && scheduler.is_time_to_look()
    {
        scheduler.look();
    }
}

/// Cancels a deferred sync, and stores its event, of which there is none in the ring. None: there is no such sync. Error: EFAULT, the
/// event cannot be stored, and the sync stays.
pub fn cancel(state: &'static State, context: u64, block: *mut iocb, place: *mut io_event) -> Option<Result<()>> {
    if !state.has_deferred() {
        return None;
    }
    let mut scheduler = Scheduler::lock(state);
    let syncs = scheduler.syncs();
    let is_it = |sync: &Deferred| sync.in_flight.address() == context && ptr::eq(sync.block, block);
    let found = syncs.ids().filter_map(|id| Some((id, syncs.slots.get(id).filter(|sync| is_it(sync))?)));
    let (id, sync) = found.min_by_key(|(_, sync)| sync.seq)?;
    let canceled = i64::from(-libc::ECANCELED).cast_unsigned();
    let event = io_event { data: sync.copy.data, obj: sync.block, res: canceled, ..io_event::NONE };
    if let Err(error) = contexts::store_event(place, &event) {
        return Some(Err(error));
    }
    let sync = scheduler.take(id, None);
    if sync.has_its_context() {
        sync.in_flight.release();
    }
    scheduler.look();
    Some(Ok(()))
}

/// A context is about to be destroyed, or (`None`) all, as the process exits: submits its syncs as soon as what they wait for in the
/// kernel has ended. Returns when the kernel has all of them; io_destroy(2) then waits for them.
pub fn finish(state: &'static State, context: Option<u64>) {
    let newest = state.contexts.newest();
    let mut pause = Pause::new();
    loop {
        let mut scheduler = Scheduler::lock(state);
        if !state.has_deferred() {
            return;
        }
        scheduler.hurry(context, newest);
        scheduler.look();
        let full = scheduler.first_left(context, newest);
        let orphans = context.is_none() && scheduler.syncs().orphans.len() > 0;
        drop(scheduler);
        match full {
            None if !orphans => return,
            Some((address, true)) => drop_events(address),
            _ => {}
        }
        pause.once();
    }
}

/// Nobody will take the events of a context: makes room in its ring.
fn drop_events(address: u64) {
    let mut events = [io_event::NONE; 16];
    let mut no_time = timespec { tv_sec: 0, tv_nsec: 0 };
    let wanted = contexts::Wanted { at_least: 0, at_most: 16, events: events.as_mut_ptr(), timeout: &raw mut no_time };
    let _ = contexts::get_events(address, &wanted);
}

/// Waits until no thread that has found a context under the lock, before it was hidden, uses it. Syncs that were deferred after
/// `finish` become orphans.
pub fn abandon(state: &'static State, context: u64) {
    let mut scheduler = Scheduler::lock(state);
    if !state.has_deferred() {
        return;
    }
    for id in scheduler.syncs().ids() {
        if scheduler.syncs().slots.get(id).is_some_and(|sync| sync.is_of(Some(context), u64::MAX)) {
            scheduler.orphan(id);
        }
    }
}

/// The lowest of the library's own descriptors, duplicates and orphans', from `first` on.
pub fn lowest_own(state: &'static State, first: c_int) -> Option<c_int> {
    // With a deferred sync, one may be made in this moment: under the lock.
    let has_none = state.own_descriptors.load(Ordering::Acquire) == 0 && !state.has_deferred();
    if has_none || !state.is_of_this_process() {
        return None;
    }
    let mut scheduler = Scheduler::lock(state);
    let orphans = scheduler.syncs().orphans.iter().map(|orphan| orphan.descriptor).filter(|fd| *fd >= first).min();
    [duplicates::lowest(&scheduler.syncs().duplicates, first), orphans].into_iter().flatten().min()
}

/// The program is about to close descriptors: syncs on them get duplicates. If the process has no descriptor left for these, waits
/// until the kernel has the syncs.
pub fn closes(state: &'static State, first: c_uint, last: c_uint) {
    let concerned = || {
        let users = first..=last.min(first.saturating_add(255));
        state.has_deferred()
            && users.map(c_uint::cast_signed).any(|number| users_of(number).load(Ordering::Acquire) > 0)
    };
    let mut pause = Pause::new();
    while concerned() {
        {
            let _no_others = state.forbid_duplicates();
            let mut scheduler = Scheduler::lock(state);
            let is_closed = |number: c_int| (first..=last).contains(&number.cast_unsigned());
            if scheduler.syncs().keep_descriptors(is_closed).is_ok() {
                return;
            }
            scheduler.look();
        }
        pause.once();
    }
}

/// Ends the thread, if nothing is left to look at, and waits until it has.
pub fn dismiss(state: &'static State) {
    let mut pause = Pause::new();
    loop {
        let mut scheduler = Scheduler::lock(state);
        if state.contexts.has_any() || !scheduler.dismiss_thread() {
            return;
        }
        drop(scheduler);
        pause.once();
    }
}
