//! Noticing that this process is the child of one that used the library, however it was made.

use std::ffi::c_void;
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

/// Has pages read as zeroes in a child. (Not before Linux 4.14.)
pub fn forget_in_child(start: NonNull<c_void>, bytes: usize) {
    // SAFETY: whole pages of the library's own.
    unsafe { libc::madvise(start.as_ptr(), bytes, libc::MADV_WIPEONFORK) };
}

impl Mark {
    pub fn new() -> Result<Mark> {
        let word = memory::map(PAGE)?;
        // Kernels before 4.14 cannot wipe: there fork is noticed (pthread_atfork), _Fork is not.
        forget_in_child(word, PAGE);
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
