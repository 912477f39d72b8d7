//! The submission queue: where callers put requests without the table's lock, and so without blocking signals. It is a stack with
//! one compare-and-swap to push; whoever holds the lock next takes all of it, oldest first.
//!
//! It is open only while somebody, the consumer, is sure to take what is pushed:
//! * a worker that is about to end a quick request looks by itself;
//! * otherwise an idle worker is called.
//!
//! When there is neither it is closed, and callers take the lock. Only the lock's holder opens it, closes it or changes the
//! consumer, by a compare-and-swap that fails if something was pushed: then that is taken first. So nothing is left in it that
//! nobody looks for.
//!
//! A signal handler may interrupt a caller anywhere here and push requests of its own: a request is in, or not yet in, and each
//! caller calls the consumer itself, whatever an interrupted one was about to do.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::{mem::MaybeUninit, ptr};

use cell::UnsafeCell;
#[cfg(loom)]
use loom::{
    cell,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

/// Requests that it has room for.
#[cfg(not(loom))]
pub const ROOM: usize = 64;
#[cfg(loom)]
pub const ROOM: usize = 2;

/// Values of `newest` that are no slot: closed; open and empty. A slot is its index plus `FIRST`.
const CLOSED: u32 = 0;
const EMPTY: u32 = 1;
const FIRST: u32 = 2;

/// All zeroes: closed and empty.
pub struct SubmissionQueue<T, R: 'static> {
    newest: AtomicU32,
    consumer: AtomicPtr<R>,
    /// A bit for each slot.
    used: AtomicU64,
    slots: [Slot<T>; ROOM],
}

struct Slot<T> {
    /// Of which item it is, or 0.
    key: AtomicU64,
    /// The one put in before it.
    older: AtomicU32,
    item: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a slot belongs to whoever set its bit in `used`, then to whoever took it off the stack.
unsafe impl<T: Send, R: Sync> Sync for SubmissionQueue<T, R> {}
// SAFETY: as above.
unsafe impl<T: Send, R: Sync> Send for SubmissionQueue<T, R> {}

/// Who takes what is pushed.
pub enum Consumer<R: 'static> {
    Nobody,
    /// A worker that is about to look anyway.
    Busy,
    /// A worker that has to be called.
    Idle(&'static R),
}

/// Slots that were emptied.
#[derive(Clone, Copy, Default)]
pub struct Emptied(u64);

impl Emptied {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn add(&mut self, other: Emptied) {
        self.0 |= other.0;
    }
}

impl<T: Copy, R> SubmissionQueue<T, R> {
    /// The library's own is a mapping of zeroes.
    #[cfg(loom)]
    pub fn new() -> SubmissionQueue<T, R> {
        let slot =
            |_| Slot { key: AtomicU64::new(0), older: AtomicU32::new(0), item: UnsafeCell::new(MaybeUninit::uninit()) };
        SubmissionQueue {
            newest: AtomicU32::new(CLOSED),
            consumer: AtomicPtr::new(ptr::null_mut()),
            used: AtomicU64::new(0),
            slots: std::array::from_fn(slot),
        }
    }

    // ---- callers ----

    pub fn is_open(&self) -> bool {
        self.newest.load(Ordering::Relaxed) != CLOSED
    }

    /// Whether nothing lies in it. What was taken out is in the table, or on its way there under the lock.
    pub fn is_empty(&self) -> bool {
        // Acquire: pairs with the swap in `take_out`.
        self.newest.load(Ordering::Acquire) < FIRST
    }

    /// Pushes an item and calls the consumer. False: it is closed, or full, or `claim` says no. From before `claim` to
    /// after `unclaim` the item can be found by its key.
    pub fn push<C>(
        &self,
        key: u64,
        item: &T,
        claim: impl FnOnce() -> Option<C>,
        unclaim: impl FnOnce(C),
        call: impl FnOnce(&'static R),
    ) -> bool {
        if !self.is_open() {
            return false;
        }
        let Some((index, slot)) = self.take_slot() else { return false };
        slot.key.store(key, Ordering::Relaxed);
        let Some(claimed) = claim() else {
            self.withdraw(index, slot);
            return false;
        };
        // SAFETY: the slot is this thread's since it set its bit.
        slot.item.with_mut(|place| unsafe { (*place).write(*item) });
        let mut seen = self.newest.load(Ordering::Relaxed);
        loop {
            if seen == CLOSED {
                unclaim(claimed);
                self.withdraw(index, slot);
                return false;
            }
            slot.older.store(seen, Ordering::Relaxed);
            // AcqRel: owner the item over to `take_out`; and pairs with `settle`, whose consumer is seen below.
            match self.newest.compare_exchange_weak(seen, FIRST + index, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        // SAFETY: a consumer is never freed.
        if let Some(consumer) = unsafe { self.consumer.load(Ordering::Relaxed).as_ref() } {
            call(consumer);
        }
        true
    }

    fn withdraw(&self, index: u32, slot: &Slot<T>) {
        // Release: whoever does not find the key any more finds what `unclaim` did.
        slot.key.store(0, Ordering::Release);
        self.give_back(Emptied(1 << index));
    }

    fn take_slot(&self) -> Option<(u32, &Slot<T>)> {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let index = used.trailing_ones();
            let slot = self.slots.get(usize::try_from(index).ok()?)?;
            // Acquire: pairs with `give_back`, whoever emptied the slot is through with it.
            match self.used.compare_exchange_weak(used, used | 1 << index, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some((index, slot)),
                Err(now) => used = now,
            }
        }
    }

    /// The slot that a link means, and its index.
    fn slot(&self, link: u32) -> Option<(u32, &Slot<T>)> {
        let index = link.checked_sub(FIRST)?;
        Some((index, self.slots.get(usize::try_from(index).ok()?)?))
    }

    // ---- the holder of the table's lock ----

    /// Whether an item with this key is inside, or about to be.
    pub fn holds(&self, key: u64) -> bool {
        // Acquire: pairs with `withdraw`.
        self.slots.iter().any(|slot| slot.key.load(Ordering::Acquire) == key)
    }

    /// Takes everything out, oldest first. The slots can be used again after `give_back`.
    pub fn take_out(&self, mut each: impl FnMut(&T)) -> Emptied {
        let mut emptied = Emptied::default();
        if self.newest.load(Ordering::Relaxed) < FIRST {
            return emptied;
        }
        // AcqRel: pairs with `push` and `is_empty`.
        let newest = self.newest.swap(EMPTY, Ordering::AcqRel);
        let mut at = self.turn_round(newest);
        while let Some((index, slot)) = self.slot(at) {
            emptied.0 |= 1 << index;
            slot.key.store(0, Ordering::Relaxed);
            // SAFETY: whoever put it in has written it, and nobody else takes it out.
            slot.item.with(|place| each(unsafe { (*place).assume_init_ref() }));
            at = slot.older.load(Ordering::Relaxed);
        }
        emptied
    }

    /// Turns the links round and returns the oldest.
    fn turn_round(&self, newest: u32) -> u32 {
        let (mut at, mut done) = (newest, EMPTY);
        while let Some((_, slot)) = self.slot(at) {
            let older = slot.older.load(Ordering::Relaxed);
            slot.older.store(done, Ordering::Relaxed);
            (at, done) = (older, at);
        }
        done
    }

    pub fn give_back(&self, slots: Emptied) {
        // Release: pairs with `take_slot`.
        self.used.fetch_and(!slots.0, Ordering::Release);
    }

    /// Says who looks from now on. False: something was put in that the last consumer may not look at; to be called again
    /// after it has been taken out.
    pub fn set_consumer(&self, consumer: Consumer<R>) -> bool {
        let consumer = match consumer {
            Consumer::Nobody => return self.close(),
            Consumer::Busy => ptr::null_mut(),
            Consumer::Idle(worker) => ptr::from_ref(worker).cast_mut(),
        };
        if self.newest.load(Ordering::Relaxed) == CLOSED {
            self.consumer.store(consumer, Ordering::Relaxed);
            // Release: whoever finds it open finds the consumer, too.
            self.newest.store(EMPTY, Ordering::Release);
            return true;
        }
        if self.consumer.load(Ordering::Relaxed) == consumer {
            return true;
        }
        self.consumer.store(consumer, Ordering::Relaxed);
        // AcqRel: whoever puts something in after this finds the new consumer.
        self.newest.compare_exchange(EMPTY, EMPTY, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn close(&self) -> bool {
        self.newest.load(Ordering::Relaxed) == CLOSED
            || self.newest.compare_exchange(EMPTY, CLOSED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// What loom's cells offer.
#[cfg(not(loom))]
mod cell {
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub fn with<O>(&self, read: impl FnOnce(*const T) -> O) -> O {
            read(self.0.get())
        }

        pub fn with_mut<O>(&self, write: impl FnOnce(*mut T) -> O) -> O {
            write(self.0.get())
        }
    }
}
