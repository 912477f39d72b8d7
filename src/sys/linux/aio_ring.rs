//! A context's ring of completions, which the kernel maps where the context's number says (fs/aio.c): events are taken from it
//! without a system call, and it shows that an event has come, whoever takes it.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::c_long;

use super::aio_abi::io_event;
use crate::sys::errno::{Errno, Result, check};
use crate::sys::tools;

/// The kernel's struct aio_ring.
#[repr(C)]
struct Header {
    id: u32,
    size: u32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: u32,
    /// The kernel stores it once, for programs, and never reads it.
    compatible_features: AtomicU32,
    incompatible_features: u32,
    header_length: u32,
}

const MAGIC: u32 = 0xa10a_10a1;

impl Header {
    /// Whether the kernel lays the ring out as this file has it.
    fn is_known(&self) -> bool {
        self.magic == MAGIC
            && self.incompatible_features == 0
            && usize::try_from(self.header_length) == Ok(size_of::<Header>())
    }
}

/// A ring that is mapped.
#[derive(Clone, Copy)]
pub struct Completions {
    header: &'static Header,
    size: u32,
    events: *const io_event,
}

impl Completions {
    /// None: it is not laid out as this file has it.
    ///
    /// # Safety
    /// The kernel knows the context, or knew it the last time that the program used it, and its ring stays mapped while this is
    /// used.
    pub unsafe fn of(context: u64) -> Option<Completions> {
        let start: *const Header = ptr::with_exposed_provenance(usize::try_from(context).ok()?);
        // SAFETY: the kernel has mapped the ring there; the caller's promise.
        let header = unsafe { start.as_ref() }?;
        let size = header.size;
        if !header.is_known() || size < 2 {
            return None;
        }
        let length = usize::try_from(size).unwrap_or(0).saturating_mul(size_of::<io_event>());
        tools::is_mapped(start.addr(), length + size_of::<Header>());
        Some(Completions { header, size, events: start.wrapping_add(1).cast() })
    }

    /// Where the next event will be stored. The events before it are (Acquire).
    pub fn tail(&self) -> u32 {
        self.header.tail.load(Ordering::Acquire)
    }

    /// Where the next event is to be taken. A program that moves the head itself may store it plus a multiple of `size`.
    pub fn head(&self) -> u32 {
        self.header.head.load(Ordering::Acquire)
    }

    /// The events that were not taken, oldest first.
    pub fn untaken(&self) -> impl Iterator<Item = io_event> {
        let (tail, size) = (self.tail(), self.size);
        let next = move |place: &u32| Some((place + 1) % size);
        let first = Some(self.header.head.load(Ordering::Relaxed)).filter(|head| *head < size);
        std::iter::successors(first, next).take_while(move |place| *place != tail).map(|place| self.event(place))
    }

    /// Takes the first `count` of `untaken`. One thread at a time, and only where no thread takes events by io_getevents: one that
    /// stopped in between would store a head that is out of date.
    pub fn take(&self, count: u32) {
        let head = self.header.head.load(Ordering::Relaxed);
        // Release: the events were read before the kernel uses their places again.
        self.header.head.store((head + count) % self.size, Ordering::Release);
    }

    /// The event at a place. If the kernel may be storing another one there, any mixture of both.
    pub fn event(&self, place: u32) -> io_event {
        let event = self.events.wrapping_add(usize::try_from(place % self.size).unwrap_or(0));
        // SAFETY: `size` events follow the header in the mapping; any bits are an `io_event`.
        unsafe { event.read_volatile() }
    }
}

#[cfg(libaio)]
impl Completions {
    /// What tells the ring from those of the process's other contexts, wherever it is mapped.
    pub fn id(&self) -> u32 {
        self.header.id
    }

    /// Places. One of them stays empty.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Events that were not taken.
    pub fn filled(&self) -> u32 {
        let head = self.header.head.load(Ordering::Relaxed) % self.size;
        (self.tail() % self.size + self.size - head) % self.size
    }

    /// A feature bit that no kernel uses.
    const MARK: u32 = 1 << 31;

    /// Tells the ring from one that the kernel makes later at the same address.
    pub fn mark(&self) {
        self.header.compatible_features.fetch_or(Completions::MARK, Ordering::Relaxed);
    }

    pub fn is_marked(&self) -> bool {
        self.header.compatible_features.load(Ordering::Relaxed) & Completions::MARK != 0
    }

    /// The context was destroyed while a thread that cannot be waited for reads its ring: maps zeroes there, for good.
    pub fn stand_in(&self) {
        const PAGE: usize = 4096;
        let events = usize::try_from(self.size).unwrap_or(0).saturating_mul(size_of::<io_event>());
        let bytes = events.saturating_add(size_of::<Header>()).next_multiple_of(PAGE);
        let place = ptr::from_ref(self.header).cast_mut().cast();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: it replaces no mapping (MAP_FIXED_NOREPLACE; before Linux 4.17 the address is only a hint).
        unsafe { libc::mmap(place, bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    }
}

/// io_pgetevents(2), which the crate libc does not know. Elsewhere a number that no system call has.
pub const IO_PGETEVENTS: c_long = if cfg!(target_arch = "x86_64") {
    333
} else if cfg!(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")) {
    292
} else {
    -1
};

/// Waits for an event and leaves it in the ring: `get_events`, a system call of the io_getevents family, is given a place that
/// nothing can be stored in, and the kernel takes no event that it cannot store (EFAULT). False: the time is up. Errors: as the
/// system call's.
pub fn wait_for_event(get_events: impl FnOnce(*mut io_event) -> c_long) -> Result<bool> {
    let nowhere = ptr::without_provenance_mut(usize::MAX - 4095);
    match check(get_events(nowhere)) {
        Err(Errno(libc::EFAULT)) => Ok(true),
        got => got.map(|_| false),
    }
}
