//! The two status words of an aiocb: where a request's end becomes visible.
//!
//! | error | returned | the request |
//! | --- | --- | --- |
//! | EINPROGRESS | anything | runs, or waits |
//! | EINPROGRESS | `IN_KERNEL` | the kernel's AIO has it |
//! | EINPROGRESS | `FOR_DEVICE` | it waits for the device, as fsync does |
//! | 0 | bytes | has succeeded |
//! | an error number | -1 | has failed, or was cancelled |

#[cfg(loom)]
use loom::sync::atomic::{AtomicI32, AtomicIsize, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicI32, AtomicIsize, Ordering};

use libc::c_int;

/// All zeroes is a request that never was.
///
/// glibc's `__error_code` and `__return_value`, musl's `__err` and `__ret`; programs read them without asking.
#[cfg(not(target_os = "nto"))]
#[derive(Default)]
#[repr(C)]
pub struct Status {
    error: AtomicI32,
    returned: AtomicIsize,
}

/// QNX's `_aio_result` and `_aio_error`.
#[cfg(target_os = "nto")]
#[repr(C)]
pub struct Status {
    returned: AtomicIsize,
    error: AtomicI32,
}

/// No request returns these.
const IN_KERNEL: isize = isize::MIN;
const FOR_DEVICE: isize = isize::MIN + 1;

impl Status {
    /// Opens a request: from here until `publish` aio_error answers EINPROGRESS. `for_device`: it will not be over in a moment.
    /// Returns what it said before.
    pub fn begin(&self, for_device: bool) -> c_int {
        let returned = self.returned.load(Ordering::Relaxed);
        if for_device || returned == IN_KERNEL || returned == FOR_DEVICE {
            self.returned.store(if for_device { FOR_DEVICE } else { 0 }, Ordering::Relaxed);
        }
        let before = self.error.load(Ordering::Relaxed);
        self.error.store(libc::EINPROGRESS, Ordering::Relaxed);
        before
    }

    /// The request was not handed in after all.
    pub fn take_back(&self, before: c_int) {
        self.error.store(before, Ordering::Relaxed);
    }

    /// Ends a request. After this store the aiocb belongs to the caller again and is never touched.
    pub fn publish(&self, error: c_int, returned: isize) {
        self.returned.store(returned, Ordering::Relaxed);
        // Release: pairs with the Acquire in `error`; whoever sees the status sees the data and the result.
        self.error.store(error, Ordering::Release);
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
        self.error.load(Ordering::Acquire)
    }

    /// The return status; meaningful once `error` is not EINPROGRESS.
    pub fn returned(&self) -> isize {
        self.returned.load(Ordering::Relaxed)
    }

    /// The word that waiters sleep on.
    pub fn error_word(&self) -> &AtomicI32 {
        &self.error
    }
}
