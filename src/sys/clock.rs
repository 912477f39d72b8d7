//! CLOCK_MONOTONIC, in nanoseconds.

use std::mem::MaybeUninit;

use libc::timespec;

/// A point of CLOCK_MONOTONIC, in nanoseconds.
pub type Nanos = u64;

pub const MILLISECOND: Nanos = 1_000_000;
const SECOND: u64 = 1_000_000_000;

pub fn now() -> Nanos {
    let mut time = MaybeUninit::<timespec>::zeroed();
    // SAFETY: `time` has room for one timespec, and all bits zero is one too; the clock exists on every POSIX system.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr());
        time.assume_init()
    };
    nanos(time.tv_sec, time.tv_nsec)
}

/// `now` plus a time span; saturates at "never".
pub fn after(seconds: i64, nanoseconds: i64) -> Nanos {
    now().saturating_add(nanos(seconds, nanoseconds))
}

fn nanos(seconds: i64, nanoseconds: i64) -> Nanos {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(SECOND).saturating_add(u64::try_from(nanoseconds).unwrap_or(0))
}

pub fn to_timespec(time: Nanos) -> timespec {
    // SAFETY: timespec is plain data; some targets have padding fields, which are zero.
    let mut result: timespec = unsafe { std::mem::zeroed() };
    result.tv_sec = i64::try_from(time / SECOND).unwrap_or(i64::MAX);
    result.tv_nsec = i64::try_from(time % SECOND).unwrap_or(0);
    result
}
