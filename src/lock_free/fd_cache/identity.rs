//! Which file a descriptor with unfinished requests refers to, so that the next request of it need not ask.
//!
//! Such a descriptor stays what it is until its requests have ended or `close` is called. Written under the table's lock, read
//! without it (a sequence lock for each entry): a reader that comes while an entry changes gets None.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::order::FileKey;

const PLACES: usize = 256;

/// All zeroes: nothing is known.
pub struct Identity([Place; PLACES]);

struct Place {
    /// The descriptor, plus 1, and a count of changes; odd while it is being written.
    stamp: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
}

const NOBODY: u32 = 0;

impl Identity {
    /// The file, if the descriptor has unfinished requests (or none that anybody remembers: then None).
    pub fn file(&self, fd: i32) -> Option<FileKey> {
        let place = self.place(fd)?;
        // Acquire: pairs with the last store of `write`.
        let before = place.stamp.load(Ordering::Acquire);
        if before & 1 != 0 || owner_of(before) != owner(fd) {
            return None;
        }
        let (device, inode) = (place.device.load(Ordering::Relaxed), place.inode.load(Ordering::Relaxed));
        // Acquire: pairs with the fence in `write`.
        fence(Ordering::Acquire);
        (place.stamp.load(Ordering::Relaxed) == before).then_some(FileKey { device, inode })
    }

    /// The descriptor has a request from now on.
    pub fn remember(&self, fd: i32, key: FileKey) {
        self.write(fd, owner(fd), key);
    }

    /// The descriptor's last request has ended, or its number is given up.
    pub fn forget(&self, fd: i32) {
        let known = self.place(fd).is_some_and(|place| owner_of(place.stamp.load(Ordering::Relaxed)) == owner(fd));
        if known {
            self.write(fd, NOBODY, FileKey { device: 0, inode: 0 });
        }
    }

    fn write(&self, fd: i32, owner: u32, key: FileKey) {
        let Some(place) = self.place(fd) else { return };
        let count = (place.stamp.load(Ordering::Relaxed) & u64::from(u32::MAX)).wrapping_add(2);
        place.stamp.store(stamp(NOBODY, count | 1), Ordering::Relaxed);
        // Release: a reader that sees one of the next stores sees the odd count, too.
        fence(Ordering::Release);
        place.device.store(key.device, Ordering::Relaxed);
        place.inode.store(key.inode, Ordering::Relaxed);
        place.stamp.store(stamp(owner, count & !1), Ordering::Release);
    }

    fn place(&self, fd: i32) -> Option<&Place> {
        self.0.get(usize::try_from(fd).ok()? % PLACES)
    }
}

fn owner(fd: i32) -> u32 {
    fd.cast_unsigned().wrapping_add(1)
}

fn stamp(owner: u32, count: u64) -> u64 {
    u64::from(owner) << 32 | count & u64::from(u32::MAX)
}

fn owner_of(stamp: u64) -> u32 {
    u32::try_from(stamp >> 32).unwrap_or(NOBODY)
}
