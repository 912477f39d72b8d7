//! Memory that processes share. It is System V's: that takes no descriptor, stays with every child of fork, and ends with its
//! last user.

#[cfg(target_os = "linux")]
mod here {
    use std::ffi::c_void;
    use std::mem::MaybeUninit;
    use std::ptr::{self, NonNull};

    /// Maps a segment of exactly this size. None: there is none, or not of that size.
    pub fn attach(number: i32, size: usize) -> Option<NonNull<c_void>> {
        let mut found = MaybeUninit::<libc::shmid_ds>::zeroed();
        // SAFETY: the kernel fills in the description, which all zeroes are, too. A new mapping touches no memory of the program.
        let place = unsafe {
            if libc::shmctl(number, libc::IPC_STAT, found.as_mut_ptr()) != 0 || found.assume_init().shm_segsz != size {
                return None;
            }
            libc::shmat(number, ptr::null(), 0)
        };
        NonNull::new(place).filter(|place| place.addr().get() != usize::MAX)
    }

    /// # Safety
    /// `place` comes from `attach`, and nothing of it is used any more.
    pub unsafe fn detach(place: NonNull<c_void>) {
        // SAFETY: the caller's promise.
        unsafe { libc::shmdt(place.as_ptr()) };
    }
}

#[cfg(not(target_os = "linux"))]
mod here {
    use std::ffi::c_void;
    use std::ptr::NonNull;

    pub fn attach(_: i32, _: usize) -> Option<NonNull<c_void>> {
        None
    }

    /// # Safety
    /// There is nothing to detach.
    pub unsafe fn detach(_: NonNull<c_void>) {}
}

pub use here::{attach, detach};
