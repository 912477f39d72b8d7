//! The record of what a disk was asked for. A page at its beginning is shared with the disk's process and the client's;
//! the entries follow. The file needs no name that outlives the test and is no bigger than what was written.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub const PAGE: u64 = 4096;
/// A record that reaches it is no proof of anything: the disk then fails writes.
const MOST_BYTES: u64 = 1 << 30;
/// An entry is three words: its kind, the offset on the disk or what a flush covers, and the length of the data behind it.
const ENTRY: usize = 24;
const WRITE: u64 = 1;
const FLUSH: u64 = 2;

/// The client reads the first word: client.c has it as `position`.
#[repr(C)]
struct Page {
    /// Entries so far.
    position: AtomicU64,
    /// What a write and a flush take, in microseconds.
    write_delay: AtomicU32,
    flush_delay: AtomicU32,
}

/// The record while it is made, as each process that has a part in it sees it.
pub struct Recorder {
    file: File,
    page: *const Page,
}

// SAFETY: the page is all atomics, mapped for the life of the process, and a File may be used by every thread.
unsafe impl Send for Recorder {}
// SAFETY: as above.
unsafe impl Sync for Recorder {}

impl Recorder {
    pub fn open(path: &Path) -> io::Result<Recorder> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < PAGE {
            file.set_len(PAGE)?;
        }
        let flags = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; it replaces nothing.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, flags, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Recorder { file, page: page.cast() })
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped by `open`, never unmapped, as long as the file is, and valid with all bits zero.
        unsafe { &*self.page }
    }

    pub fn position(&self) -> u64 {
        self.page().position.load(Ordering::Acquire)
    }

    pub fn set_delays(&self, write: u32, flush: u32) {
        self.page().write_delay.store(write, Ordering::Relaxed);
        self.page().flush_delay.store(flush, Ordering::Relaxed);
    }

    pub fn write_delay(&self) -> u32 {
        self.page().write_delay.load(Ordering::Relaxed)
    }

    pub fn flush_delay(&self) -> u32 {
        self.page().flush_delay.load(Ordering::Relaxed)
    }

    /// Appends a write at `end`, the length of the record; the new length. For one thread of one process.
    pub fn write(&self, end: u64, offset: u64, data: &[u8]) -> io::Result<u64> {
        if end > MOST_BYTES {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.append(end, [WRITE, offset, data.len() as u64], data)
    }

    /// Appends a flush that covers the entries before `covers`.
    pub fn flush(&self, end: u64, covers: u64) -> io::Result<u64> {
        self.append(end, [FLUSH, covers, 0], &[])
    }

    fn append(&self, end: u64, head: [u64; 3], data: &[u8]) -> io::Result<u64> {
        let head: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let behind = end + head.len() as u64;
        self.file.write_all_at(&head, end)?;
        self.file.write_all_at(data, behind)?;
        self.page().position.fetch_add(1, Ordering::Release);
        Ok(behind + data.len() as u64)
    }
}

pub enum Entry<'a> {
    Write { offset: u64, data: &'a [u8] },
    Flush { covers: usize },
}

/// A record that is complete.
pub struct Record {
    bytes: Vec<u8>,
    /// Where each entry begins.
    starts: Vec<usize>,
}

impl Record {
    pub fn read(path: &Path) -> io::Result<Record> {
        let bytes = std::fs::read(path)?;
        let mut starts = Vec::new();
        let mut at = PAGE as usize;
        while let Some(head) = head(&bytes, at) {
            starts.push(at);
            at += ENTRY + head[2] as usize;
        }
        Ok(Record { bytes, starts })
    }

    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn entries(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = Entry<'_>> {
        self.starts[range].iter().map(|&at| self.entry(at))
    }

    fn entry(&self, at: usize) -> Entry<'_> {
        match head(&self.bytes, at).expect("an entry") {
            [WRITE, offset, length] => {
                Entry::Write { offset, data: &self.bytes[at + ENTRY..at + ENTRY + length as usize] }
            }
            [FLUSH, covers, _] => Entry::Flush { covers: covers as usize },
            other => panic!("no entry: {other:?}"),
        }
    }
}

fn head(bytes: &[u8], at: usize) -> Option<[u64; 3]> {
    let bytes = bytes.get(at..at + ENTRY)?;
    let word = |index: usize| u64::from_ne_bytes(bytes[index * 8..][..8].try_into().expect("eight bytes"));
    Some([word(0), word(1), word(2)])
}
