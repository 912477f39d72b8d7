//! CLOCK_MONOTONIC, in nanoseconds: the kernel's, which takes the time-outs that are computed from it. On Linux not by way of a
//! function that the program may have replaced, as those do that shift a program's clock.

use std::mem::MaybeUninit;

use libc::timespec;

/// A point of CLOCK_MONOTONIC, in nanoseconds.
pub type Nanos = u64;

pub const MILLISECOND: Nanos = 1_000_000;
const SECOND: u64 = 1_000_000_000;

pub fn now() -> Nanos {
    let mut time = MaybeUninit::<timespec>::zeroed();
    #[cfg(target_os = "linux")]
    super::vdso::monotonic(&mut time);
    // SAFETY: `time` has room for one timespec; the clock exists on every POSIX system.
    #[cfg(not(target_os = "linux"))]
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr())
    };
    // SAFETY: all bits zero is a timespec, too.
    let time = unsafe { time.assume_init() };
    nanos(time.tv_sec, time.tv_nsec)
}

/// `now` plus a time span; saturates at "never".
pub fn after(seconds: i64, nanoseconds: i64) -> Nanos {
    now().saturating_add(nanos(seconds, nanoseconds))
}

/// A time span; a negative one is none.
pub fn nanos(seconds: i64, nanoseconds: i64) -> Nanos {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(SECOND).saturating_add(u64::try_from(nanoseconds).unwrap_or(0))
}

#[cfg(target_os = "linux")]
pub fn from_timespec(time: &timespec) -> Nanos {
    nanos(time.tv_sec, time.tv_nsec)
}

pub fn to_timespec(time: Nanos) -> timespec {
    // SAFETY: timespec is plain data; some targets have padding fields, which are zero.
    let mut result: timespec = unsafe { std::mem::zeroed() };
    result.tv_sec = i64::try_from(time / SECOND).unwrap_or(i64::MAX);
    result.tv_nsec = i64::try_from(time % SECOND).unwrap_or(0);
    result
}

/// For poll and its like: not less than the time, -1 for `Nanos::MAX`.
pub fn to_milliseconds(time: Nanos) -> libc::c_int {
    if time == Nanos::MAX { -1 } else { time.div_ceil(MILLISECOND).try_into().unwrap_or(libc::c_int::MAX) }
}
