//! Memory shared with the command that started the program, for the figures. It is System V's: that takes no descriptor, stays
//! with every child of fork, and ends with its last user.

use crate::figures::Segment;

#[cfg(target_os = "linux")]
mod here {
    use super::Segment;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    static SEGMENT: AtomicPtr<Segment> = AtomicPtr::new(ptr::null_mut());

    pub fn segment() -> Option<&'static Segment> {
        // SAFETY: attached in `attach` and never detached.
        unsafe { SEGMENT.load(Ordering::Acquire).as_ref() }
    }

    pub fn attach(number: i32) {
        let mut found = std::mem::MaybeUninit::<libc::shmid_ds>::zeroed();
        // SAFETY: the kernel fills in the description, which all zeroes are, too; it tells whether the memory is large enough
        // for a `Segment`, which any bits are. A new mapping touches no memory of the program.
        unsafe {
            if libc::shmctl(number, libc::IPC_STAT, found.as_mut_ptr()) != 0 {
                return;
            }
            if found.assume_init().shm_segsz != size_of::<Segment>() {
                return;
            }
            let place = libc::shmat(number, ptr::null(), 0);
            if place.addr() == usize::MAX {
                return;
            }
            if !(*place.cast::<Segment>()).is_one() {
                libc::shmdt(place);
                return;
            }
            (*place.cast::<Segment>()).loaded.fetch_add(1, Ordering::Relaxed);
            SEGMENT.store(place.cast(), Ordering::Release);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod here {
    use super::Segment;

    pub fn segment() -> Option<&'static Segment> {
        None
    }

    pub fn attach(_: i32) {}
}

/// What this process shares, if anything.
pub fn segment() -> Option<&'static Segment> {
    here::segment()
}

/// Before `main`, where nothing of the program can stand in the way (another root, another user, a sandbox). It allocates
/// nothing; without `stats=NUMBER` it does nothing.
pub(super) fn at_load() {
    let Some(text) = super::environment::variable(c"AIO_RS") else { return };
    let mut items = text.to_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let number = items.rfind(|item| item.starts_with(b"stats="));
    if let Some(number) = number.and_then(|item| str::from_utf8(item.get(6..)?).ok()?.parse().ok()) {
        here::attach(number);
    }
}
