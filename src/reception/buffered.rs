//! What is remembered of descriptors so that a read may be served inside the call (`route::inline`): whether that works for
//! them at all, and whether they have unfinished writes, which a read must not overtake.
//!
//! What works is only a guess: a number that was closed behind the library's back may stand for something else by now.
//! Then the kernel refuses, or the call waits for the disk; the data are right all the same. The writes are exact, but
//! descriptors share their places.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const PLACES: usize = 1024;

/// Starts from all zeroes: nothing is known, nothing is written.
pub struct Buffered {
    /// The descriptor plus 1, and whether it works.
    guesses: [AtomicU64; PLACES],
    writes: [AtomicU32; PLACES],
}

impl Buffered {
    /// Whether reads of a descriptor can be served from the page cache. None: not known.
    pub fn works(&self, fd: i32) -> Option<bool> {
        let guess = self.guesses.get(place(fd))?.load(Ordering::Relaxed);
        (guess >> 1 == owner(fd)).then_some(guess & 1 != 0)
    }

    pub fn remember(&self, fd: i32, works: bool) {
        if let Some(guess) = self.guesses.get(place(fd)) {
            guess.store(owner(fd) << 1 | u64::from(works), Ordering::Relaxed);
        }
    }

    /// The number is given up.
    pub fn forget(&self, fd: i32) {
        if self.works(fd).is_some()
            && let Some(guess) = self.guesses.get(place(fd))
        {
            guess.store(0, Ordering::Relaxed);
        }
    }

    /// The same for all from `first` to `last`.
    #[cfg(target_os = "linux")]
    pub fn forget_range(&self, first: u32, last: u32) {
        for guess in &self.guesses {
            let owner = guess.load(Ordering::Relaxed) >> 1;
            if owner > u64::from(first) && owner <= u64::from(last) + 1 {
                guess.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A write is about to be handed in.
    pub fn write_begins(&self, fd: i32) {
        // Relaxed: whoever knows of the write, or made it, sees it counted.
        self.count(fd, |writes| writes.fetch_add(1, Ordering::Relaxed));
    }

    /// It has ended, or was refused.
    pub fn write_ends(&self, fd: i32) {
        // Release: whoever finds none unfinished finds its data.
        self.count(fd, |writes| writes.fetch_sub(1, Ordering::Release));
    }

    pub fn has_writes(&self, fd: i32) -> bool {
        // Acquire: pairs with `write_ends`.
        self.writes.get(place(fd)).is_none_or(|writes| writes.load(Ordering::Acquire) != 0)
    }

    fn count(&self, fd: i32, change: impl FnOnce(&AtomicU32) -> u32) {
        if let Some(writes) = self.writes.get(place(fd)) {
            change(writes);
        }
    }
}

fn place(fd: i32) -> usize {
    usize::try_from(fd.cast_unsigned()).unwrap_or(0) % PLACES
}

fn owner(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned()) + 1
}
