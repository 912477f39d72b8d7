//! A disk with a volatile cache, in a process of its own: a FUSE file system whose one file, `disk`, records each write when
//! it is answered, and each flush with what it covers. Many writes are in flight at once, and end in any order.
//!
//! A process of its own, because whoever uses a disk may wait for it in the kernel where no signal reaches: were they one
//! process, it could not be killed. And it must not wait for itself when memory is short (see `become_a_disk`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, Session, WriteFlags,
};

use crate::random::Random;
use crate::record::{PAGE, Recorder};

pub const NAME: &str = "disk";
/// From <linux/prctl.h>.
const PR_SET_IO_FLUSHER: libc::c_int = 57;
const INODE: INodeNo = INodeNo(2);
/// An alarm then ends the process, and every use of the disk with an error.
const MOST_SECONDS: libc::c_uint = 180;
/// Answers may be kept: nothing changes behind the kernel's back.
const FOR_EVER: Duration = Duration::from_secs(1 << 20);

enum Work {
    Write { offset: u64, data: Vec<u8>, reply: ReplyWrite },
    Flush { covers: u64, reply: ReplyEmpty },
}

/// Ordered by when it is due.
struct Due {
    at: Instant,
    number: u64,
    work: Work,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct State {
    content: Vec<u8>,
    queue: BinaryHeap<Reverse<Due>>,
    arrived: u64,
    random: Random,
}

struct Disk {
    recorder: Recorder,
    state: Mutex<State>,
    more: Condvar,
}

impl Disk {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing keeps its order, and some take long: what an fsync did not wait for is then still under way.
    fn arrive(&self, delay: u32, work: Work) {
        let mut state = self.lock();
        let most = u64::from(delay) * if state.random.below(8) == 0 { 20 } else { 2 };
        let delay = state.random.below(most + 1);
        state.arrived += 1;
        let number = state.arrived;
        state.queue.push(Reverse(Due { at: Instant::now() + Duration::from_micros(delay), number, work }));
        drop(state);
        self.more.notify_one();
    }

    /// Ends what is due, for ever. The record is this thread's alone.
    fn serve(&self) {
        let mut end = PAGE;
        loop {
            let work = self.next();
            match work {
                Work::Write { offset, data, reply } => match self.write(end, offset, &data) {
                    Ok(longer) => {
                        end = longer;
                        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
                    }
                    Err(error) => reply.error(error.into()),
                },
                Work::Flush { covers, reply } => match self.recorder.flush(end, covers) {
                    Ok(longer) => {
                        end = longer;
                        reply.ok();
                    }
                    Err(error) => reply.error(error.into()),
                },
            }
        }
    }

    fn next(&self) -> Work {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let due = state.queue.peek().map(|Reverse(due)| due.at);
            state = match due {
                None => self.more.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) if at > now => {
                    self.more.wait_timeout(state, at - now).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => match state.queue.pop() {
                    Some(Reverse(due)) => return due.work,
                    None => state,
                },
            };
        }
    }

    fn write(&self, end: u64, offset: u64, data: &[u8]) -> io::Result<u64> {
        let mut state = self.lock();
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let room = state.content.get_mut(at..).and_then(|rest| rest.get_mut(..data.len()));
        room.ok_or(io::Error::from_raw_os_error(libc::ENOSPC))?.copy_from_slice(data);
        drop(state);
        self.recorder.write(end, offset, data)
    }
}

struct Served(Arc<Disk>);

impl Served {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let size = self.0.lock().content.len() as u64;
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if inode == INODE { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let error = |_| io::Error::other("not to be had of this kernel");
        // Or the loop device has one write in flight.
        config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).map_err(error)?;
        let _ = config.set_max_background(128);
        let _ = config.set_congestion_threshold(128);
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == NAME {
            true => reply.entry(&FOR_EVER, &self.attributes(INODE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(1), flags | FopenFlags::FOPEN_NOFLUSH);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.0.lock();
        let rest = usize::try_from(offset).ok().and_then(|at| state.content.get(at..)).unwrap_or_default();
        reply.data(rest.get(..size as usize).unwrap_or(rest));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.0.arrive(self.0.recorder.write_delay(), Work::Write { offset, data: data.to_vec(), reply });
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let covers = self.0.recorder.position();
        self.0.arrive(self.0.recorder.flush_delay(), Work::Flush { covers, reply });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// Memory that this process asks for must not be waited for by writing to a file system that waits for this process. Not
/// everywhere permitted to root; then it is a matter of luck, and of the few megabytes that are ever dirty here. Whatever
/// happens, whoever waits for this disk does not wait for ever.
fn become_a_disk() {
    // SAFETY: system calls without pointers.
    unsafe {
        libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
        libc::alarm(MOST_SECONDS);
    }
}

/// The disk's process: until it is unmounted. It says so on stdout when it is mounted.
pub fn run(directory: &Path, record: &Path, bytes: usize, seed: u64) -> io::Result<()> {
    become_a_disk();
    let state = State { content: vec![0; bytes], queue: BinaryHeap::new(), arrived: 0, random: Random::new(seed) };
    let disk = Arc::new(Disk { recorder: Recorder::open(record)?, state: Mutex::new(state), more: Condvar::new() });
    let served = disk.clone();
    std::thread::spawn(move || served.serve());
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("aio_rs_disk".into()), MountOption::RW];
    let session = Session::new(Served(disk), directory, &config)?;
    println!("mounted");
    io::stdout().flush()?;
    session.run()
}
