//! Finds out whether this process is a child of one that used the library, however it was made, and whether fork handlers ran
//! in it.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::sys::errno::Result;
use crate::sys::memory;

/// A word that is 1 in the process that made it and 0 in a child: the kernel wipes its page at fork, _Fork and clone, but not
/// at vfork, whose child shares the parent's memory.
pub struct Mark {
    word: NonNull<AtomicU32>,
}

// SAFETY: a pointer to an atomic word that is never unmapped.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

const PAGE: usize = 4096;

/// Asks the kernel to clear these pages in a child. (No effect before Linux 4.14.)
pub fn forget_in_child(start: NonNull<c_void>, bytes: usize) {
    // SAFETY: the callers pass whole pages of the library's own, and expect zeros in a child.
    unsafe { libc::madvise(start.as_ptr(), bytes, libc::MADV_WIPEONFORK) };
}

impl Mark {
    pub fn new() -> Result<Mark> {
        let word = memory::map(PAGE)?;
        // Before Linux 4.14 only the fork handler (pthread_atfork) finds a child out, which _Fork does not run.
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

/// The word of a mark, made when the fork handler was registered and set to 1 again by the handler in each child in which it
/// runs. NULL: none is registered.
static HANDLED: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// To be called when the library's fork handler is registered.
pub fn handler_is_registered() {
    if let Ok(mark) = Mark::new() {
        HANDLED.store(mark.word.as_ptr(), Ordering::Release);
    }
}

/// To be called by the fork handler, in the child: fork has the C library put its locks in order.
pub fn handler_runs() {
    // SAFETY: the word of a mark is never unmapped.
    if let Some(word) = unsafe { HANDLED.load(Ordering::Acquire).as_ref() } {
        word.store(1, Ordering::Relaxed);
    }
}

/// False: this process is a child in which no fork handler ran (_Fork, clone). A lock of the C library may be held there for
/// ever, and pthread_create would hang.
pub fn may_make_threads() -> bool {
    // SAFETY: the word of a mark is never unmapped.
    unsafe { HANDLED.load(Ordering::Acquire).as_ref() }.is_none_or(|word| word.load(Ordering::Relaxed) == 1)
}
