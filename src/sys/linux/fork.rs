//! Noticing that this process is the child of one that used the library, however it was made.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::errno::Result;
use crate::sys::memory;

/// A word that reads as 0 in a child: the kernel wipes its page at fork, _Fork and clone, but not at vfork, whose child
/// shares the parent's memory.
pub struct Mark {
    word: NonNull<AtomicU32>,
}

// SAFETY: an atomic word that is never unmapped.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

const PAGE: usize = 4096;

impl Mark {
    pub fn new() -> Result<Mark> {
        let word = memory::map(PAGE)?;
        // Kernels before 4.14 cannot wipe: there fork is noticed (pthread_atfork), _Fork is not.
        // SAFETY: the page was just mapped, and is the library's own.
        unsafe { libc::madvise(word.as_ptr(), PAGE, libc::MADV_WIPEONFORK) };
        let mark = Mark { word: word.cast() };
        mark.word().store(1, Ordering::Relaxed);
        Ok(mark)
    }

    /// Whether this is the process that made the mark, or shares its memory.
    pub fn is_ours(&self) -> bool {
        self.word().load(Ordering::Relaxed) == 1
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped in `new` and never unmapped; any bits make an AtomicU32.
        unsafe { self.word.as_ref() }
    }
}
