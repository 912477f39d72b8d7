//! Whether memory of the program's can be read, where the kernel says EFAULT if it cannot.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use libc::c_int;

use crate::sys::errno::{Errno, check};

/// Bytes of the kernel's signal set.
pub(super) const KERNEL_SET: usize = 8;

/// Whether the eight bytes from an address on can be read. Asks the kernel, and changes nothing: it reads a signal set before it
/// refuses what should be done with it.
pub fn is_readable(address: usize) -> bool {
    const NO_SUCH_ACTION: c_int = !0;
    let set: *const c_void = ptr::without_provenance(address);
    let nowhere = ptr::null_mut::<c_void>();
    // SAFETY: the kernel checks the address, and refuses the action.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, NO_SUCH_ACTION, set, nowhere, KERNEL_SET) };
    // NULL is no set at all to it.
    address != 0 && check(done) != Err(Errno(libc::EFAULT))
}

/// No page of any system is smaller.
const PAGE_BITS: u32 = 12;

/// Pages that can be read during one call of the program's. The kernel is asked for each: what it said during another call may not
/// be true any more. Only static data, the heap below the break and the main thread's stack are known to stay.
pub struct ReadablePages<'a> {
    steady: &'a SteadyPages,
    pages: [usize; ReadablePages::REMEMBERED],
    next: usize,
}

impl ReadablePages<'_> {
    const REMEMBERED: usize = 4;

    pub fn new(steady: &SteadyPages) -> ReadablePages<'_> {
        // The stack that this runs on can be read.
        let here = 0u8;
        let page = (&raw const here).addr() >> PAGE_BITS;
        ReadablePages { steady, pages: [page; ReadablePages::REMEMBERED], next: 0 }
    }

    /// Whether the bytes from `start` on can be read.
    pub fn has(&mut self, start: usize, bytes: usize) -> bool {
        let Some(last) = start.checked_add(bytes.saturating_sub(1)) else { return false };
        (start >> PAGE_BITS..=last >> PAGE_BITS).all(|page| {
            // The eight bytes that are asked for are all on this page.
            let address = (page << PAGE_BITS).max(start & !7);
            self.pages.contains(&page) || self.has_page(page, address)
        })
    }

    fn has_page(&mut self, page: usize, address: usize) -> bool {
        let stays = self.steady.stays(address);
        if !(stays && self.steady.has(page)) {
            if !is_readable(address) {
                return false;
            }
            if stays {
                self.steady.add(page);
            }
        }
        if let Some(place) = self.pages.get_mut(self.next % Self::REMEMBERED) {
            *place = page;
            self.next = self.next.wrapping_add(1);
        }
        true
    }
}

/// A set of pages that were readable once and stay so. Starts from all zeroes.
pub struct SteadyPages {
    places: [[AtomicU32; 2]; SteadyPages::PLACES],
    /// Where the program's image begins, and an address at the top of the first stack. 0: not known yet.
    image: AtomicUsize,
    stack: AtomicUsize,
}

impl SteadyPages {
    /// Two pages share a place without being in each other's way: a program's iocbs and its lists often lie in different parts
    /// of its memory, and one of many runs of a program would have to ask for both again and again.
    const PLACES: usize = 1024;
    /// Below the top of the first stack the kernel maps nothing else in so many bytes.
    const STACK: usize = 64 << 20;

    /// Whether memory there, if it can be read, stays so: the kernel never shortens the first stack, and the heap ends at the
    /// break. (A program that takes a piece out of its heap or its image is not noticed.)
    fn stays(&self, address: usize) -> bool {
        let (image, stack) = (self.image.load(Ordering::Relaxed), self.stack.load(Ordering::Relaxed));
        if image == 0 || stack == 0 {
            self.find_ends();
            return false;
        }
        (stack.saturating_sub(SteadyPages::STACK)..=stack).contains(&address)
            || address >= image && address < program_break()
    }

    #[cold]
    fn find_ends(&self) {
        // SAFETY: these ask the C library for what the kernel has told it.
        let (headers, random) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_RANDOM)) };
        // Without them nothing stays.
        let known = |value| usize::try_from(value).ok().filter(|value| *value != 0).unwrap_or(usize::MAX);
        self.image.store(known(headers), Ordering::Relaxed);
        self.stack.store(known(random), Ordering::Relaxed);
    }

    /// Where a page is, and its mark there.
    fn place(&self, page: usize) -> Option<(&[AtomicU32; 2], u32)> {
        // Of an address with 48 bits these are all; of a longer one a stranger's page may pass for it.
        let mark = u32::try_from((page / Self::PLACES) & 0x7fff_ffff).ok()?;
        Some((self.places.get(page % Self::PLACES)?, mark | 1 << 31))
    }

    fn has(&self, page: usize) -> bool {
        self.place(page).is_some_and(|(place, mark)| place.iter().any(|known| known.load(Ordering::Relaxed) == mark))
    }

    fn add(&self, page: usize) {
        if let Some(([first, second], mark)) = self.place(page) {
            second.store(first.load(Ordering::Relaxed), Ordering::Relaxed);
            first.store(mark, Ordering::Relaxed);
        }
    }
}

/// Where the heap ends, which glibc knows without a system call.
#[cfg(target_env = "gnu")]
fn program_break() -> usize {
    // SAFETY: 0 changes nothing.
    unsafe { libc::sbrk(0) }.addr()
}

/// Others would have to ask: there it is where the program's static data ends, if the library is a part of the program.
#[cfg(not(target_env = "gnu"))]
fn program_break() -> usize {
    unsafe extern "C" {
        // The linker's.
        static end: u8;
    }
    (&raw const end).addr()
}
