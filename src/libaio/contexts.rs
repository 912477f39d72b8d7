//! The contexts that the program has: found by their numbers, and through them what is in flight, without a lock.
//!
//! "The lock" is that of the deferred syncs (`State::lock`). Contexts are entered, replaced and hidden under it, and nobody
//! destroys a context that another thread has found under it: see `hide`.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lock_api::Mutex;

use super::in_flight::InFlight;
use super::pool::Pool;
use super::submitters::{Submitter, Submitters};
use crate::order::FileKey;
use crate::sys::aio_ring::Completions;
use crate::sys::contexts;
use crate::sys::descriptor;
use crate::sys::errno::{Errno, Result};
use crate::sys::hash::mix;
use crate::sys::inode::Fields;
use crate::sys::lock::RawLock;
use crate::sys::signals::Blocked;

/// All zeroes is one without contexts.
pub struct Contexts {
    chains: [AtomicPtr<Context>; CHAINS],
    /// A bit for each chain that has ever had an entry: a walk over all contexts skips the others.
    used_chains: [AtomicU64; CHAINS / BITS],
    /// The last number given to a request. Not all that are given are used.
    newest: AtomicU64,
    /// The number of a request that was entered and is not a deferred sync: another one than before, if any was entered since.
    newest_entered: AtomicU64,
    /// Contexts that were submitted to and not destroyed.
    count: AtomicU32,
    pub submitters: Submitters,
    pool: Mutex<RawLock, Pool>,
}

const CHAINS: usize = 512;
const BITS: usize = 64;

/// A number, and what it stands for. Never freed; used again for a context with the same place in the chains.
struct Context {
    /// `FREE`, `TAKEN` while it is being prepared, or the context's number; with `DYING` while that is being destroyed.
    number: AtomicU64,
    in_flight: AtomicPtr<InFlight>,
    next: AtomicPtr<Context>,
}

/// A context that is being destroyed: nobody finds it, or takes it for a new one.
pub struct Hidden {
    context: &'static Context,
    /// What it has in flight. None: the library has not met the context.
    in_flight: Option<&'static InFlight>,
}

const FREE: u64 = 0;
const TAKEN: u64 = 1;
/// No ring begins at such an address.
const DYING: u64 = 2;

/// What a submission finds of the ring of a context.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Looked,
    /// It is destroyed.
    Gone,
    /// Another one is at its address.
    Another,
}

impl Contexts {
    pub fn has_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Numbers for so many requests; the first of them.
    pub fn number_requests(&self, count: u64) -> u64 {
        self.newest.fetch_add(count, Ordering::Relaxed) + 1
    }

    /// The number of the request that was entered last. Acquire: those entered before it can be found.
    pub fn newest_entered(&self) -> u64 {
        self.newest_entered.load(Ordering::Acquire)
    }

    /// The request with this number, and perhaps some after it, can be found.
    pub fn entered(&self, seq: u64) {
        self.newest_entered.store(seq, Ordering::Release);
    }

    /// What a context has in flight. It stays that context's, or nobody's, while `submitter` exists.
    pub fn find_for(&self, number: u64, submitter: &Submitter) -> Option<&'static InFlight> {
        loop {
            let in_flight = self.find(number)?;
            // SeqCst inside: either it is found again below, or whoever gives the memory to another context sees it in use.
            if !submitter.uses(in_flight) || self.find(number).is_some_and(|again| ptr::eq(again, in_flight)) {
                return Some(in_flight);
            }
        }
    }

    /// Ends the records of the events that have come, if the ring is still the context's. The context exists, and its ring stays
    /// mapped meanwhile.
    pub fn look(&self, in_flight: &InFlight, submitter: &Submitter) -> Seen {
        if in_flight.is_closed() {
            return Seen::Gone;
        }
        // SAFETY: the caller's promise.
        let Some(ring) = (unsafe { Completions::of(in_flight.address()) }) else { return Seen::Another };
        if !in_flight.is_of(&ring) {
            return Seen::Another;
        }
        in_flight.look(&ring, submitter.ending());
        Seen::Looked
    }

    fn chain(&self, number: u64) -> &AtomicPtr<Context> {
        let [first, ..] = &self.chains;
        self.chains.get(chain_index(number)).unwrap_or(first)
    }

    fn mark_chain(&self, number: u64) {
        let chain = chain_index(number);
        if let Some(word) = self.used_chains.get(chain / BITS) {
            // Release: see `entries`.
            word.fetch_or(1 << (chain % BITS), Ordering::Release);
        }
    }

    fn entry(&self, number: u64) -> Option<&'static Context> {
        let is_it = |context: &&Context| context.number.load(Ordering::SeqCst) == number;
        walk(self.chain(number)).find(is_it).filter(|_| is_number(number))
    }

    pub fn find(&self, number: u64) -> Option<&'static InFlight> {
        self.entry(number)?.in_flight()
    }

    /// Enters a context that the kernel knows and the library does not: it was just made, or the program has moved its ring
    /// (mremap). Under the lock. Error: EAGAIN, no memory.
    pub fn meet(&self, number: u64) -> Result<()> {
        let is_dying = |context: &'static Context| context.number.load(Ordering::Acquire) == number | DYING;
        if !is_number(number) || self.find(number).is_some() || walk(self.chain(number)).any(is_dying) {
            return Ok(());
        }
        if !contexts::exists(number) {
            return Ok(());
        }
        self.adopt(number).map_err(|_| Errno::AGAIN)
    }

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
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Signals are blocked.
    fn unused_memory(&self, ring: &Completions) -> Result<&'static InFlight> {
        let is_used = |in_flight: &InFlight| self.submitters.may_use(in_flight);
        self.pool.lock().take(ring.size(), is_used)
    }

    /// If the context at this address is another than that of `old`, made by a raw system call: enters it. Requests with numbers
    /// from `seq` on are its. Under the lock; the kernel knows the context. Error: EAGAIN, no memory.
    pub fn replace(&self, number: u64, old: &'static InFlight, seq: u64) -> Result<()> {
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
        // A deferred sync refers to it until it is taken out.
        if old.reaping.deferred.load(Ordering::Acquire) == 0 {
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
                Ok(_) => {
                    self.mark_chain(number);
                    return Ok(context);
                }
                Err(now) => first = now,
            }
        }
    }

    /// The last number given to a request.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// The context is about to be destroyed: nobody finds it any more. Under the lock, so that whoever has found it under the lock
    /// before is through as soon as the caller has had the lock again. None: there is no memory to say so, or no such context.
    pub fn hide(&self, number: u64) -> Option<Hidden> {
        if !is_number(number) {
            return None;
        }
        let Some(context) = self.entry(number) else {
            let context = self.take(number).ok()?;
            context.number.store(number | DYING, Ordering::SeqCst);
            return Some(Hidden { context, in_flight: None });
        };
        context.number.store(number | DYING, Ordering::SeqCst);
        let in_flight = context.in_flight();
        in_flight.into_iter().for_each(InFlight::close);
        Some(Hidden { context, in_flight })
    }

    /// The kernel has just made a context with this number. One of that number that is being destroyed is another one; one that is
    /// known was destroyed by a raw system call, and is hidden. Under the lock.
    pub fn forget_predecessor(&self, number: u64) -> Option<Hidden> {
        for context in walk(self.chain(number)) {
            let _ = context.number.compare_exchange(number | DYING, TAKEN, Ordering::SeqCst, Ordering::Relaxed);
        }
        self.entry(number)?;
        let hidden = self.hide(number)?;
        hidden.context.number.store(TAKEN, Ordering::SeqCst);
        Some(hidden)
    }

    /// The context is no more, and all that it had in flight has ended.
    pub fn end(&self, Hidden { context, in_flight }: Hidden) {
        context.in_flight.store(ptr::null_mut(), Ordering::SeqCst);
        context.give_back();
        if let Some(in_flight) = in_flight {
            in_flight.end_all_up_to(u64::MAX);
            self.count.fetch_sub(1, Ordering::Relaxed);
            let _blocked = Blocked::all();
            self.pool.lock().give_back(in_flight);
        }
    }

    /// The number of a descriptor is about to be closed: records of it name its file from now on.
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
        // Acquire: an entry is in its chain before that is marked, and a context enters it later.
        let is_used = |chain: usize| {
            let word = self.used_chains.get(chain / BITS).map_or(0, |word| word.load(Ordering::Acquire));
            word & (1 << (chain % BITS)) != 0
        };
        self.chains.iter().enumerate().filter(move |(chain, _)| is_used(*chain)).flat_map(|(_, first)| walk(first))
    }

    /// What all contexts have in flight.
    pub fn all_in_flight(&self) -> impl Iterator<Item = &'static InFlight> {
        let used = self.entries().filter(|context| is_number(context.number.load(Ordering::Acquire)));
        used.filter_map(Context::in_flight)
    }
}

impl Context {
    fn in_flight(&self) -> Option<&'static InFlight> {
        // SeqCst: see `find_for`. SAFETY: in-flight records are never freed.
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

fn chain_index(number: u64) -> usize {
    mix(number >> 12) % CHAINS
}

fn is_number(number: u64) -> bool {
    number > TAKEN && number & DYING == 0
}

fn walk(chain: &AtomicPtr<Context>) -> impl Iterator<Item = &'static Context> {
    // SAFETY: contexts are never freed.
    let follow = |link: &AtomicPtr<Context>| unsafe { link.load(Ordering::Acquire).as_ref() };
    std::iter::successors(follow(chain), move |context| follow(&context.next))
}
