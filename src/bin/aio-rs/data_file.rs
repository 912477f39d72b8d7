//! The data file of a tour or benchmark: the parent makes it, clients get it as their standard input.

use crate::measure::advise;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// TMPDIR, else /var/tmp, which unlike /tmp is seldom kept in memory.
pub fn usual_directory() -> PathBuf {
    let usual = Path::new("/var/tmp");
    let named = env::var_os("TMPDIR").map(PathBuf::from);
    named.unwrap_or_else(|| if usual.is_dir() { usual.into() } else { env::temp_dir() })
}

/// Makes a file without a name: it goes with the last process that has it open, however that ends. It is filled, so that
/// direct writes find their blocks allocated.
pub fn create(directory: &Path, size: usize) -> Result<File> {
    let mut file = tempfile::tempfile_in(directory)?;
    let piece = vec![b'.'; 1 << 20];
    for _ in 0..size / piece.len() {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    // `measure` decides how it gets back into the page cache.
    advise(file.as_fd(), libc::POSIX_FADV_DONTNEED)?;
    Ok(file)
}

/// Opens the file behind a descriptor once more, with flags of its own.
pub fn reopen(file: impl AsFd, writable: bool, flags: i32) -> Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    OpenOptions::new().read(true).write(writable).custom_flags(flags).open(path)
}

/// The name of the file system that a file lies on, or its magic number.
pub fn filesystem(file: &File) -> String {
    // SAFETY: a `statfs` of zeros is valid.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `facts` is writable.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut facts) } != 0 {
        return "unknown file system".into();
    }
    match facts.f_type as u64 {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x0102_1994 => "tmpfs".into(),
        0x794c_7630 => "overlayfs".into(),
        0x6969 => "nfs".into(),
        0x2fc1_2fc1 => "zfs".into(),
        0xf2f5_2010 => "f2fs".into(),
        0x6573_5546 => "fuse".into(),
        0x0102_1997 => "9p".into(),
        magic => format!("file system {magic:#x}"),
    }
}
