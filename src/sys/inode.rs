//! Facts about the file behind a descriptor, by statx or fstat.

use std::mem::MaybeUninit;

use libc::c_int;

use crate::sys::errno::{Result, check};

/// The type of a file, its size, and the numbers that identify it.
pub struct Inode {
    pub mode: libc::mode_t,
    pub device: u64,
    pub number: u64,
    /// If the file is a device node: the device that it stands for.
    pub node_of: u64,
    pub size: i64,
}

/// Which fields of an `Inode` to ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fields {
    Identity,
    IdentityAndSize,
}

/// Asks for the file behind a descriptor. Error: EBADF.
#[cfg(target_os = "linux")]
pub fn inode(fd: c_int, fields: Fields) -> Result<Inode> {
    use crate::sys::errno::Errno;

    // Not fstat: since Linux 6.13 asking for the ctime makes the next write give the file a new, finer time stamp, which the
    // next fsync has to write out (inode_set_ctime_current, STATX_CTIME).
    let mut mask = libc::STATX_TYPE | libc::STATX_INO;
    if fields == Fields::IdentityAndSize {
        mask |= libc::STATX_SIZE;
    }
    // Only what the kernel has cached: the file's server (FUSE, NFS) may hang, and a call that submits must not wait for it.
    // (If a server changes a file's inode number, the kernel notices when somebody else asks the server.)
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_EMPTY_PATH;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a C string, `found` has room for one statx, and a statx of zeros is valid.
    let found = unsafe {
        match check(libc::syscall(libc::SYS_statx, fd, c"".as_ptr(), flags, mask, found.as_mut_ptr())) {
            Err(Errno::BADF) => return Err(Errno::BADF),
            // Linux before 4.11 has no statx; a sandbox may forbid it.
            Err(_) => return by_fstat(fd),
            Ok(_) => found.assume_init(),
        }
    };
    Ok(Inode {
        mode: libc::mode_t::from(found.stx_mode),
        device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
        number: found.stx_ino,
        node_of: libc::makedev(found.stx_rdev_major, found.stx_rdev_minor),
        size: i64::try_from(found.stx_size).unwrap_or(i64::MAX),
    })
}

/// Asks for the file behind a descriptor. Error: EBADF.
#[cfg(not(target_os = "linux"))]
pub fn inode(fd: c_int, _: Fields) -> Result<Inode> {
    by_fstat(fd)
}

pub(super) fn by_fstat(fd: c_int) -> Result<Inode> {
    let mut found = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `found` has room for one stat, and a stat of zeros is valid.
    let found = unsafe {
        check(libc::fstat(fd, found.as_mut_ptr()))?;
        found.assume_init()
    };
    Ok(Inode {
        mode: found.st_mode,
        device: widen(found.st_dev),
        number: widen(found.st_ino),
        node_of: widen(found.st_rdev),
        size: found.st_size,
    })
}

/// The types of device and inode numbers differ between targets. Numbers are only compared, so a clamped one does no harm.
fn widen<T: TryInto<u64>>(number: T) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}
