//! Noticing that this process is the child of one that used the library, however it was made, and whether fork handlers ran in it.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

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

/// Of the process that has registered its fork handler, and of each child in which that ran. Never unmapped.
static HANDLED: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// The library's fork handler is registered.
pub fn handler_is_registered() {
    if let Ok(mark) = Mark::new() {
        HANDLED.store(mark.word.as_ptr(), Ordering::Release);
    }
}

/// It runs: the C library has put its locks in order in this child, or is about to.
pub fn handler_runs() {
    // SAFETY: it is never unmapped.
    if let Some(word) = unsafe { HANDLED.load(Ordering::Acquire).as_ref() } {
        word.store(1, Ordering::Relaxed);
    }
}

/// False: this process came to be without fork handlers, and the C library may hang when it is to make a thread.
pub fn may_make_threads() -> bool {
    // SAFETY: it is never unmapped.
    unsafe { HANDLED.load(Ordering::Acquire).as_ref() }.is_none_or(|word| word.load(Ordering::Relaxed) == 1)
}
