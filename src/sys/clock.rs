//! CLOCK_MONOTONIC, in nanoseconds. The kernel applies the deadlines that are computed from it, so it has to be the kernel's
//! clock: on Linux it is not read through libc's clock_gettime, which a preloaded library may replace to shift a program's
//! time.

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
    // SAFETY: it was zeroed, and a timespec of zeros is valid.
    let time = unsafe { time.assume_init() };
    nanos(time.tv_sec, time.tv_nsec)
}

/// `now` plus a time span; saturates at `Nanos::MAX`, which means "never".
pub fn after(seconds: i64, nanoseconds: i64) -> Nanos {
    now().saturating_add(nanos(seconds, nanoseconds))
}

/// A time span. Negative parts count as 0.
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

/// A time-out for poll and epoll_wait: rounded up, -1 (for ever) for `Nanos::MAX`.
pub fn to_milliseconds(time: Nanos) -> libc::c_int {
    if time == Nanos::MAX { -1 } else { time.div_ceil(MILLISECOND).try_into().unwrap_or(libc::c_int::MAX) }
}
