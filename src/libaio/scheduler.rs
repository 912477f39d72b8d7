//! Deferred syncs: held back until all that was submitted before them on their file has completed, then submitted to the
//! kernel, by a shadow iocb: the program may use its own again as soon as io_submit has returned.
//!
//! Nobody tells when that is: the program may take its events behind the library's back. So a thread looks at the rings, after
//! a quarter of the time that it has waited so far; and every call of the program that comes along looks, too. (An eventfd in
//! each request would tell a little earlier, but every request would pay for it, whether or not a sync follows: see
//! benches/README.md. And the program's iocbs are not the library's to change.)
//!
//! The lock is taken with all signals blocked.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use libc::{c_int, c_uint, timespec};
use lock_api::MutexGuard;

use super::contexts::State;
use super::deferred::{Deferred, Orphan, Syncs};
use super::duplicates;
use super::in_flight::{InFlight, Record};
use super::reaping::Reaper;
use super::resubmit::{SILENT, is_unchanged, reaper_of, submit_as, submit_refusal, submit_shadow};
use crate::calls::submit;
use crate::dispatch::caller_reap;
use crate::engine::{self, Caller, Engine};
use crate::errno::{Errno, Result};
use crate::order::FileKey;
use crate::slab::{Id, NONE};
use crate::stats;
use crate::sys::aio_abi::{IO_CMD_FDSYNC, io_event, iocb};
use crate::sys::aio_ring::Completions;
use crate::sys::clock::{self, Nanos};
use crate::sys::contexts;
use crate::sys::descriptor::{self, Nature};
use crate::sys::environment;
use crate::sys::inode::Fields;
use crate::sys::lock::RawLock;
use crate::sys::park::Parker;
use crate::sys::signals::Blocked;
use crate::sys::thread::{self, Pause};
use crate::sys::transfer;
use crate::table;

/// Under the lock. Starts from all zeroes.
pub struct Holding {
    begun: bool,
    syncs: MaybeUninit<Syncs>,
    /// There is a thread that looks.
    watched: bool,
    /// It is to end as soon as nothing is held.
    dismissed: bool,
    /// Callers do not look before this: there is much to look at.
    next_look: Nanos,
}

/// What becomes of a sync.
pub enum Fate {
    /// It waits for nothing.
    Free,
    Deferred,
}

/// What became of the attempt to submit one.
enum Resubmitted {
    /// It is in the kernel.
    Done(Option<Record>),
    /// Its context is gone.
    Orphaned,
    Later,
}

/// With so many files callers look only now and then.
const MANY: usize = 16;

/// How many deferred syncs use a number, modulo: so that `close` of any other takes no lock. (It survives fork; then `close` looks
/// once too often.)
static USERS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

fn users_of(number: c_int) -> &'static AtomicU32 {
    let [first, ..] = &USERS;
    usize::try_from(number).ok().and_then(|number| USERS.get(number % USERS.len())).unwrap_or(first)
}

/// A sync is about to be submitted: holds it back if something of its file has not completed. Errors: EBADF; EAGAIN, no
/// memory, no thread, no room in the context.
pub fn defer(state: &'static State, in_flight: &'static InFlight, block: *mut iocb, copy: &iocb) -> Result<Fate> {
    let posix = posix_has_unfinished();
    let seq = state.number_requests(1);
    if !posix && state.deferred.load(Ordering::Acquire) == 0 && state.all_in_flight().all(InFlight::is_empty) {
        return Ok(Fate::Free);
    }
    let Some(file) = file_to_sync(copy)? else { return Ok(Fate::Free) };
    let newest = if posix { newest_unfinished(file) } else { None };
    let sync = Deferred::new(in_flight, block, copy, file, seq).after_posix(newest);
    finish_at_exit();
    let _blocked = Blocked::all();
    state.holding.lock().defer(state, sync).map_err(|_| Errno::AGAIN)
}

/// The kernel makes what was submitted before the process is gone. It can be noticed that the process exits by exit, or by
/// returning from main; not by _exit or a signal.
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
    super::contexts::state().filter(|state| state.is_of_this_process())
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
    // What it has just taken in shall run.
    submit::unlock_and_wake(&caller, table);
    unfinished.then_some(newest)
}

/// Whether requests of the other interface on a file, up to this one, are unfinished. Signals are blocked.
fn is_unfinished(file: FileKey, newest: u64) -> bool {
    // Results that nobody has taken may be all there is.
    caller_reap::poll();
    Engine::current().is_some_and(|engine| engine.lock().order.has_unfinished_up_to(file, newest))
}

/// The file that a sync is for. None: the kernel refuses it. Error: EBADF.
fn file_to_sync(copy: &iocb) -> Result<Option<FileKey>> {
    let flags = descriptor::flags(copy.aio_fildes)?;
    let found = descriptor::describe(copy.aio_fildes, flags, Fields::Identity)?;
    let refused = found.nature != Nature::File || flags & libc::O_PATH != 0;
    let tells_nobody = copy.eventfd().is_some_and(|fd| !descriptor::is_eventfd(fd));
    Ok((!refused && !tells_nobody).then_some(FileKey { device: found.device, inode: found.inode }))
}

impl Holding {
    fn begin(&mut self) -> &mut Syncs {
        if !self.begun {
            self.syncs.write(Syncs::new());
            self.begun = true;
        }
        // SAFETY: written above, or before.
        unsafe { self.syncs.assume_init_mut() }
    }

    /// Under the lock a sync is either held or has its record. Errors: ENOMEM; EAGAIN, no thread, no room.
    fn defer(&mut self, state: &'static State, mut sync: Deferred) -> Result<Fate> {
        self.begin().reserve()?;
        // Acquire: whatever was entered before it was stored is found by the search.
        let mut entered = Some(state.newest_entered.load(Ordering::Acquire));
        if !self.begin().depends_on_last_only(sync.file, entered.unwrap_or(0)) {
            self.look_at_rings(state);
            if !self.begin().find_dependencies(state, &mut sync)? {
                entered = None;
            }
        }
        let first = self.begin().queue_of(sync.file).is_none();
        if first && self.begin().are_met(&mut sync) && !sync.waits_for_posix() {
            return Ok(Fate::Free);
        }
        if self.is_watched(state) && has_room(sync.in_flight) {
            self.keep(state, sync, entered, first);
            return Ok(Fate::Deferred);
        }
        self.begin().drop_dependencies(&mut sync);
        Err(Errno::AGAIN)
    }

    fn keep(&mut self, state: &'static State, sync: Deferred, entered: Option<u64>, first: bool) {
        sync.in_flight.reaping.deferred.fetch_add(1, Ordering::AcqRel);
        numbers_of(&sync).for_each(|number| {
            users_of(number).fetch_add(1, Ordering::AcqRel);
        });
        self.begin().insert(sync, clock::now(), entered);
        state.deferred.fetch_add(1, Ordering::Release);
        stats::slot().libaio_syncs_held.fetch_add(1, Ordering::Relaxed);
        if first {
            PARKER.call();
        }
    }

    /// Whether there is a thread that looks; one is made if there is none.
    fn is_watched(&mut self, state: &'static State) -> bool {
        if !self.watched {
            self.watched = thread::spawn(watch, ptr::from_ref(state).cast_mut().cast()).is_ok();
            self.dismissed = false;
        }
        self.watched
    }

    /// Takes a sync out. Its record is still reserved, unless it is in flight.
    fn take(&mut self, state: &State, id: Id, record: Option<Record>) -> Deferred {
        let sync = self.begin().remove(id, clock::now(), record);
        if sync.has_its_context() {
            sync.in_flight.reaping.deferred.fetch_sub(1, Ordering::AcqRel);
        }
        numbers_of(&sync).for_each(|number| {
            users_of(number).fetch_sub(1, Ordering::AcqRel);
        });
        state.deferred.fetch_sub(1, Ordering::Release);
        sync
    }

    /// Submits what waits for nothing any more. How long to wait before the next look; None: nothing is held.
    fn look(&mut self, state: &'static State) -> Option<Nanos> {
        let begun = clock::now();
        self.look_at_rings(state);
        let mut pace = None;
        let mut queue = self.begin().first_queue();
        while queue != NONE {
            let behind = self.begin().queue_behind(queue);
            self.advance(state, queue, begun);
            if let Some((first, since)) = self.begin().first_of(queue) {
                let latest = if self.begin().is_undecided(first) { SILENT / 2 } else { LATEST };
                let next = (begun.saturating_sub(since) / 4).clamp(SOONEST, latest);
                pace = Some(pace.map_or(next, |pace: Nanos| pace.min(next)));
            }
            queue = behind;
        }
        // No more than a quarter of the time is spent on looking.
        if self.begin().queue_count > MANY {
            let end = clock::now();
            let rest = end.saturating_sub(begun).saturating_mul(3);
            self.next_look = end.saturating_add(rest);
            pace = pace.map(|pace| pace.max(rest));
        } else {
            self.next_look = 0;
        }
        pace
    }

    /// Submits what is ready of one queue.
    fn advance(&mut self, state: &'static State, queue: Id, now: Nanos) {
        while let Some((first, _)) = self.begin().first_of(queue)
            && self.begin().is_ready(first, is_unfinished)
            && self.submit_and_take(state, first, now)
        {}
        if self.begin().ending == 0 {
            return;
        }
        // Those whose context is being destroyed do not wait for syncs before them that wait for something else.
        let mut id = self.begin().first_of(queue).map_or(NONE, |(first, _)| first);
        while id != NONE && self.begin().drain_slot(id) {
            let behind = self.begin().behind(id);
            if self.begin().slots.get(id).is_some_and(|sync| sync.ending) {
                self.submit_and_take(state, id, now);
            }
            id = behind;
        }
    }

    /// False: it has to wait.
    fn submit_and_take(&mut self, state: &'static State, id: Id, now: Nanos) -> bool {
        if self.begin().reserve_dependency().is_err() {
            return false;
        }
        match self.submit(state, id, now) {
            Resubmitted::Done(record) => drop(self.take(state, id, record)),
            Resubmitted::Orphaned => self.orphan(state, id),
            Resubmitted::Later => return false,
        }
        true
    }

    /// Hands a sync to the kernel.
    fn submit(&mut self, state: &'static State, id: Id, now: Nanos) -> Resubmitted {
        let syncs = self.begin();
        let Some(sync) = syncs.slots.get_mut(id) else { return Resubmitted::Later };
        let address = sync.in_flight.address();
        if !sync.has_its_context() || !contexts::exists(address) {
            return Resubmitted::Orphaned;
        }
        let Some(reaper) = reaper_of(sync, now) else { return Resubmitted::Later };
        let sync = &*sync;
        let fd = sync.fd.descriptor(&syncs.duplicates, Some(sync.file));
        let eventfd = sync.eventfd.map(|handle| handle.descriptor(&syncs.duplicates, None));
        let own = fd.is_ok() && reaper != Reaper::Library && is_unchanged(sync);
        let refused = |error: Errno| error != Errno::AGAIN && error != Errno(libc::ENOMEM);
        let mut done = Err(Errno(libc::EFAULT));
        if own {
            done = submit_as(sync, sync.block);
        }
        if done.is_err_and(refused) {
            done = fd.and_then(|fd| submit_shadow(state, sync, iocb { aio_fildes: fd, ..sync.copy }, eventfd));
        }
        // It is refused for good, but the program waits for an event.
        if let Err(error) = done
            && refused(error)
            && !sync.ending
        {
            done = submit_refusal(state, sync, eventfd, error);
        }
        match done {
            Ok(record) => Resubmitted::Done(record),
            Err(error) if sync.ending && error != Errno::AGAIN => Resubmitted::Orphaned,
            Err(error) => {
                if let Some(sync) = self.begin().slots.get_mut(id) {
                    sync.full = error == Errno::AGAIN;
                }
                Resubmitted::Later
            }
        }
    }

    /// The sync's context is gone: the thread makes it, and tells nobody.
    fn orphan(&mut self, state: &'static State, id: Id) {
        let syncs = self.begin();
        let Some(sync) = syncs.slots.get(id) else { return };
        let data_only = sync.copy.aio_lio_opcode == IO_CMD_FDSYNC;
        let descriptor = sync.fd.descriptor(&syncs.duplicates, Some(sync.file)).and_then(descriptor::duplicate);
        let sync = self.take(state, id, None);
        if sync.has_its_context() {
            sync.in_flight.release();
        }
        // `reserve` made the room.
        if let Ok(descriptor) = descriptor {
            state.deferred.fetch_add(1, Ordering::Release);
            self.begin().orphans.insert(Orphan { descriptor, data_only });
            PARKER.call();
        }
    }

    fn next_orphan(&mut self) -> Option<(Id, c_int, bool)> {
        let orphans = &self.begin().orphans;
        let ids = 0..Id::try_from(orphans.opened()).unwrap_or(0);
        ids.filter(|_| orphans.len() > 0)
            .find_map(|id| orphans.get(id).map(|orphan| (id, orphan.descriptor, orphan.data_only)))
    }

    /// Under the lock, which whoever destroys a context takes before.
    fn look_at_rings(&self, state: &'static State) {
        for in_flight in state.all_in_flight().filter(|in_flight| !in_flight.is_idle()) {
            let (newest, address) = (state.newest(), in_flight.address());
            let exists = contexts::exists(address);
            // SAFETY: the kernel has just said that it is there.
            let ring = if exists { unsafe { Completions::of(address) } } else { None };
            match ring {
                // Nothing interrupts this: signals are blocked.
                Some(ring) if in_flight.is_of(&ring) => in_flight.look(&ring, &AtomicU64::new(0)),
                // Destroyed by a raw system call. (Or moved, and not used since.)
                Some(_) => in_flight.end_all_up_to(newest),
                None if !exists => in_flight.end_all_up_to(newest),
                None => {}
            }
        }
    }
}

fn numbers_of(sync: &Deferred) -> impl Iterator<Item = c_int> {
    [Some(sync.copy.aio_fildes), sync.copy.eventfd()].into_iter().flatten()
}

/// Reserves a record, if the context has room for a sync that waits: see `InFlight::limit`.
fn has_room(in_flight: &InFlight) -> bool {
    let address = in_flight.address();
    // SAFETY: the kernel has just said that it is there.
    let ring = contexts::exists(address).then(|| unsafe { Completions::of(address) }).flatten();
    if let Some(ring) = ring.filter(|ring| in_flight.is_of(ring)) {
        // Events may have come since the limit was set last.
        in_flight.look(&ring, &AtomicU64::new(0));
        in_flight.limit(&ring);
    }
    in_flight.reserve()
}

// ---- callers ----

/// Looks whether something can go on, if something is held and nobody else looks.
pub fn look(state: &'static State) {
    if state.deferred.load(Ordering::Acquire) == 0 {
        return;
    }
    let _blocked = Blocked::all();
    if let Some(mut holding) = state.holding.try_lock()
        && (holding.next_look == 0 || clock::now() >= holding.next_look)
    {
        holding.look(state);
    }
}

/// Cancels a sync that is held, and stores its event, which comes by no other way. None: it is not held. Error: EFAULT, the event
/// cannot be stored, and the sync stays.
pub fn cancel(state: &'static State, context: u64, block: *mut iocb, place: *mut io_event) -> Option<Result<()>> {
    if state.deferred.load(Ordering::Acquire) == 0 {
        return None;
    }
    let _blocked = Blocked::all();
    let mut holding = state.holding.lock();
    let syncs = holding.begin();
    let is_it = |sync: &Deferred| sync.in_flight.address() == context && ptr::eq(sync.block, block);
    let found = syncs.ids().filter_map(|id| Some((id, syncs.slots.get(id).filter(|sync| is_it(sync))?)));
    let (id, sync) = found.min_by_key(|(_, sync)| sync.seq)?;
    let canceled = i64::from(-libc::ECANCELED).cast_unsigned();
    let event = io_event { data: sync.copy.data, obj: sync.block, res: canceled, ..io_event::NONE };
    if let Err(error) = contexts::store_event(place, &event) {
        return Some(Err(error));
    }
    let sync = holding.take(state, id, None);
    if sync.has_its_context() {
        sync.in_flight.release();
    }
    holding.look(state);
    Some(Ok(()))
}

/// A context is about to be destroyed: its syncs are made as soon as what they wait for in the kernel has ended, and this returns
/// when the kernel has them, and waits for them itself. `None`: all contexts, the process exits.
pub fn finish(state: &'static State, context: Option<u64>) {
    let newest = state.newest();
    let mut pause = Pause::new();
    loop {
        let blocked = Blocked::all();
        let mut holding = state.holding.lock();
        if state.deferred.load(Ordering::Acquire) == 0 {
            return;
        }
        holding.hurry(context, newest);
        holding.look(state);
        let full = holding.first_left(context, newest);
        let orphans = context.is_none() && holding.begin().orphans.len() > 0;
        drop(holding);
        match full {
            None if !orphans => return,
            Some((address, true)) => drop_events(address),
            _ => {}
        }
        drop(blocked);
        pause.once();
    }
}

impl Holding {
    /// Has the syncs of a context wait for nothing but the kernel.
    fn hurry(&mut self, context: Option<u64>, newest: u64) {
        let syncs = self.begin();
        for id in syncs.ids() {
            if let Some(sync) = syncs.slots.get_mut(id)
                && sync.is_of(context, newest)
                && !std::mem::replace(&mut sync.ending, true)
            {
                syncs.ending += 1;
            }
        }
    }

    /// Whether a sync of a context is left: which context, and whether that has no room for it.
    fn first_left(&mut self, context: Option<u64>, newest: u64) -> Option<(u64, bool)> {
        let left = self.begin().slots.iter().filter(|sync| sync.is_of(context, newest));
        left.map(|sync| (sync.in_flight.address(), sync.full)).max_by_key(|(_, full)| *full)
    }
}

/// Nobody will take the events of a context: makes room in its ring.
fn drop_events(address: u64) {
    let mut events = [io_event::NONE; 16];
    let mut no_time = timespec { tv_sec: 0, tv_nsec: 0 };
    let wanted = contexts::Wanted { at_least: 0, at_most: 16, events: events.as_mut_ptr(), timeout: &raw mut no_time };
    let _ = contexts::get_events(address, &wanted);
}

/// Waits until nobody looks at the ring of a context that nobody finds any more; syncs that came too late are made without it.
pub fn abandon(state: &'static State, context: u64) {
    let _blocked = Blocked::all();
    let mut holding = state.holding.lock();
    if state.deferred.load(Ordering::Acquire) == 0 {
        return;
    }
    for id in holding.begin().ids() {
        if holding.begin().slots.get(id).is_some_and(|sync| sync.is_of(Some(context), u64::MAX)) {
            holding.orphan(state, id);
        }
    }
}

/// The lowest of the descriptors that are kept for syncs, from `first` on.
pub fn lowest_own(state: &'static State, first: c_int) -> Option<c_int> {
    if state.deferred.load(Ordering::Acquire) == 0 || !state.is_of_this_process() {
        return None;
    }
    let _blocked = Blocked::all();
    let mut holding = state.holding.lock();
    let orphans = holding.begin().orphans.iter().map(|orphan| orphan.descriptor).filter(|fd| *fd >= first).min();
    [duplicates::lowest(&holding.begin().duplicates, first), orphans].into_iter().flatten().min()
}

/// While this exists no descriptor is kept that was not before.
pub struct Fixed {
    _lock: MutexGuard<'static, RawLock, ()>,
    _blocked: Blocked,
}

pub fn fix(state: &'static State) -> Fixed {
    let blocked = Blocked::all();
    Fixed { _lock: state.keeping.lock(), _blocked: blocked }
}

/// The program closes descriptors: syncs go on with duplicates. Without a free descriptor for these it has to wait until the syncs
/// are in the kernel.
pub fn closes(state: &'static State, first: c_uint, last: c_uint) {
    let concerned = || {
        let users = first..=last.min(first.saturating_add(255));
        state.deferred.load(Ordering::Acquire) > 0
            && users.map(c_uint::cast_signed).any(|number| users_of(number).load(Ordering::Acquire) > 0)
    };
    let mut pause = Pause::new();
    while concerned() {
        {
            let _fixed = fix(state);
            let mut holding = state.holding.lock();
            let is_closed = |number: c_int| (first..=last).contains(&number.cast_unsigned());
            if holding.begin().keep_descriptors(is_closed).is_ok() {
                return;
            }
            holding.look(state);
        }
        pause.once();
    }
}

/// Ends the thread, if nothing is left to look at, and waits until it has.
pub fn dismiss(state: &'static State) {
    let mut pause = Pause::new();
    loop {
        let blocked = Blocked::all();
        let mut holding = state.holding.lock();
        if !holding.watched || state.contexts.load(Ordering::Relaxed) > 0 {
            return;
        }
        holding.dismissed = true;
        drop(holding);
        PARKER.call();
        drop(blocked);
        pause.once();
    }
}

// ---- the thread ----

/// It looks no sooner than this after the last time, and no later.
const SOONEST: Nanos = 20_000;
const LATEST: Nanos = 5 * clock::MILLISECOND;

static PARKER: Parker = Parker::new();

extern "C-unwind" fn watch(state: *mut c_void) -> *mut c_void {
    thread::set_name(c"aio_rs/sync");
    thread::be_on_time();
    // SAFETY: `is_watched` passes it, and it is never unmapped.
    let Some(state) = (unsafe { state.cast::<State>().as_ref() }) else { return ptr::null_mut() };
    let idle = engine::configuration().idle_ms.saturating_mul(clock::MILLISECOND);
    loop {
        let pace = state.holding.lock().look(state);
        make_orphans(state);
        let called = PARKER.wait(Duration::from_nanos(pace.unwrap_or(idle)), false);
        let mut holding = state.holding.lock();
        let done = state.deferred.load(Ordering::Acquire) == 0 && (holding.dismissed || pace.is_none() && !called);
        if done {
            holding.watched = false;
            return ptr::null_mut();
        }
    }
}

fn make_orphans(state: &'static State) {
    loop {
        let Some((id, descriptor, data_only)) = state.holding.lock().next_orphan() else { return };
        let _ = if data_only { transfer::fdatasync(descriptor) } else { transfer::fsync(descriptor) };
        let mut holding = state.holding.lock();
        holding.begin().orphans.remove(id);
        descriptor::close_quietly(descriptor);
        state.deferred.fetch_sub(1, Ordering::Release);
    }
}
