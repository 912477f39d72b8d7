//! How a descriptor is read: from the page cache, so that a read may be served inside the call; with O_DIRECT; or by a worker. And
//! whether it has unfinished writes, which a read must not overtake.
//!
//! How it is read is a guess: a number that was closed by a way that the library does not see may refer to something else by now. Then
//! the kernel refuses, or the call waits for the disk; the data are right all the same. The writes are exact, but descriptors
//! share their counters.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const PLACES: usize = 1024;

/// All zeroes: nothing is known, nothing is written.
pub struct Paths {
    /// The descriptor plus 1, and what was found.
    guesses: [AtomicU64; PLACES],
    writes: [AtomicU32; PLACES],
}

/// How a descriptor is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// From the page cache, as far as they are there.
    Cached,
    /// O_DIRECT.
    Direct,
    /// By a worker.
    Neither,
}

impl Reads {
    /// With these flags, O_DIRECT among them.
    pub fn with_direct(flags: i32) -> Reads {
        // What must not be read at all is left to who tells why.
        if flags & libc::O_ACCMODE == libc::O_WRONLY { Reads::Neither } else { Reads::Direct }
    }
}

impl Paths {
    /// None: not known.
    pub fn reads(&self, fd: i32) -> Option<Reads> {
        let guess = self.guesses.get(place(fd))?.load(Ordering::Relaxed);
        let reads = match guess & 3 {
            0 => Reads::Neither,
            1 => Reads::Cached,
            _ => Reads::Direct,
        };
        (guess >> 2 == owner(fd)).then_some(reads)
    }

    pub fn remember(&self, fd: i32, reads: Reads) {
        let bits = match reads {
            Reads::Neither => 0,
            Reads::Cached => 1,
            Reads::Direct => 2,
        };
        if let Some(guess) = self.guesses.get(place(fd)) {
            guess.store(owner(fd) << 2 | bits, Ordering::Relaxed);
        }
    }

    /// The number is given up.
    pub fn forget(&self, fd: i32) {
        if self.reads(fd).is_some()
            && let Some(guess) = self.guesses.get(place(fd))
        {
            guess.store(0, Ordering::Relaxed);
        }
    }

    /// The same for all from `first` to `last`.
    #[cfg(target_os = "linux")]
    pub fn forget_range(&self, first: u32, last: u32) {
        for guess in &self.guesses {
            let owner = guess.load(Ordering::Relaxed) >> 2;
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
