//! Syncs that are held back until all that was submitted before them on their file has completed.
//!
//! Nobody tells when that is: the program may take its events behind the library's back. So a thread looks at the rings, after
//! a quarter of the time that it has waited so far; and every call of the program that comes along looks, too. (An eventfd in
//! each request would tell a little earlier, but every request would pay for it, whether or not a sync follows: see
//! benches/README.md. And the program's iocbs are not the library's to change.)
//!
//! The lock is taken with all signals blocked.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libc::{c_int, c_uint};

use super::abi::{IO_CMD_PREAD, IO_CMD_PWRITE, io_event, iocb};
use super::contexts::State;
use super::flight::{self, Covered, Flight, On};
use crate::engine::{self, Caller, Engine};
use crate::errno::{Errno, Result};
use crate::files;
use crate::order::FileKey;
use crate::route::attend;
use crate::slab::{Id, Slab};
use crate::stats;
use crate::submit;
use crate::sys::clock::{self, Nanos};
use crate::sys::contexts::{self, Completions};
use crate::sys::descriptor::{self, Nature};
use crate::sys::inode::Wanted;
use crate::sys::memory;
use crate::sys::park::Parker;
use crate::sys::signals::Blocked;
use crate::sys::thread::{self, Pause};

/// Under the lock. Starts from all zeroes.
pub struct Holding {
    begun: bool,
    syncs: MaybeUninit<Slab<Held>>,
    /// There is a thread that looks.
    watched: bool,
    /// It is to end as soon as nothing is held.
    dismissed: bool,
}

/// A sync that waits.
struct Held {
    flight: &'static Flight,
    /// The program's iocb, and what it said.
    block: *mut iocb,
    copy: iocb,
    /// Descriptors of the library's own for the file, and for the eventfd if there is one.
    duplicate: c_int,
    eventfd: Option<c_int>,
    /// The program has closed one of its own.
    closed: bool,
    seq: u64,
    since: Nanos,
    /// What has to be over first.
    needs: Needs,
    /// The sync of this file before it, if that one waits, too; or `NOTHING`.
    behind: u64,
    /// Nobody wants it any more.
    cancelled: bool,
}

// SAFETY: the pointers are names for the kernel, or the library's own pages.
unsafe impl Send for Held {}

const NOTHING: u64 = 0;

/// Requests on a file that have to end first.
struct Needs {
    file: FileKey,
    /// Records of the contexts, in pages of their own.
    start: NonNull<Covered>,
    bytes: usize,
    len: usize,
    room: usize,
    /// Of POSIX's interface: all up to this number.
    posix: Option<u64>,
}

/// What becomes of a sync.
pub enum Fate {
    /// It waits for nothing.
    Free,
    Held,
}

impl Needs {
    fn new(file: FileKey, room: usize) -> Result<Needs> {
        // One more: for the sync that it stands behind.
        let room = room + 1;
        let bytes = room * size_of::<Covered>();
        Ok(Needs { file, start: memory::map(bytes)?.cast(), bytes, len: 0, room, posix: None })
    }

    fn place(&self, index: usize) -> *mut Covered {
        self.start.as_ptr().wrapping_add(index)
    }

    fn push(&mut self, covered: Covered) {
        if self.len < self.room {
            // SAFETY: there is room.
            unsafe { self.place(self.len).write(covered) };
            self.len += 1;
        }
    }

    /// Whether all has ended. What has is not looked at again.
    fn are_over(&mut self) -> bool {
        while let Some(last) = self.len.checked_sub(1) {
            // SAFETY: it was pushed.
            if !unsafe { self.place(last).read() }.has_ended() {
                return false;
            }
            self.len = last;
        }
        self.posix = self.posix.filter(|newest| is_unfinished(self.file, *newest));
        self.posix.is_none()
    }

    /// Puts down what was submitted before.
    fn cover(&mut self, state: &State, seq: u64, fd: c_int) {
        let mut same = SameFile { fd, file: self.file, others: [None; SameFile::REMEMBERED], next: 0 };
        for (record, on) in state.flights().flat_map(Flight::records) {
            if record.is_older_than(seq) && !state.is_under_way_here(&record) && same.is_on(on) {
                self.push(record);
            }
        }
    }

    /// All has ended, or is not looked at any more.
    fn free(self) {
        // SAFETY: mapped by `new`.
        unsafe { memory::unmap(self.start.cast(), self.bytes) };
    }
}

/// A sync is about to be submitted: holds it back if something of its file has not completed. Errors: EBADF; EAGAIN, no
/// memory, no descriptor, no thread.
pub fn hold(state: &'static State, flight: &'static Flight, block: *mut iocb, copy: &iocb) -> Result<Fate> {
    let fd = copy.aio_fildes;
    let posix = posix_has_unfinished();
    let seq = state.number_requests(1);
    if !posix && state.held.load(Ordering::Acquire) == 0 && state.flights().all(Flight::is_empty) {
        return Ok(Fate::Free);
    }
    let Some(file) = file_to_sync(copy)? else { return Ok(Fate::Free) };
    let room = state.flights().map(Flight::capacity).sum();
    let mut needs = Needs::new(file, room).map_err(|_| Errno::AGAIN)?;
    if posix {
        needs.posix = newest_unfinished(file);
    }
    let kept = {
        let _blocked = Blocked::all();
        let mut holding = state.holding.lock();
        // Under the lock: a sync is either held or has its record.
        holding.look_at_rings(state);
        needs.cover(state, seq, fd);
        let behind = holding.newest_on(file);
        if behind == NOTHING && needs.are_over() {
            needs.free();
            return Ok(Fate::Free);
        }
        holding.keep(state, Held::new(flight, block, copy, seq, needs, behind))
    };
    match kept {
        None => Ok(Fate::Held),
        Some(sync) => {
            sync.needs.free();
            Err(Errno::AGAIN)
        }
    }
}

/// Whether the other interface has anything unfinished.
fn posix_has_unfinished() -> bool {
    Engine::current().is_some_and(|engine| !engine.reception.inbox.is_empty() || files::unfinished() > 0)
}

/// The youngest request of the other interface, if there are unfinished ones on the file.
fn newest_unfinished(file: FileKey) -> Option<u64> {
    let caller = Caller::enter(Engine::current()?)?;
    let table = caller.lock();
    let newest = table.order.newest_seq();
    let unfinished = table.order.has_unfinished_up_to(file, newest);
    // What it has just taken in shall run.
    submit::hand_over(&caller, table);
    unfinished.then_some(newest)
}

/// Whether requests of the other interface on a file, up to this one, are unfinished. Signals are blocked.
fn is_unfinished(file: FileKey, newest: u64) -> bool {
    // Results that nobody has taken may be all there is.
    attend::poll();
    Engine::current().is_some_and(|engine| engine.lock().order.has_unfinished_up_to(file, newest))
}

/// The file that a sync is for. None: the kernel refuses it. Error: EBADF.
fn file_to_sync(copy: &iocb) -> Result<Option<FileKey>> {
    let flags = descriptor::flags(copy.aio_fildes)?;
    let found = descriptor::describe(copy.aio_fildes, flags, Wanted::Identity)?;
    let refused = found.nature != Nature::File || flags & libc::O_PATH != 0;
    let tells_nobody = copy.eventfd().is_some_and(|fd| !descriptor::is_eventfd(fd));
    Ok((!refused && !tells_nobody).then_some(FileKey { device: found.device, inode: found.inode }))
}

/// Which descriptors stand for a file; each is asked once.
struct SameFile {
    fd: c_int,
    file: FileKey,
    others: [Option<(c_int, bool)>; SameFile::REMEMBERED],
    next: usize,
}

impl SameFile {
    const REMEMBERED: usize = 16;

    fn is_on(&mut self, on: On) -> bool {
        match on {
            On::Descriptor(fd) if fd == self.fd => true,
            On::Descriptor(fd) => self.is_same(fd),
            On::File(file) => file == self.file,
            On::Unknown => true,
        }
    }

    fn is_same(&mut self, fd: c_int) -> bool {
        if let Some((_, same)) = self.others.iter().flatten().find(|(other, _)| *other == fd) {
            return *same;
        }
        let found = descriptor::describe(fd, 0, Wanted::Identity);
        let same = found.is_ok_and(|found| FileKey { device: found.device, inode: found.inode } == self.file);
        if let Some(place) = self.others.get_mut(self.next % SameFile::REMEMBERED) {
            *place = Some((fd, same));
        }
        self.next += 1;
        same
    }
}

impl Holding {
    fn begin(&mut self) -> &mut Slab<Held> {
        if !self.begun {
            self.syncs.write(Slab::new());
            self.begun = true;
        }
        // SAFETY: written above, or before.
        unsafe { self.syncs.assume_init_mut() }
    }

    /// The last sync of a file that waits.
    fn newest_on(&mut self, file: FileKey) -> u64 {
        let of_file = self.begin().iter().filter(|sync| sync.needs.file == file && !sync.cancelled);
        of_file.map(|sync| sync.seq).max().unwrap_or(NOTHING)
    }

    /// Takes a sync in. Some: it could not be, for lack of memory, a descriptor, a thread or room in its context.
    fn keep(&mut self, state: &'static State, mut sync: Held) -> Option<Held> {
        let room = self.begin().reserve(1).is_ok() && sync.flight.reserve();
        if !room {
            return Some(sync);
        }
        if !sync.duplicate_descriptors() || !self.is_watched(state) {
            sync.close_duplicates();
            sync.flight.release();
            return Some(sync);
        }
        self.begin().insert(sync);
        state.held.fetch_add(1, Ordering::Release);
        stats::slot().libaio_syncs_held.fetch_add(1, Ordering::Relaxed);
        PARKER.call();
        None
    }

    /// Whether there is a thread that looks; one is made if there is none.
    fn is_watched(&mut self, state: &'static State) -> bool {
        if !self.watched {
            self.watched = thread::spawn(watch, ptr::from_ref(state).cast_mut().cast()).is_ok();
            self.dismissed = false;
        }
        self.watched
    }

    fn ids(&mut self) -> impl Iterator<Item = Id> + use<> {
        0..Id::try_from(self.begin().opened()).unwrap_or(0)
    }

    /// Takes a sync out. Those behind it are behind what it was behind.
    fn take(&mut self, state: &State, id: Id) -> Held {
        let mut sync = self.begin().remove(id);
        sync.close_duplicates();
        state.held.fetch_sub(1, Ordering::Release);
        for other in self.ids() {
            if let Some(other) = self.begin().get_mut(other)
                && other.behind == sync.seq
            {
                (other.behind, other.since) = (sync.behind, clock::now());
            }
        }
        sync
    }

    /// Submits what waits for nothing any more. How long to wait before the next look; None: nothing is held.
    fn look(&mut self, state: &'static State) -> Option<Nanos> {
        self.look_at_rings(state);
        let now = clock::now();
        let mut pace = None;
        for id in self.ids() {
            let Some(sync) = self.begin().get_mut(id) else { continue };
            if sync.is_ready() && (sync.cancelled || self.submit(state, id)) {
                self.take(state, id).needs.free();
                continue;
            }
            let Some(sync) = self.begin().get(id) else { continue };
            let next = (now.saturating_sub(sync.since) / 4).clamp(SOONEST, LATEST);
            pace = Some(pace.map_or(next, |pace: Nanos| pace.min(next)));
        }
        pace
    }

    /// Hands a sync to the kernel. False: it has no room yet.
    fn submit(&mut self, state: &'static State, id: Id) -> bool {
        let Some(sync) = self.begin().get(id) else { return true };
        let (flight, seq, on, data) = (sync.flight, sync.seq, On::File(sync.needs.file), sync.copy.data);
        let unchanged = sync.is_unchanged();
        let block = if unchanged { Some(sync.block) } else { sync.alias(state) };
        let Some(block) = block else { return false };
        let hand_over = || {
            let object = flight::name(block, data);
            // It was reserved when it was taken in.
            let record = flight.enter(object, seq, on);
            let done = contexts::submit(flight.address(), 1, &raw const block);
            if done != Ok(1) {
                flight.withdraw(object, seq);
            }
            done.map(|_| record)
        };
        match hand_over() {
            Ok(record) => {
                for other in self.ids() {
                    if let Some(other) = self.begin().get_mut(other)
                        && other.behind == seq
                    {
                        (other.behind, other.since) = (NOTHING, clock::now());
                        record.into_iter().for_each(|record| other.needs.push(record));
                    }
                }
                true
            }
            Err(Errno(libc::EINVAL | libc::EBADF)) if !contexts::exists(flight.address()) => true,
            Err(error) => {
                if !unchanged {
                    state.aliases.give_back(block);
                }
                let again = error == Errno::AGAIN || error == Errno(libc::ENOMEM);
                let Some(sync) = self.begin().get_mut(id) else { return true };
                if !again && !sync.settles_for_less(unchanged) {
                    return true;
                }
                sync.flight.reserve_again();
                false
            }
        }
    }
}

impl Held {
    fn new(flight: &'static Flight, block: *mut iocb, copy: &iocb, seq: u64, needs: Needs, behind: u64) -> Held {
        let (since, copy) = (clock::now(), *copy);
        Held {
            flight,
            block,
            copy,
            duplicate: -1,
            eventfd: None,
            closed: false,
            seq,
            since,
            needs,
            behind,
            cancelled: false,
        }
    }

    /// The kernel refuses the sync for good, but the program waits for an event. False: there is nothing left to try.
    fn settles_for_less(&mut self, unchanged: bool) -> bool {
        if unchanged {
            // The iocb cannot be written to any more, say: an alias can.
            self.closed = true;
            return true;
        }
        let flags = descriptor::flags(self.duplicate).unwrap_or(0);
        // A file system without fsync: there is nothing to do.
        let nothing = if flags & libc::O_ACCMODE == libc::O_WRONLY { IO_CMD_PWRITE } else { IO_CMD_PREAD };
        std::mem::replace(&mut self.copy.aio_lio_opcode, nothing) != nothing
    }

    fn is_ready(&mut self) -> bool {
        self.cancelled || self.behind == NOTHING && self.needs.are_over()
    }

    /// Whether the program's iocb still says what it said, and its descriptor is the same. Then it can be handed in as it is:
    /// the event names it.
    fn is_unchanged(&self) -> bool {
        let same_file = || {
            let found = descriptor::describe(self.copy.aio_fildes, 0, Wanted::Identity);
            found.is_ok_and(|found| FileKey { device: found.device, inode: found.inode } == self.needs.file)
        };
        !self.closed
            && contexts::copy_iocb(self.block).is_some_and(|now| now.says_the_same_as(&self.copy))
            && same_file()
    }

    /// False: there are no more descriptors.
    fn duplicate_descriptors(&mut self) -> bool {
        self.duplicate = descriptor::duplicate(self.copy.aio_fildes).unwrap_or(-1);
        self.eventfd = self.copy.eventfd().map(|fd| descriptor::duplicate(fd).unwrap_or(-1));
        self.duplicate != -1 && self.eventfd != Some(-1)
    }

    fn close_duplicates(&mut self) {
        let duplicates = [Some(std::mem::replace(&mut self.duplicate, -1)), self.eventfd.take()];
        duplicates.into_iter().flatten().filter(|fd| *fd != -1).for_each(descriptor::close_quietly);
    }

    /// An iocb of the library's own in its place.
    fn alias(&self, state: &State) -> Option<*mut iocb> {
        let mut copy = iocb { aio_fildes: self.duplicate, ..self.copy };
        if let Some(eventfd) = self.eventfd {
            copy.common_mut().resfd = eventfd.cast_unsigned();
        }
        let in_flight = |seq| state.flights().flat_map(Flight::records).any(|(record, _)| record.seq() == seq);
        state.aliases.make(self.block, &copy, self.seq, in_flight)
    }
}

impl Holding {
    /// Under the lock, for which `cancel_all` waits before a context is destroyed.
    fn look_at_rings(&self, state: &'static State) {
        for flight in state.flights() {
            let (newest, address) = (state.newest(), flight.address());
            let exists = contexts::exists(address);
            // SAFETY: the kernel has just said that it is there.
            let ring = if exists { unsafe { Completions::of(address) } } else { None };
            match ring {
                // Nothing interrupts this: signals are blocked.
                Some(ring) if flight.is_of(&ring) => flight.look(&ring, &AtomicU64::new(0)),
                // Destroyed by a raw system call. (Or moved, and not used since.)
                Some(_) => flight.end_all_up_to(newest),
                None if !exists => flight.end_all_up_to(newest),
                None => {}
            }
        }
    }
}

// ---- callers ----

/// Looks whether something can go on, if something is held and nobody else looks.
pub fn look(state: &'static State) {
    if state.held.load(Ordering::Acquire) == 0 {
        return;
    }
    let _blocked = Blocked::all();
    if let Some(mut holding) = state.holding.try_lock() {
        holding.look(state);
    }
}

/// Cancels a sync that is held, and stores its event, which comes by no other way. None: it is not held. Error: EFAULT, the event
/// cannot be stored, and the sync stays.
pub fn cancel(state: &'static State, context: u64, block: *mut iocb, place: *mut io_event) -> Option<Result<()>> {
    let mut outcome = None;
    let is_it = |sync: &Held| sync.flight.address() == context && ptr::eq(sync.block, block);
    cancel_if(state, is_it, |sync| {
        let canceled = i64::from(-libc::ECANCELED).cast_unsigned();
        let event = io_event { data: sync.copy.data, obj: sync.block, res: canceled, ..io_event::NONE };
        let stored = contexts::store_event(place, &event);
        outcome = Some(stored);
        if stored.is_ok() { Decision::CancelAndStop } else { Decision::Stop }
    });
    outcome
}

/// Cancels all that a context has held, which nobody finds any more and is about to be destroyed. When this returns nobody
/// looks at its ring.
pub fn cancel_all(state: &'static State, context: u64) {
    {
        let _blocked = Blocked::all();
        drop(state.holding.lock());
    }
    cancel_if(state, |sync| sync.flight.address() == context, |_| Decision::Cancel);
}

enum Decision {
    Cancel,
    CancelAndStop,
    Stop,
}

fn cancel_if(state: &'static State, which: impl Fn(&Held) -> bool, mut decide: impl FnMut(&Held) -> Decision) {
    if state.held.load(Ordering::Acquire) == 0 {
        return;
    }
    let _blocked = Blocked::all();
    let mut holding = state.holding.lock();
    for id in holding.ids() {
        let Some(sync) = holding.begin().get_mut(id).filter(|sync| !sync.cancelled && which(sync)) else { continue };
        let decision = decide(sync);
        if !matches!(decision, Decision::Stop) {
            sync.cancelled = true;
            sync.flight.release();
        }
        if !matches!(decision, Decision::Cancel) {
            break;
        }
    }
    holding.look(state);
}

/// The lowest of the descriptors that are held for syncs, from `first` on.
pub fn lowest_own(state: &'static State, first: c_int) -> Option<c_int> {
    if state.held.load(Ordering::Acquire) == 0 || !state.is_of_this_process() {
        return None;
    }
    let _blocked = Blocked::all();
    let mut holding = state.holding.lock();
    let own = holding.begin().iter().flat_map(|sync| [Some(sync.duplicate), sync.eventfd]);
    own.flatten().filter(|fd| *fd >= first && *fd >= 0).min()
}

/// The program closes descriptors.
pub fn closes(state: &'static State, first: c_uint, last: c_uint) {
    if state.held.load(Ordering::Acquire) == 0 {
        return;
    }
    let is_closed = |fd: c_int| (first..=last).contains(&fd.cast_unsigned());
    let _blocked = Blocked::all();
    let mut holding = state.holding.lock();
    for id in holding.ids() {
        if let Some(sync) = holding.begin().get_mut(id)
            && [Some(sync.copy.aio_fildes), sync.copy.eventfd()].into_iter().flatten().any(is_closed)
        {
            sync.closed = true;
        }
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
        let called = PARKER.wait(Duration::from_nanos(pace.unwrap_or(idle)), false);
        let mut holding = state.holding.lock();
        let done = state.held.load(Ordering::Acquire) == 0 && (holding.dismissed || pace.is_none() && !called);
        if done {
            holding.watched = false;
            return ptr::null_mut();
        }
    }
}
