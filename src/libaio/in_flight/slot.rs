//! A slot of the table of in-flight records, and what a record says.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::order::FileKey;
use crate::sys::aio_abi::iocb;
use crate::sys::hash::mix;

/// | object | seq | |
/// | --- | --- | --- |
/// | FREE | ENDED | free: whoever stores CLAIMED has it |
/// | CLAIMED | ENDED, then the request's | being filled |
/// | the iocb's `name` | the request's | a record: whoever stores ENDED ends it |
/// | the iocb's `name` | ENDED | ended: whoever did that stores FREE |
pub struct Slot {
    pub object: AtomicU64,
    /// The request's number: no two records have the same.
    pub seq: AtomicU64,
    /// The descriptor. CLOSED: the program has closed it, and `device` and `inode` say what it was. CLOSING: these are being
    /// written.
    pub fd: AtomicI32,
    pub device: AtomicU64,
    pub inode: AtomicU64,
    /// The `seq` of the last record here that a deferred sync depends on.
    pub listed: AtomicU64,
}

pub const FREE: u64 = 0;
/// No iocb has this name.
pub const CLAIMED: u64 = 1;
pub const ENDED: u64 = 0;
const CLOSED: i32 = -1;
const CLOSING: i32 = -2;

/// What tells an event's request: the iocb's address and its data, as programs use one iocb for several requests at a time that
/// differ in their data. Neither FREE nor CLAIMED.
pub fn name(block: *const iocb, data: *const c_void) -> u64 {
    let part = |pointer: usize| u64::try_from(pointer).unwrap_or(0);
    let name = part(block.addr()) ^ part(data.addr()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if name <= CLAIMED { u64::MAX } else { name }
}

/// The file that a request is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Descriptor(i32),
    File(FileKey),
    /// Its descriptor is being closed at this moment: any file.
    Unknown,
}

/// A record that was found. Its slot may be another's by now: `seq` tells.
#[derive(Clone, Copy)]
pub struct Record {
    pub place: &'static Slot,
    pub seq: u64,
    /// Of the place.
    pub index: usize,
}

impl Record {
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether it is of the iocb with this `name`.
    pub fn names(&self, object: u64) -> bool {
        self.object() == object
    }

    pub fn object(&self) -> u64 {
        self.place.object.load(Ordering::Relaxed)
    }

    /// Ends this very record; its place is still occupied. False: somebody else has.
    pub fn end(&self) -> bool {
        self.place.seq.compare_exchange(self.seq, ENDED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Notes that a deferred sync depends on it: those of its file that are deferred later wait for that sync, and need not list it
    /// again. False: it was noted before. Under the lock of the deferred syncs.
    pub fn list(&self) -> bool {
        self.place.listed.swap(self.seq, Ordering::Relaxed) != self.seq
    }

    /// No sync depends on it any more.
    pub fn unlist(&self) {
        self.place.listed.store(ENDED, Ordering::Relaxed);
    }

    pub fn is_older_than(&self, seq: u64) -> bool {
        self.seq < seq
    }

    pub fn has_ended(&self) -> bool {
        // Acquire: whoever sees it ended sees its event.
        self.place.seq.load(Ordering::Acquire) != self.seq
    }
}

impl Slot {
    pub fn set(&self, on: Target) {
        match on {
            Target::Descriptor(fd) => self.fd.store(fd, Ordering::Relaxed),
            Target::Unknown => self.fd.store(CLOSING, Ordering::Relaxed),
            Target::File(FileKey { device, inode }) => {
                self.device.store(device, Ordering::Relaxed);
                self.inode.store(inode, Ordering::Relaxed);
                // Release: whoever finds it closed finds the file.
                self.fd.store(CLOSED, Ordering::Release);
            }
        }
    }

    /// Whether this is on the descriptor; then nobody else changes that now.
    pub fn claim_number(&self, fd: i32) -> bool {
        self.fd.compare_exchange(fd, CLOSING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub fn on(&self) -> Target {
        match self.fd.load(Ordering::Acquire) {
            CLOSING => Target::Unknown,
            CLOSED => {
                let (device, inode) = (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed));
                Target::File(FileKey { device, inode })
            }
            fd => Target::Descriptor(fd),
        }
    }
}

/// The places where a record may be and their indices, nearest first.
pub fn probe(places: &'static [Slot], object: u64) -> impl Iterator<Item = (usize, &'static Slot)> {
    let start = if places.is_empty() { 0 } else { mix(object) % places.len() };
    let (before, from) = places.split_at(start);
    (start..).zip(from).chain((0..).zip(before))
}
