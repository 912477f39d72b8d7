//! The contexts that the program has, found by their numbers without a lock; and all else that this side of the library keeps.
//! In a child of fork it is gone, as the contexts are.

use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use lock_api::Mutex;

use super::aliases::Aliases;
use super::flight::{Covered, Flight};
use super::held::Holding;
use crate::errno::{Result, thread_identity};
use crate::order::FileKey;
use crate::slab::mix;
use crate::stats;
use crate::sys::contexts::{self, Completions};
use crate::sys::inode::Wanted;
use crate::sys::lock::RawLock;
use crate::sys::readable::SteadyPages;
use crate::sys::signals::Blocked;
use crate::sys::{descriptor, fork, memory, thread};

/// Starts from all zeroes, and is all zeroes in a child.
pub struct State {
    chains: [AtomicPtr<Context>; CHAINS],
    /// The last number given to a request. Not all that are given are used.
    newest: AtomicU64,
    /// Contexts that were made and not destroyed.
    pub contexts: AtomicU32,
    /// Syncs that wait. What they are is under the lock.
    pub held: AtomicU32,
    pub steady: SteadyPages,
    submitting: [Submitting; SUBMITTERS],
    process: AtomicI32,
    pub aliases: Aliases,
    pub holding: Mutex<RawLock, Holding>,
}

const CHAINS: usize = 64;
const SUBMITTERS: usize = 64;

/// What a thread is in the middle of. A signal handler that interrupts it there must not wait for that.
pub struct Submitting {
    /// 0: nobody's.
    thread: AtomicUsize,
    /// Requests with these numbers have records, but may not be submitted yet.
    first: AtomicU64,
    end: AtomicU64,
    /// An iocb whose event was seen, but whose record may not have ended yet.
    pub ending: AtomicU64,
}

/// Ends when dropped.
pub struct Submission {
    place: Option<&'static Submitting>,
    spare: AtomicU64,
}

impl Submission {
    pub fn numbers(&self, first: u64, count: u64) {
        if let Some(place) = self.place {
            // Never a range that is not one of them.
            place.first.store(u64::MAX, Ordering::Relaxed);
            place.end.store(first + count, Ordering::Relaxed);
            place.first.store(first, Ordering::Relaxed);
        }
    }

    pub fn ending(&self) -> &AtomicU64 {
        self.place.map_or(&self.spare, |place| &place.ending)
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.first.store(0, Ordering::Relaxed);
            place.end.store(0, Ordering::Relaxed);
            place.thread.store(0, Ordering::Release);
        }
    }
}

/// A number, and what it stands for. Never freed; used again for a context with the same place in the chains.
struct Context {
    /// `FREE`, `TAKEN` while it is being prepared, or the context's number.
    number: AtomicU64,
    flight: AtomicPtr<Flight>,
    next: AtomicPtr<Context>,
}

/// An entry that was taken out of sight.
pub struct Hidden(&'static Context);

const FREE: u64 = 0;
const TAKEN: u64 = 1;

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
        Submission { place: self.submitting.iter().find(take), spare: AtomicU64::new(0) }
    }

    /// Whether the calling thread was interrupted while it handed this request over, or ended it.
    pub fn is_under_way_here(&self, record: &Covered) -> bool {
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
        walk(self.chain(number)).find(|context| context.number.load(Ordering::Acquire) == number)
    }

    pub fn find(&self, number: u64) -> Option<&'static Flight> {
        self.entry(number)?.flight()
    }

    /// A context that was just made. Error: ENOMEM.
    pub fn begin(&self, number: u64) -> Result<()> {
        // SAFETY: the kernel has just said that it is there.
        let Some(ring) = (unsafe { Completions::of(number) }) else { return Ok(()) };
        // One with this number was destroyed by a raw system call, and waited for what it had.
        self.hide(number).into_iter().for_each(|hidden| self.end(hidden));
        let context = self.take(number)?;
        let flight = match context.flight() {
            Some(flight) => flight,
            // SAFETY: zeroed pages, never unmapped.
            None => unsafe { memory::map(size_of::<Flight>()).inspect_err(|_| context.give_back())?.cast().as_ref() },
        };
        flight.begin(number, &ring).inspect_err(|_| context.give_back())?;
        self.enter(context, number, flight);
        Ok(())
    }

    fn enter(&self, context: &Context, number: u64, flight: &'static Flight) {
        context.flight.store(ptr::from_ref(flight).cast_mut(), Ordering::Release);
        context.number.store(number, Ordering::Release);
        self.contexts.fetch_add(1, Ordering::Relaxed);
    }

    /// A free entry of the chain, or a new one.
    fn take(&self, number: u64) -> Result<&'static Context> {
        let chain = self.chain(number);
        let is_taken = |context: &&Context| {
            context.number.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if let Some(context) = walk(chain).find(is_taken) {
            return Ok(context);
        }
        // SAFETY: zeroed pages, never unmapped; all zeroes is a `Context`.
        let context: &'static Context = unsafe { memory::map(size_of::<Context>())?.cast().as_ref() };
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

    /// What a context has in flight. One that is not known was made by a raw system call, or moved: if the kernel knows it, it
    /// is from now on. None: neither does.
    pub fn flight(&self, number: u64) -> Option<&'static Flight> {
        if number <= TAKEN {
            return None;
        }
        self.current(number).or_else(|| {
            if !contexts::exists(number) {
                return None;
            }
            let _blocked = Blocked::all();
            let _one_at_a_time = self.holding.lock();
            self.current(number).or_else(|| {
                self.adopt(number).ok()?;
                self.find(number)
            })
        })
    }

    /// What is known of a context, unless that was another one at its address.
    pub fn current(&self, number: u64) -> Option<&'static Flight> {
        self.find(number).filter(|flight| {
            // SAFETY: the kernel knew it when the program used it last.
            unsafe { Completions::of(number) }.is_none_or(|ring| flight.is_of(&ring))
        })
    }

    /// The last number given to a request.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    fn adopt(&self, number: u64) -> Result<()> {
        // SAFETY: the kernel has just said that it is there.
        let Some(ring) = (unsafe { Completions::of(number) }) else { return Ok(()) };
        let is_moved = |context: &&Context| {
            let old = context.number.load(Ordering::Acquire);
            let is_its = |flight: &Flight| flight.id() == ring.id() && flight.is_of(&ring);
            old > TAKEN && context.flight().is_some_and(is_its) && !contexts::exists(old)
        };
        let Some(old) = self.entries().find(is_moved) else { return self.begin(number) };
        let flight = old.flight.swap(ptr::null_mut(), Ordering::AcqRel);
        old.give_back();
        self.contexts.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: as in `flight`.
        let Some(flight) = (unsafe { flight.as_ref() }) else { return self.begin(number) };
        flight.moved_to(number);
        self.enter(self.take(number)?, number, flight);
        Ok(())
    }

    /// The context is about to be destroyed: nobody finds it any more.
    pub fn hide(&self, number: u64) -> Option<Hidden> {
        let context = self.entry(number).filter(|_| number > TAKEN)?;
        let hidden = context.number.compare_exchange(number, TAKEN, Ordering::AcqRel, Ordering::Relaxed);
        hidden.is_ok().then_some(Hidden(context))
    }

    /// The context is no more, and all that it had in flight has ended.
    pub fn end(&self, Hidden(context): Hidden) {
        context.flight().into_iter().for_each(Flight::clear);
        context.give_back();
        self.contexts.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number of a descriptor is given up: what is in flight on it keeps its file.
    pub fn closes(&self, fd: i32) {
        if !self.flights().any(|flight| flight.uses(fd)) {
            return;
        }
        if let Ok(found) = descriptor::describe(fd, 0, Wanted::Identity) {
            let file = FileKey { device: found.device, inode: found.inode };
            self.flights().for_each(|flight| flight.closes(fd, file));
        }
    }

    fn entries(&self) -> impl Iterator<Item = &'static Context> {
        self.chains.iter().flat_map(walk)
    }

    /// What all contexts have in flight.
    pub fn flights(&self) -> impl Iterator<Item = &'static Flight> {
        let used = self.entries().filter(|context| context.number.load(Ordering::Acquire) > TAKEN);
        used.filter_map(Context::flight)
    }
}

impl Context {
    fn flight(&self) -> Option<&'static Flight> {
        // SAFETY: flights are never freed.
        unsafe { self.flight.load(Ordering::Acquire).as_ref() }
    }

    fn give_back(&self) {
        self.number.store(FREE, Ordering::Release);
    }
}

fn walk(chain: &AtomicPtr<Context>) -> impl Iterator<Item = &'static Context> {
    // SAFETY: contexts are never freed.
    let follow = |link: &AtomicPtr<Context>| unsafe { link.load(Ordering::Acquire).as_ref() };
    std::iter::successors(follow(chain), move |context| follow(&context.next))
}
