//! The contexts that the program has, found by their numbers without a lock; and all else that this side of the library keeps.
//! In a child of fork it is gone, as the contexts are.

use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence,
};

use lock_api::Mutex;

use super::in_flight::{InFlight, Record};
use super::pool::Pool;
use super::scheduler::Holding;
use super::shadows::Shadows;
use crate::errno::{Errno, Result, thread_identity};
use crate::order::FileKey;
use crate::stats;
use crate::sys::aio_ring::Completions;
use crate::sys::clock::{self, Nanos};
use crate::sys::contexts;
use crate::sys::hash::mix;
use crate::sys::inode::Fields;
use crate::sys::lock::RawLock;
use crate::sys::readable::SteadyPages;
use crate::sys::signals::Blocked;
use crate::sys::thread::Pause;
use crate::sys::{descriptor, fork, memory, thread};

/// Starts from all zeroes, and is all zeroes in a child.
pub struct State {
    chains: [AtomicPtr<Context>; CHAINS],
    /// The last number given to a request. Not all that are given are used.
    newest: AtomicU64,
    /// One of those that were given last to requests which are not deferred: another one than before, if any was entered since.
    pub newest_entered: AtomicU64,
    /// Contexts that were submitted to and not destroyed.
    pub contexts: AtomicU32,
    /// Syncs that wait. What they are is under the lock.
    pub deferred: AtomicU32,
    pub steady: SteadyPages,
    submitting: [Submitting; SUBMITTERS],
    /// Threads that found no place among those.
    unplaced: AtomicU32,
    pool: Mutex<RawLock, Pool>,
    process: AtomicI32,
    pub shadows: Shadows,
    pub holding: Mutex<RawLock, Holding>,
    /// Taken before `holding`: while descriptors are kept for syncs, and while the program closes a range of them.
    pub keeping: Mutex<RawLock, ()>,
}

const CHAINS: usize = 512;
const SUBMITTERS: usize = 64;
/// Nobody reads a ring for so long, unless a signal handler has interrupted it.
const LONGEST_READ: Nanos = 1_000 * clock::MILLISECOND;

/// What a thread is in the middle of. A signal handler that interrupts it there must not wait for that.
pub struct Submitting {
    /// 0: nobody's.
    thread: AtomicUsize,
    /// Requests with these numbers have records, but may not be submitted yet.
    first: AtomicU64,
    end: AtomicU64,
    /// An iocb whose event was seen, but whose record may not have ended yet.
    pub ending: AtomicU64,
    /// What it uses: not given to another context meanwhile.
    in_flight: AtomicPtr<InFlight>,
    /// It reads that one's ring: not unmapped meanwhile.
    reads: AtomicBool,
}

/// Ends when dropped.
pub struct Submission {
    state: &'static State,
    place: Option<&'static Submitting>,
    spare: AtomicU64,
}

/// What has become of a context's ring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Looked,
    /// It is destroyed.
    Gone,
    /// Another one is at its address.
    Another,
}

impl Submission {
    pub fn numbers(&self, first: u64, count: u64) {
        if let Some(place) = self.place {
            // Never a range that is not one of them, for a handler that interrupts this.
            place.first.store(u64::MAX, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            place.end.store(first.saturating_add(count), Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            place.first.store(first, Ordering::Relaxed);
        }
    }

    pub fn ending(&self) -> &AtomicU64 {
        self.place.map_or(&self.spare, |place| &place.ending)
    }

    /// What is known of a context. It stays that context's, or nobody's, while this lives.
    pub fn find(&self, number: u64) -> Option<&'static InFlight> {
        loop {
            let in_flight = self.state.find(number)?;
            let Some(place) = self.place else { return Some(in_flight) };
            // SeqCst: either it is found again below, or whoever gives it to another context sees it here.
            place.in_flight.store(ptr::from_ref(in_flight).cast_mut(), Ordering::SeqCst);
            if self.state.find(number).is_some_and(|again| ptr::eq(again, in_flight)) {
                return Some(in_flight);
            }
        }
    }

    /// The same for one that the library has not met, if the kernel knows it. Error: EAGAIN, no memory.
    pub fn find_or_adopt(&self, number: u64) -> Result<Option<&'static InFlight>> {
        if let Some(in_flight) = self.find(number) {
            return Ok(Some(in_flight));
        }
        self.state.meet(number)?;
        Ok(self.find(number))
    }

    /// Looks at the ring of a context that the kernel has just known. (A raw io_destroy in another thread at this moment is not
    /// noticed.)
    pub fn look(&self, in_flight: &'static InFlight) -> Seen {
        let Some(place) = self.place else {
            // Nobody destroys it under the lock.
            let _blocked = Blocked::all();
            let _locked = self.state.holding.lock();
            let is_child = self.state.unplaced.load(Ordering::Relaxed) == 0;
            return if is_child { Seen::Gone } else { self.look_now(in_flight) };
        };
        if place.thread.load(Ordering::Relaxed) != thread_identity() {
            // A signal handler has forked; this is the child.
            return Seen::Gone;
        }
        // SeqCst: either it is seen closed, or `destroy` waits.
        place.reads.store(true, Ordering::SeqCst);
        let seen = self.look_now(in_flight);
        place.reads.store(false, Ordering::Release);
        seen
    }

    fn look_now(&self, in_flight: &InFlight) -> Seen {
        if in_flight.is_closed() {
            return Seen::Gone;
        }
        // SAFETY: the kernel has just known it, and the library does not destroy it meanwhile.
        let Some(ring) = (unsafe { Completions::of(in_flight.address()) }) else { return Seen::Another };
        if !in_flight.is_of(&ring) {
            return Seen::Another;
        }
        in_flight.look(&ring, self.ending());
        Seen::Looked
    }

    /// What is in flight in a context that may be gone, or another one at the same address, as of now. With the limit if a sync is
    /// to be held back, or is. Errors: EINVAL, it is gone; EAGAIN, no memory.
    pub fn look_closely(&self, number: u64, holds: bool) -> Result<&'static InFlight> {
        let _blocked = Blocked::all();
        let _locked = self.state.holding.lock();
        if !contexts::exists(number) {
            return Err(Errno::INVAL);
        }
        let found = self.find(number).ok_or(Errno::INVAL)?;
        if self.look_now(found) == Seen::Another {
            self.state.replace(number, found, u64::MAX)?;
        }
        let in_flight = self.find(number).ok_or(Errno::INVAL)?;
        if holds || in_flight.is_limited() && self.state.deferred.load(Ordering::Acquire) > 0 {
            // SAFETY: the kernel has just said that it is there, and nobody destroys under the lock what was found under it.
            let ring = unsafe { Completions::of(number) };
            ring.into_iter().for_each(|ring| in_flight.limit(&ring));
        } else {
            in_flight.lift_limit();
        }
        Ok(in_flight)
    }

    /// Requests with numbers from `seq` on were accepted by a context that is not the one of `in_flight`, but another at its address.
    /// What they are on is on record there.
    pub fn move_records(&self, in_flight: &'static InFlight, seq: u64) {
        let _blocked = Blocked::all();
        let _locked = self.state.holding.lock();
        // Without memory they stay where they are, and end when the context does.
        let _ = self.state.replace(in_flight.address(), in_flight, seq);
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        let Some(place) = self.place else {
            let one_less = |unplaced: u32| unplaced.checked_sub(1);
            // In a child that a signal handler has made it is 0.
            let _ = self.state.unplaced.fetch_update(Ordering::Release, Ordering::Relaxed, one_less);
            return;
        };
        place.first.store(0, Ordering::Relaxed);
        place.end.store(0, Ordering::Relaxed);
        place.in_flight.store(ptr::null_mut(), Ordering::Release);
        place.thread.store(0, Ordering::Release);
    }
}

/// A number, and what it stands for. Never freed; used again for a context with the same place in the chains.
struct Context {
    /// `FREE`, `TAKEN` while it is being prepared, or the context's number; with `DYING` while that is being destroyed.
    number: AtomicU64,
    in_flight: AtomicPtr<InFlight>,
    next: AtomicPtr<Context>,
}

/// A context that is being destroyed: nobody finds it, or takes it for a new one. And what it had in flight, if that is known.
pub struct Hidden(&'static Context, Option<&'static InFlight>);

const FREE: u64 = 0;
const TAKEN: u64 = 1;
/// No ring begins at such an address.
const DYING: u64 = 2;

static STATE: AtomicPtr<State> = AtomicPtr::new(ptr::null_mut());

/// What there is, if the program has used this interface.
pub fn state() -> Option<&'static State> {
    // SAFETY: never unmapped; all zeroes is a `State`.
    unsafe { STATE.load(Ordering::Acquire).as_ref() }
}

/// The same, made now if there is none. Error: ENOMEM.
pub fn get() -> Result<&'static State> {
    if let Some(state) = state() {
        // In a child of _Fork it is all zeroes.
        if state.process.load(Ordering::Relaxed) == 0 {
            state.process.store(thread::process_id(), Ordering::Relaxed);
            stats::forget_parent();
        }
        return Ok(state);
    }
    let made = memory::map(size_of::<State>())?.cast::<State>();
    fork::forget_in_child(made.cast(), size_of::<State>());
    let first = STATE.compare_exchange(ptr::null_mut(), made.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
    if first.is_ok() {
        thread::at_fork_in_child(forget_parent);
    }
    // SAFETY: as below.
    unsafe { made.as_ref() }.process.store(thread::process_id(), Ordering::Relaxed);
    // SAFETY: mapped, zeroed, never unmapped. (Whoever comes second leaves its own pages unused.)
    Ok(unsafe { &*first.map_or_else(|theirs| theirs, |_| made.as_ptr()) })
}

/// Where the kernel does not wipe it. The child's contexts are its own.
extern "C" fn forget_parent() {
    STATE.store(ptr::null_mut(), Ordering::Release);
}

impl State {
    /// Numbers for so many requests; the first of them.
    pub fn number_requests(&self, count: u64) -> u64 {
        self.newest.fetch_add(count, Ordering::Relaxed) + 1
    }

    /// The calling thread begins to submit, or to look.
    pub fn submission(&'static self) -> Submission {
        let me = thread_identity();
        let take =
            |place: &&Submitting| place.thread.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // Without a place (so many threads at once) only a handler that waits for its own sync may have to wait for ever.
        let place = self.submitting.iter().find(take);
        if place.is_none() {
            // SeqCst: as `Submission::find`.
            self.unplaced.fetch_add(1, Ordering::SeqCst);
        }
        Submission { state: self, place, spare: AtomicU64::new(0) }
    }

    /// Whether the calling thread was interrupted while it handed this request over, or ended it.
    pub fn is_under_way_here(&self, record: &Record) -> bool {
        let me = thread_identity();
        self.submitting.iter().filter(|place| place.thread.load(Ordering::Relaxed) == me).any(|place| {
            let numbers = place.first.load(Ordering::Relaxed)..place.end.load(Ordering::Relaxed);
            let ending = place.ending.load(Ordering::Relaxed);
            numbers.contains(&record.seq()) || ending != 0 && record.names(ending)
        })
    }

    /// Whether this is the process that the contexts are of: a child of vfork only shares its memory.
    pub fn is_of_this_process(&self) -> bool {
        self.process.load(Ordering::Relaxed) == thread::process_id()
    }

    fn chain(&self, number: u64) -> &AtomicPtr<Context> {
        let [first, ..] = &self.chains;
        self.chains.get(mix(number >> 12) % CHAINS).unwrap_or(first)
    }

    fn entry(&self, number: u64) -> Option<&'static Context> {
        let is_it = |context: &&Context| context.number.load(Ordering::SeqCst) == number;
        walk(self.chain(number)).find(is_it).filter(|_| is_number(number))
    }

    pub fn find(&self, number: u64) -> Option<&'static InFlight> {
        self.entry(number)?.in_flight()
    }

    /// The program uses a context that is not known: it was just made, or moved. Error: EAGAIN, no memory.
    fn meet(&self, number: u64) -> Result<()> {
        if !is_number(number) {
            return Ok(());
        }
        let _blocked = Blocked::all();
        let _one_at_a_time = self.holding.lock();
        let is_dying = walk(self.chain(number)).any(|context| context.number.load(Ordering::Acquire) == number | DYING);
        if self.find(number).is_some() || is_dying || !contexts::exists(number) {
            return Ok(());
        }
        self.adopt(number).map_err(|_| Errno::AGAIN)
    }

    /// Under the lock. Error: ENOMEM.
    fn adopt(&self, number: u64) -> Result<()> {
        // SAFETY: the kernel has just said that it is there.
        let Some(ring) = (unsafe { Completions::of(number) }) else { return Ok(()) };
        let is_moved = |context: &&Context| {
            let old = context.number.load(Ordering::Acquire);
            let is_its = |in_flight: &InFlight| in_flight.id() == ring.id() && in_flight.is_of(&ring);
            is_number(old) && context.in_flight().is_some_and(is_its) && !contexts::exists(old)
        };
        let Some(old) = self.entries().find(is_moved) else { return self.begin(number, &ring) };
        let context = self.take(number)?;
        let in_flight = old.in_flight.swap(ptr::null_mut(), Ordering::SeqCst);
        old.give_back();
        // SAFETY: in-flight records are never freed.
        if let Some(in_flight) = unsafe { in_flight.as_ref() } {
            in_flight.moved_to(number);
            context.enter(number, in_flight);
        }
        Ok(())
    }

    fn begin(&self, number: u64, ring: &Completions) -> Result<()> {
        let in_flight = self.unused_memory(ring)?;
        let context = self.take(number).inspect_err(|_| self.pool.lock().give_back(in_flight))?;
        // First: deferred syncs of a context that was here before have nothing to do with the records from now on.
        in_flight.reaping.begin(ring.head());
        in_flight.begin(number, ring);
        ring.mark();
        context.enter(number, in_flight);
        self.contexts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Signals are blocked.
    fn unused_memory(&self, ring: &Completions) -> Result<&'static InFlight> {
        let is_used = |in_flight: &InFlight| {
            self.unplaced.load(Ordering::SeqCst) > 0
                || self.submitting.iter().any(|place| ptr::eq(place.in_flight.load(Ordering::SeqCst), in_flight))
        };
        self.pool.lock().take(ring.size(), is_used)
    }

    /// Another context is at an address than the one that `old` is of, made by a raw system call. Requests with numbers from `seq`
    /// on are its. Under the lock, while nobody destroys it. Error: EAGAIN, no memory.
    fn replace(&self, number: u64, old: &'static InFlight, seq: u64) -> Result<()> {
        let Some(context) = self.entry(number).filter(|context| context.has(old)) else { return Ok(()) };
        // SAFETY: the caller's promise.
        let Some(ring) = (unsafe { Completions::of(number) }) else { return Ok(()) };
        if old.is_of(&ring) {
            return Ok(());
        }
        let in_flight = self.unused_memory(&ring).map_err(|_| Errno::AGAIN)?;
        in_flight.reaping.begin(ring.head());
        in_flight.begin(number, &ring);
        if seq != u64::MAX {
            in_flight.take_over(old, seq, &ring);
        }
        context.in_flight.store(ptr::from_ref(in_flight).cast_mut(), Ordering::SeqCst);
        ring.mark();
        old.close();
        old.end_all_up_to(u64::MAX);
        // A sync that is held knows the old one.
        if self.deferred.load(Ordering::Acquire) == 0 {
            self.pool.lock().give_back(old);
        }
        Ok(())
    }

    /// A free entry of the chain, or a new one. Signals are blocked. Error: ENOMEM.
    fn take(&self, number: u64) -> Result<&'static Context> {
        let chain = self.chain(number);
        let is_taken = |context: &&Context| {
            context.number.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if let Some(context) = walk(chain).find(is_taken) {
            return Ok(context);
        }
        let memory = self.pool.lock().allocate(size_of::<Context>())?;
        // SAFETY: zeroed bytes that are never freed; all zeroes is a `Context`.
        let context: &'static Context = unsafe { memory.cast().as_ref() };
        context.number.store(TAKEN, Ordering::Relaxed);
        let mut first = chain.load(Ordering::Acquire);
        loop {
            context.next.store(first, Ordering::Relaxed);
            let new = ptr::from_ref(context).cast_mut();
            match chain.compare_exchange_weak(first, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(context),
                Err(now) => first = now,
            }
        }
    }

    /// The last number given to a request.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// The context is about to be destroyed: nobody finds it any more. None: there is no memory to say so, or no such context.
    pub fn hide(&self, number: u64) -> Option<Hidden> {
        if !is_number(number) {
            return None;
        }
        let _blocked = Blocked::all();
        let _locked = self.holding.lock();
        let Some(context) = self.entry(number) else {
            let context = self.take(number).ok()?;
            context.number.store(number | DYING, Ordering::SeqCst);
            return Some(Hidden(context, None));
        };
        context.number.store(number | DYING, Ordering::SeqCst);
        let in_flight = context.in_flight();
        in_flight.into_iter().for_each(InFlight::close);
        Some(Hidden(context, in_flight))
    }

    /// The kernel has made a context with this number: one that is being destroyed is another one. One that is known was destroyed by
    /// a raw system call.
    pub fn is_new(&self, number: u64) -> Option<Hidden> {
        for context in walk(self.chain(number)) {
            let _ = context.number.compare_exchange(number | DYING, TAKEN, Ordering::SeqCst, Ordering::Relaxed);
        }
        self.entry(number)?;
        let hidden = self.hide(number)?;
        hidden.0.number.store(TAKEN, Ordering::SeqCst);
        Some(hidden)
    }

    /// Waits until no other thread reads its ring. The ring, if somebody does all the same: this thread, below a signal handler, or
    /// one that a handler has kept from it, perhaps for ever.
    pub fn wait_for_readers(&self, Hidden(_, in_flight): &Hidden) -> Option<Completions> {
        let in_flight = (*in_flight)?;
        let me = thread_identity();
        let patience = clock::now().saturating_add(LONGEST_READ);
        let reads = |place: &&Submitting| {
            place.reads.load(Ordering::SeqCst) && ptr::eq(place.in_flight.load(Ordering::SeqCst), in_flight)
        };
        let is_awaited = |place: &Submitting| place.thread.load(Ordering::Relaxed) != me && clock::now() < patience;
        let mut pause = Pause::new();
        while let Some(place) = self.submitting.iter().find(reads) {
            if !is_awaited(place) {
                let number = in_flight.address();
                // SAFETY: the kernel has just said that it is there.
                return contexts::exists(number).then(|| unsafe { Completions::of(number) }).flatten();
            }
            pause.once();
        }
        None
    }

    /// The context is no more, and all that it had in flight has ended.
    pub fn end(&self, Hidden(context, in_flight): Hidden) {
        context.in_flight.store(ptr::null_mut(), Ordering::SeqCst);
        context.give_back();
        if let Some(in_flight) = in_flight {
            in_flight.end_all_up_to(u64::MAX);
            self.contexts.fetch_sub(1, Ordering::Relaxed);
            let _blocked = Blocked::all();
            self.pool.lock().give_back(in_flight);
        }
    }

    /// The number of a descriptor is given up: what is in flight on it keeps its file.
    pub fn closes(&self, fd: i32) {
        if !self.all_in_flight().any(|in_flight| in_flight.uses(fd)) {
            return;
        }
        if let Ok(found) = descriptor::describe(fd, 0, Fields::Identity) {
            let file = FileKey { device: found.device, inode: found.inode };
            self.all_in_flight().for_each(|in_flight| in_flight.closes(fd, file));
        }
    }

    fn entries(&self) -> impl Iterator<Item = &'static Context> {
        self.chains.iter().flat_map(walk)
    }

    /// What all contexts have in flight.
    pub fn all_in_flight(&self) -> impl Iterator<Item = &'static InFlight> {
        let used = self.entries().filter(|context| is_number(context.number.load(Ordering::Acquire)));
        used.filter_map(Context::in_flight)
    }
}

impl Context {
    fn in_flight(&self) -> Option<&'static InFlight> {
        // SeqCst: see `Submission::find`. SAFETY: in-flight records are never freed.
        unsafe { self.in_flight.load(Ordering::SeqCst).as_ref() }
    }

    fn has(&self, in_flight: &InFlight) -> bool {
        ptr::eq(self.in_flight.load(Ordering::Acquire), in_flight)
    }

    fn enter(&self, number: u64, in_flight: &'static InFlight) {
        self.in_flight.store(ptr::from_ref(in_flight).cast_mut(), Ordering::SeqCst);
        self.number.store(number, Ordering::SeqCst);
    }

    fn give_back(&self) {
        self.number.store(FREE, Ordering::Release);
    }
}

fn is_number(number: u64) -> bool {
    number > TAKEN && number & DYING == 0
}

fn walk(chain: &AtomicPtr<Context>) -> impl Iterator<Item = &'static Context> {
    // SAFETY: contexts are never freed.
    let follow = |link: &AtomicPtr<Context>| unsafe { link.load(Ordering::Acquire).as_ref() };
    std::iter::successors(follow(chain), move |context| follow(&context.next))
}
