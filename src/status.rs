//! The status words of an aiocb: where a request's end becomes visible.
//!
//! | error | generation | returned | the request |
//! | --- | --- | --- | --- |
//! | EINPROGRESS | its own | anything | runs, or waits |
//! | EINPROGRESS | its own | `IN_KERNEL` | the kernel's AIO has it |
//! | EINPROGRESS | its own | `FOR_DEVICE` | it waits for the device, as fsync does |
//! | 0 | 0 | bytes | has succeeded |
//! | an error number | 0 | -1 | has failed, or was cancelled |
//!
//! The generation tells a submission from every other one, of whatever aiocb: a waiter that finds another one than it saw at
//! first knows that the request has ended, although the aiocb may be in flight again. Error and generation are one atomic word, so
//! that no moment shows the one without the other.

#[cfg(loom)]
use loom::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

use std::sync::atomic::AtomicU32;

use libc::c_int;

/// All zeroes is a request that never was.
///
/// The error is glibc's `__error_code`, musl's `__err`; `returned` is `__return_value`, `__ret`; programs read them without
/// asking. The generation is in the padding between them.
#[cfg(not(target_os = "nto"))]
#[derive(Default)]
#[repr(C)]
pub struct Status {
    word: AtomicU64,
    returned: AtomicIsize,
}

/// QNX's `_aio_result` and `_aio_error`, and the padding behind that.
#[cfg(target_os = "nto")]
#[derive(Default)]
#[repr(C)]
pub struct Status {
    returned: AtomicIsize,
    word: AtomicU64,
}

/// No request returns these.
const IN_KERNEL: isize = isize::MIN;
const FOR_DEVICE: isize = isize::MIN + 1;

/// What an aiocb said before it was handed in.
#[derive(Clone, Copy)]
pub struct Before {
    word: u64,
    returned: isize,
}

impl Status {
    /// Opens a request: from here until `publish` aio_error answers EINPROGRESS. `for_device`: it will not be over in a moment.
    /// Returns what it said before. The caller has claimed the aiocb.
    pub fn begin(&self, for_device: bool) -> Before {
        let before =
            Before { word: self.word.load(Ordering::Relaxed), returned: self.returned.load(Ordering::Relaxed) };
        if for_device || matches!(before.returned, IN_KERNEL | FOR_DEVICE) {
            self.returned.store(if for_device { FOR_DEVICE } else { 0 }, Ordering::Relaxed);
        }
        self.word.store(pack(libc::EINPROGRESS, next_generation()), Ordering::Relaxed);
        before
    }

    /// The request was not handed in after all.
    pub fn take_back(&self, before: Before) {
        self.returned.store(before.returned, Ordering::Relaxed);
        // Release: pairs with the Acquire in `error`, as what it says again is the end of an earlier request.
        self.word.store(before.word, Ordering::Release);
    }

    /// Ends a request. After this store the aiocb belongs to the caller again and is never touched.
    pub fn publish(&self, error: c_int, returned: isize) {
        self.returned.store(returned, Ordering::Relaxed);
        // Release: pairs with the Acquire in `error`; whoever sees the status sees the data and the result.
        self.word.store(pack(error, 0), Ordering::Release);
    }

    /// Waits for the memory, which may be swapped out or held (userfaultfd), to be there and writable, and changes nothing: whoever
    /// is going to `publish` under a lock does this before. (An addition of nothing would be compiled to a mere read.)
    pub fn touch(&self) {
        let now = self.returned.load(Ordering::Relaxed);
        let _ = self.returned.compare_exchange(now, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the kernel's AIO has the request, or has not.
    pub fn set_in_kernel(&self, has: bool) {
        if has || self.is_in_kernel() {
            self.returned.store(if has { IN_KERNEL } else { FOR_DEVICE }, Ordering::Relaxed);
        }
    }

    /// Meaningful while the request runs: a hint, as the caller's program could write there.
    pub fn is_in_kernel(&self) -> bool {
        self.returned.load(Ordering::Relaxed) == IN_KERNEL
    }

    /// Whether it waits for the device, whoever runs it. A hint, too.
    pub fn is_for_device(&self) -> bool {
        matches!(self.returned.load(Ordering::Relaxed), IN_KERNEL | FOR_DEVICE)
    }

    /// The error status: EINPROGRESS, 0 or an error number.
    pub fn error(&self) -> c_int {
        // Acquire: pairs with `publish`.
        unpack(self.word.load(Ordering::Acquire)).0
    }

    /// The return status; meaningful once `error` is not EINPROGRESS.
    pub fn returned(&self) -> isize {
        self.returned.load(Ordering::Relaxed)
    }

    /// Where the generation is: what waiters sleep on. For the kernel, which looks at these four bytes, and as a number.
    #[cfg(not(loom))]
    pub fn address(&self) -> *const u32 {
        self.word.as_ptr().cast_const().cast::<u32>().wrapping_add(1)
    }

    /// None: no request is in progress.
    fn generation(&self) -> Option<u32> {
        // Acquire: pairs with `publish`, as in `error`.
        let (error, generation) = unpack(self.word.load(Ordering::Acquire));
        (error == libc::EINPROGRESS).then_some(generation)
    }
}

/// What a waiter saw at first: all its requests in progress, and the sum of their generations. A later submission has a higher
/// generation, so the sum grows when one has ended and its aiocb is in flight again. (After 2^32 submissions they begin anew;
/// then the sum is another one all the same, but for a coincidence.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen(u64);

impl Seen {
    /// None: one of the requests has ended.
    pub fn of<'a>(mut statuses: impl Iterator<Item = &'a Status>) -> Option<Seen> {
        let add = |sum: u64, status: &Status| Some(sum.wrapping_add(u64::from(status.generation()?)));
        statuses.try_fold(0, add).map(Seen)
    }

    /// The generation, if there is only one request.
    pub fn of_only_one(self) -> u32 {
        // Four bytes, so it always fits.
        u32::try_from(self.0).unwrap_or(0)
    }
}

/// Never 0.
fn next_generation() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    // Relaxed: whoever in_flight an aiocb next comes after this one, and all agree on the order of one word's changes.
    let next = || LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    match next() {
        0 => next(),
        generation => generation,
    }
}

/// The error where the C structure has it, and the generation behind it.
fn pack(error: c_int, generation: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (error.to_ne_bytes(), generation.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn unpack(word: u64) -> (c_int, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (c_int::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}
