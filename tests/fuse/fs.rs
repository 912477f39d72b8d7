//! A file system served by threads of the test: it holds, fails or shortens the operations it is told to,
//! and records when each one arrived and when it was answered, on one clock.
//!
//! File `K.N` is name N of file K. All names of a file report the same st_ino (they are one file, as hard
//! links are), yet each has an inode of its own in the kernel. FUSE takes the kernel inode's lock for a write
//! and for an fsync, so on one name the kernel itself makes an FSYNC wait for running WRITEs and would hide
//! an fsync that comes too early; across names, and for reads, nothing hides it.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CString, OsStr};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};

const NAMES_PER_FILE: u64 = 1000;
/// Writes that extend a file are serialised by the kernel: all but the appends stay below this. Of what is appended
/// nothing is kept, and the size stays the same.
pub const FILE_SIZE: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Read,
    Write,
    Fsync,
    Fdatasync,
}

impl Op {
    pub fn is_sync(self) -> bool {
        matches!(self, Op::Fsync | Op::Fdatasync)
    }
}

/// What to do with an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Answer only when told to.
    pub hold: bool,
    /// Answer with this error; 0 is success.
    pub errno: i32,
    /// Transfer at most this much.
    pub at_most: Option<u32>,
}

impl Rule {
    pub const HOLD: Rule = Rule { hold: true, errno: 0, at_most: None };

    pub fn fail(errno: i32) -> Rule {
        Rule { errno, ..Rule::default() }
    }

    pub fn hold_and_fail(errno: i32) -> Rule {
        Rule { errno, ..Rule::HOLD }
    }
}

/// One operation as the file system saw it; times are ticks of one clock.
#[derive(Clone, Debug)]
pub struct Record {
    pub op: Op,
    pub file: u64,
    pub name: u64,
    pub handle: u64,
    /// Of an append: the one it bears (see `appended`).
    pub offset: u64,
    pub length: u32,
    /// Where an append landed.
    pub appended_at: Option<u64>,
    pub errno: i32,
    pub arrived: u64,
    pub answered: Option<u64>,
    /// A write whose data is not what belongs at its offset, or an append's at the one it bears.
    pub bad_data: bool,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { op, file, name, handle, offset, length, errno, arrived, .. } = self;
        write!(f, "at {arrived:3} {op:?} of {file}.{name} (handle {handle}), {length} bytes at {offset}")?;
        self.appended_at.map_or(Ok(()), |at| write!(f, ", appended at {at}"))?;
        write!(f, ": ")?;
        match self.answered {
            Some(answered) => write!(f, "answered at {answered}, errno {errno}"),
            None => write!(f, "not answered"),
        }
    }
}

/// One record a line.
pub fn show(records: &[Record]) -> String {
    let lines = records.iter().map(|record| format!("  {record}\n"));
    std::iter::once("Operations as the file system saw them:\n".to_string()).chain(lines).collect()
}

enum Pending {
    Read(ReplyData),
    Write(ReplyWrite),
    Sync(ReplyEmpty),
}

#[derive(Default)]
pub struct State {
    clock: u64,
    pub records: Vec<Record>,
    held: HashMap<usize, (Pending, Rule)>,
    rules: HashMap<(u64, u64), Rule>,
    sync_rules: VecDeque<Rule>,
    sync_default: Rule,
    opens: u64,
    /// How often somebody asked for a file's attributes.
    pub asked: u64,
}

impl State {
    pub fn held(&self) -> Vec<usize> {
        let mut held: Vec<usize> = self.held.keys().copied().collect();
        held.sort_unstable();
        held
    }

    pub fn at(&self, file: u64, offset: u64) -> Option<usize> {
        self.records.iter().position(|r| !r.op.is_sync() && r.file == file && r.offset == offset)
    }

    pub fn syncs(&self) -> Vec<&Record> {
        self.records.iter().filter(|r| r.op.is_sync()).collect()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn answer(&mut self, index: usize, pending: Pending, rule: Rule) {
        let now = self.tick();
        let Some(record) = self.records.get_mut(index) else {
            return;
        };
        record.answered = Some(now);
        record.errno = rule.errno;
        let length = rule.at_most.unwrap_or(record.length).min(record.length);
        let failed = (rule.errno != 0).then(|| Errno::from_i32(rule.errno));
        match (pending, failed) {
            (Pending::Read(reply), Some(errno)) => reply.error(errno),
            (Pending::Write(reply), Some(errno)) => reply.error(errno),
            (Pending::Sync(reply), Some(errno)) => reply.error(errno),
            (Pending::Read(reply), None) => reply.data(&pattern(record.offset, length)),
            (Pending::Write(reply), None) => reply.written(length),
            (Pending::Sync(reply), None) => reply.ok(),
        }
    }
}

/// The bytes that belong at an offset, as `client.c` has them.
fn pattern(offset: u64, length: u32) -> Vec<u8> {
    (offset..offset.saturating_add(length.into()))
        .map(|at| ((at / 512).wrapping_mul(7).wrapping_add(1) & 0xff) as u8)
        .collect()
}

/// Where an append lands tells nothing, so its data begins with an offset like those of other writes: that offset, and
/// the data behind it.
fn appended(data: &[u8]) -> Option<(u64, &[u8])> {
    let (offset, rest) = data.split_first_chunk()?;
    Some((u64::from_ne_bytes(*offset), rest))
}

/// The state, and what the test does with it. Every answer is sent with the lock held: so an operation that
/// arrives because of an answer is recorded after it, and the clock tells the true order.
#[derive(Default)]
pub struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

impl Control {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment: later than all that was recorded so far, and than every other moment.
    pub fn now(&self) -> u64 {
        self.lock().tick()
    }

    /// Forgets all records and rules; nothing may be held.
    pub fn reset(&self) {
        let mut state = self.lock();
        assert!(state.held.is_empty(), "operations are still held");
        let opens = state.opens;
        *state = State { opens, ..State::default() };
    }

    /// What to do with the read or write at this offset of this file.
    pub fn rule(&self, file: u64, offset: u64, rule: Rule) {
        self.lock().rules.insert((file, offset), rule);
    }

    /// What to do with the next fsync that has no rule yet.
    pub fn next_sync(&self, rule: Rule) {
        self.lock().sync_rules.push_back(rule);
    }

    /// What to do with every fsync without a rule of its own.
    pub fn all_syncs(&self, rule: Rule) {
        self.lock().sync_default = rule;
    }

    pub fn wait(&self, limit: Duration, mut done: impl FnMut(&State) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while !done(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub fn release(&self, index: usize) {
        let mut state = self.lock();
        if let Some((pending, rule)) = state.held.remove(&index) {
            state.answer(index, pending, rule);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Answers the operation there, when it has arrived.
    pub fn release_at(&self, file: u64, offset: u64) {
        const PATIENCE: Duration = Duration::from_secs(60);
        self.wait(PATIENCE, |state| state.at(file, offset).is_some());
        let index = self.lock().at(file, offset);
        self.release(index.expect("an operation that has arrived"));
    }

    /// Answers all that is held and holds nothing from now on.
    pub fn release_all(&self) {
        let mut state = self.lock();
        state.rules.values_mut().for_each(|rule| rule.hold = false);
        state.sync_rules.iter_mut().for_each(|rule| rule.hold = false);
        state.sync_default.hold = false;
        for index in state.held() {
            if let Some((pending, rule)) = state.held.remove(&index) {
                state.answer(index, pending, rule);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Drops all that is held, unanswered: for a file system that is gone.
    fn forget_held(&self) {
        self.lock().held.clear();
    }

    fn arrive(&self, pending: Pending, mut record: Record) {
        let mut state = self.lock();
        record.arrived = state.tick();
        let rule = if record.op.is_sync() {
            state.sync_rules.pop_front().unwrap_or(state.sync_default)
        } else {
            state.rules.get(&(record.file, record.offset)).copied().unwrap_or_default()
        };
        let index = state.records.len();
        state.records.push(record);
        if rule.hold {
            state.held.insert(index, (pending, rule));
        } else {
            state.answer(index, pending, rule);
        }
        drop(state);
        self.changed.notify_all();
    }
}

struct Served(Arc<Control>);

fn file_of(inode: INodeNo) -> u64 {
    inode.0 / NAMES_PER_FILE
}

fn record(op: Op, inode: INodeNo, handle: FileHandle, offset: u64, length: u32) -> Record {
    Record {
        op,
        file: file_of(inode),
        name: inode.0 % NAMES_PER_FILE,
        handle: handle.0,
        offset,
        length,
        appended_at: None,
        errno: 0,
        arrived: 0,
        answered: None,
        bad_data: false,
    }
}

fn attributes(inode: u64, kind: FileType, perm: u16) -> FileAttr {
    FileAttr {
        ino: INodeNo(inode),
        size: FILE_SIZE,
        blocks: FILE_SIZE / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// "3.1" is name 1 of file 3; the inode number is 3001.
fn inode_of(name: &OsStr) -> Option<u64> {
    let (file, name) = name.to_str()?.split_once('.')?;
    let (file, name): (u64, u64) = (file.parse().ok()?, name.parse().ok()?);
    (file > 0 && name < NAMES_PER_FILE).then_some(file * NAMES_PER_FILE + name)
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Or io_submit waits for what it hands in.
        config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).map_err(|_| io::Error::other("no asynchronous direct I/O"))
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match inode_of(name) {
            Some(inode) => {
                reply.entry(&Duration::ZERO, &attributes(inode, FileType::RegularFile, 0o666), Generation(0))
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if inode == INodeNo::ROOT {
            return reply.attr(&Duration::ZERO, &attributes(1, FileType::Directory, 0o777));
        }
        self.0.lock().asked += 1;
        let shared = file_of(inode) * NAMES_PER_FILE;
        reply.attr(&Duration::ZERO, &attributes(shared, FileType::RegularFile, 0o666));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut state = self.0.lock();
        state.opens += 1;
        let handle = state.opens;
        drop(state);
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(handle), flags | FopenFlags::FOPEN_NOFLUSH);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.arrive(Pending::Read(reply), record(Op::Read, inode, handle, offset, size));
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let append = flags.0 & libc::O_APPEND != 0;
        let (known_by, rest) = appended(data).filter(|_| append).unwrap_or((offset, data));
        let mut record = record(Op::Write, inode, handle, known_by, length);
        record.appended_at = append.then_some(offset);
        record.bad_data = !pattern(known_by, length).ends_with(rest);
        self.0.arrive(Pending::Write(reply), record);
    }

    fn fsync(&self, _: &Request, inode: INodeNo, handle: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let op = if datasync { Op::Fdatasync } else { Op::Fsync };
        self.0.arrive(Pending::Sync(reply), record(op, inode, handle, 0, 0));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// The mounted file system. Unmounted when dropped, whatever still uses it.
pub struct Mounted {
    pub control: Arc<Control>,
    directory: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mounted {
    pub fn new() -> io::Result<Mounted> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        own_mounts();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuse-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let control = Arc::new(Control::default());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("aio_rs_test".into()), MountOption::RW];
        let session = fuser::spawn_mount(Served(control.clone()), &directory, &config)?;
        Ok(Mounted { control, directory, session: Some(session) })
    }

    pub fn path(&self, file: u64, name: u64) -> PathBuf {
        self.directory.join(format!("{file}.{name}"))
    }

    /// Takes the file system away from everybody who uses it: their calls fail. Needs privileges.
    pub fn abort(&self) -> io::Result<()> {
        unmount(&self.directory, libc::MNT_FORCE | libc::MNT_DETACH)
    }

    /// Takes the name away; what is open stays and works.
    pub fn detach(&self) -> io::Result<()> {
        unmount(&self.directory, libc::MNT_DETACH).or_else(|_| {
            let status = Command::new("fusermount3").args(["-u", "-q", "-z", "--"]).arg(&self.directory).status()?;
            if status.success() { Ok(()) } else { Err(io::Error::other(format!("fusermount3: {status}"))) }
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Already gone, perhaps.
        let _ = self.abort().or_else(|_| self.detach());
        self.control.release_all();
        self.control.forget_held();
        drop(self.session.take());
        let _ = std::fs::remove_dir(&self.directory);
    }
}

fn unmount(directory: &Path, flags: libc::c_int) -> io::Result<()> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: `path` is a C string that lives throughout the call.
    match unsafe { libc::umount2(path.as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the calling thread a mount namespace of its own, where it may: what it and its children mount is then
/// gone with them, even when they are killed.
fn own_mounts() {
    let root = c"/".as_ptr();
    // SAFETY: no memory is touched but the C string `root`, which is static; where either call is not permitted
    // it fails and changes nothing.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) == 0 {
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            libc::mount(std::ptr::null(), root, std::ptr::null(), flags, std::ptr::null());
        }
    }
}

/// Why these tests cannot run here, if they cannot.
pub fn unavailable() -> Option<String> {
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        return Some(format!("/dev/fuse: {error}"));
    }
    // SAFETY: geteuid only returns a number.
    if unsafe { libc::geteuid() } == 0 {
        return None;
    }
    match Command::new("fusermount3").arg("--version").output() {
        Ok(_) => None,
        Err(error) => Some(format!("fusermount3: {error}")),
    }
}
