//! When a deferred sync is submitted to the kernel: once all that was submitted before it on its file has completed.
//!
//! Nothing tells the library of that, as a program may take its events by raw system calls or from the ring. So a thread looks at the
//! rings, again after a quarter of the time that the first sync of a queue has waited; and so do io_submit and io_getevents
//! whenever the program calls them. (An eventfd in each request would tell a little earlier, but every request would pay for it,
//! whether or not a sync follows: see docs/measurements.md. And the program's iocbs are not the library's to change.)

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use libc::c_int;

use super::deferred::{Deferred, Orphan, Syncs};
use super::in_flight::{InFlight, Record};
use super::reaping::Reaper;
use super::resubmit::{SILENT, is_unchanged, reaper_of, submit_as, submit_refusal, submit_shadow};
use super::state::{Locked, State};
use crate::dispatch::caller_reap;
use crate::engine::{self, Engine};
use crate::order::FileKey;
use crate::slab::{Id, NONE};
use crate::stats;
use crate::sys::aio_abi::{IO_CMD_FDSYNC, iocb};
use crate::sys::aio_ring::Completions;
use crate::sys::clock::{self, Nanos};
use crate::sys::contexts;
use crate::sys::descriptor;
use crate::sys::errno::{Errno, Result};
use crate::sys::park::Parker;
use crate::sys::thread;
use crate::sys::transfer;

/// Whoever acts on the deferred syncs: has the lock, with all signals blocked.
pub struct Scheduler {
    state: &'static State,
    locked: Locked,
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

/// How many deferred syncs use a descriptor, by its number modulo 256: `close` of others takes no lock. (A child of fork inherits the
/// counts, and only loses time by it.)
static USERS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

pub fn users_of(number: c_int) -> &'static AtomicU32 {
    let [first, ..] = &USERS;
    usize::try_from(number).ok().and_then(|number| USERS.get(number % USERS.len())).unwrap_or(first)
}

/// With more queues than this, `is_time_to_look` limits how often callers look.
const MANY: usize = 16;

impl Scheduler {
    pub fn lock(state: &'static State) -> Scheduler {
        Scheduler { state, locked: state.lock() }
    }

    /// None: somebody else has the lock.
    pub fn try_lock(state: &'static State) -> Option<Scheduler> {
        Some(Scheduler { state, locked: state.try_lock()? })
    }

    /// Whether a caller is to look, too: always, unless there are more than `MANY` queues.
    pub fn is_time_to_look(&self) -> bool {
        let next_look = self.locked.deferred.next_look;
        next_look == 0 || clock::now() >= next_look
    }

    /// Has the thread end as soon as nothing is left to look at. False: there is none.
    pub fn dismiss_thread(&mut self) -> bool {
        let deferred = &mut *self.locked.deferred;
        deferred.dismissed = deferred.watched;
        if deferred.watched {
            PARKER.call();
        }
        deferred.watched
    }

    pub fn syncs(&mut self) -> &mut Syncs {
        self.locked.deferred.syncs()
    }

    /// Defers a sync that depends on something, with a record reserved for it. Errors: ENOMEM; EAGAIN, no thread, no room.
    pub fn defer(&mut self, mut sync: Deferred) -> Result<Fate> {
        self.syncs().reserve()?;
        // Acquire: whatever was entered before it was stored is found by the search.
        let mut entered = Some(self.state.contexts.newest_entered());
        if !self.syncs().depends_on_last_only(sync.file, entered.unwrap_or(0)) {
            self.look_at_rings();
            if !self.find_dependencies(&mut sync)? {
                entered = None;
            }
        }
        let first = self.syncs().queue_of(sync.file).is_none();
        if first && self.syncs().are_met(&mut sync) && !sync.waits_for_posix() {
            return Ok(Fate::Free);
        }
        if self.is_watched() && has_room(sync.in_flight) {
            self.keep(sync, entered, first);
            return Ok(Fate::Deferred);
        }
        self.syncs().drop_dependencies(&mut sync);
        Err(Errno::AGAIN)
    }

    fn find_dependencies(&mut self, sync: &mut Deferred) -> Result<bool> {
        let contexts = &self.state.contexts;
        self.syncs().find_dependencies(contexts, sync)
    }

    fn keep(&mut self, sync: Deferred, entered: Option<u64>, first: bool) {
        sync.in_flight.reaping.deferred.fetch_add(1, Ordering::AcqRel);
        numbers_of(&sync).for_each(|number| {
            users_of(number).fetch_add(1, Ordering::AcqRel);
        });
        self.syncs().insert(sync, clock::now(), entered);
        self.state.deferred.fetch_add(1, Ordering::Release);
        stats::slot().libaio_syncs_held.fetch_add(1, Ordering::Relaxed);
        if first {
            PARKER.call();
        }
    }

    /// Whether there is a thread that looks; one is made if there is none.
    fn is_watched(&mut self) -> bool {
        let deferred = &mut *self.locked.deferred;
        if !deferred.watched {
            deferred.watched = thread::spawn(watch, ptr::from_ref(self.state).cast_mut().cast()).is_ok();
            deferred.dismissed = false;
        }
        deferred.watched
    }

    /// Takes a sync out. Its record is still reserved, unless it is in flight.
    pub fn take(&mut self, id: Id, record: Option<Record>) -> Deferred {
        let sync = self.syncs().remove(id, clock::now(), record);
        if sync.has_its_context() {
            sync.in_flight.reaping.deferred.fetch_sub(1, Ordering::AcqRel);
        }
        numbers_of(&sync).for_each(|number| {
            users_of(number).fetch_sub(1, Ordering::AcqRel);
        });
        self.state.deferred.fetch_sub(1, Ordering::Release);
        sync
    }

    /// Submits what waits for nothing any more. How long to wait before the next look; None: no sync is deferred.
    pub fn look(&mut self) -> Option<Nanos> {
        let begun = clock::now();
        self.look_at_rings();
        let mut pace = None;
        let mut queue = self.syncs().first_queue();
        while queue != NONE {
            let behind = self.syncs().queue_behind(queue);
            self.advance(queue, begun);
            if let Some((first, since)) = self.syncs().first_of(queue) {
                let latest = if self.syncs().is_undecided(first) { SILENT / 2 } else { LATEST };
                let next = (begun.saturating_sub(since) / 4).clamp(SOONEST, latest);
                pace = Some(pace.map_or(next, |pace: Nanos| pace.min(next)));
            }
            queue = behind;
        }
        // No more than a quarter of the time is spent on looking.
        if self.syncs().queue_count > MANY {
            let end = clock::now();
            let rest = end.saturating_sub(begun).saturating_mul(3);
            self.locked.deferred.next_look = end.saturating_add(rest);
            pace = pace.map(|pace| pace.max(rest));
        } else {
            self.locked.deferred.next_look = 0;
        }
        pace
    }

    /// Submits what is ready of one queue.
    fn advance(&mut self, queue: Id, now: Nanos) {
        while let Some((first, _)) = self.syncs().first_of(queue)
            && self.is_ready(first)
            && self.submit_and_take(first, now)
        {}
        if self.syncs().ending == 0 {
            return;
        }
        // Those whose context is being destroyed do not wait for syncs before them that wait for something else.
        let mut id = self.syncs().first_of(queue).map_or(NONE, |(first, _)| first);
        while id != NONE && self.syncs().drain_slot(id) {
            let behind = self.syncs().behind(id);
            if self.syncs().slots.get(id).is_some_and(|sync| sync.ending) {
                self.submit_and_take(id, now);
            }
            id = behind;
        }
    }

    /// Whether nothing has to end before the first sync of a queue.
    fn is_ready(&mut self, id: Id) -> bool {
        if !self.syncs().drain_slot(id) {
            return false;
        }
        let Some((file, newest)) = self.syncs().posix_dependency(id) else { return true };
        let waits = is_unfinished(file, newest);
        if !waits {
            self.syncs().posix_is_met(id);
        }
        !waits
    }

    /// False: it has to wait.
    fn submit_and_take(&mut self, id: Id, now: Nanos) -> bool {
        if self.syncs().reserve_dependency().is_err() {
            return false;
        }
        match self.submit(id, now) {
            Resubmitted::Done(record) => drop(self.take(id, record)),
            Resubmitted::Orphaned => self.orphan(id),
            Resubmitted::Later => return false,
        }
        true
    }

    /// Hands a sync to the kernel.
    fn submit(&mut self, id: Id, now: Nanos) -> Resubmitted {
        let state = self.state;
        let syncs = self.syncs();
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
                if let Some(sync) = self.syncs().slots.get_mut(id) {
                    sync.full = error == Errno::AGAIN;
                }
                Resubmitted::Later
            }
        }
    }

    /// The sync's context is gone: the thread makes it, and tells nobody.
    pub fn orphan(&mut self, id: Id) {
        let syncs = self.syncs();
        let Some(sync) = syncs.slots.get(id) else { return };
        let data_only = sync.copy.aio_lio_opcode == IO_CMD_FDSYNC;
        let descriptor = sync.fd.descriptor(&syncs.duplicates, Some(sync.file)).and_then(descriptor::duplicate);
        let sync = self.take(id, None);
        if sync.has_its_context() {
            sync.in_flight.release();
        }
        // `reserve` made the room.
        if let Ok(descriptor) = descriptor {
            self.state.deferred.fetch_add(1, Ordering::Release);
            self.syncs().orphans.insert(Orphan { descriptor, data_only });
            PARKER.call();
        }
    }

    fn next_orphan(&mut self) -> Option<(Id, c_int, bool)> {
        let orphans = &self.syncs().orphans;
        let ids = 0..Id::try_from(orphans.opened()).unwrap_or(0);
        ids.filter(|_| orphans.len() > 0)
            .find_map(|id| orphans.get(id).map(|orphan| (id, orphan.descriptor, orphan.data_only)))
    }

    /// Under the lock, which whoever destroys a context takes before.
    fn look_at_rings(&self) {
        for in_flight in self.state.contexts.all_in_flight().filter(|in_flight| !in_flight.is_idle()) {
            let (newest, address) = (self.state.contexts.newest(), in_flight.address());
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

    /// The context is being destroyed (`None`: all of them): its syncs up to this number wait for nothing but the kernel.
    pub fn hurry(&mut self, context: Option<u64>, newest: u64) {
        let syncs = self.syncs();
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
    pub fn first_left(&mut self, context: Option<u64>, newest: u64) -> Option<(u64, bool)> {
        let left = self.syncs().slots.iter().filter(|sync| sync.is_of(context, newest));
        left.map(|sync| (sync.in_flight.address(), sync.full)).max_by_key(|(_, full)| *full)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let syncs = self.locked.deferred.syncs();
        let own = u32::try_from(syncs.duplicates.len() + syncs.orphans.len()).unwrap_or(u32::MAX);
        self.state.own_descriptors.store(own, Ordering::Release);
    }
}

/// Whether requests of the other interface on a file, up to this one, are unfinished. Signals are blocked.
fn is_unfinished(file: FileKey, newest: u64) -> bool {
    // Results that nobody has taken may be all there is.
    caller_reap::poll();
    Engine::current().is_some_and(|engine| engine.lock().order.has_unfinished_up_to(file, newest))
}

fn numbers_of(sync: &Deferred) -> impl Iterator<Item = c_int> {
    [Some(sync.copy.aio_fildes), sync.copy.eventfd()].into_iter().flatten()
}

/// Reserves a record, if the context has room for a deferred sync: see `InFlight::limit`.
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

// ---- the thread ----

/// Bounds of the time between two looks.
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
        let pace = Scheduler::lock(state).look();
        make_orphans(state);
        let called = PARKER.wait(Duration::from_nanos(pace.unwrap_or(idle)), false);
        let deferred = &mut *state.lock().deferred;
        if !state.has_deferred() && (deferred.dismissed || pace.is_none() && !called) {
            deferred.watched = false;
            return ptr::null_mut();
        }
    }
}

fn make_orphans(state: &'static State) {
    loop {
        let Some((id, descriptor, data_only)) = Scheduler::lock(state).next_orphan() else { return };
        let _ = if data_only { transfer::fdatasync(descriptor) } else { transfer::fsync(descriptor) };
        let mut scheduler = Scheduler::lock(state);
        scheduler.syncs().orphans.remove(id);
        descriptor::close_quietly(descriptor);
        state.deferred.fetch_sub(1, Ordering::Release);
    }
}
