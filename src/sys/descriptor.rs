//! What a descriptor is, and the calls that close one, which the library wraps.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use libc::c_int;
#[cfg(target_os = "linux")]
use libc::c_uint;

use crate::sys::errno::{Errno, Result, check};
use crate::sys::inode::{Fields, Inode, inode};
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::sys::next;

/// The flag of descriptors that bypass the page cache; 0 where there is none.
pub const DIRECT: c_int = {
    #[cfg(target_os = "nto")]
    {
        0
    }
    #[cfg(not(target_os = "nto"))]
    {
        libc::O_DIRECT
    }
};

/// Closes a descriptor of the library's own. No cancellation point.
pub fn close_quietly(fd: c_int) {
    #[cfg(target_os = "linux")]
    // SAFETY: the descriptor is the library's own.
    unsafe {
        libc::syscall(libc::SYS_close, fd)
    };
    #[cfg(not(target_os = "linux"))]
    let _ = crate::sys::cancellation::put_off(|| close(fd));
}

/// The kinds of file that requests treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdKind {
    /// Read and written at offsets.
    File,
    Socket,
    /// From pipe(2), or a FIFO.
    Pipe,
    /// Anything else without offsets, such as a terminal or an eventfd. May block for ever.
    Stream,
}

/// A descriptor at the moment of a submission.
#[derive(Clone, Copy)]
pub struct Description {
    pub fd_kind: FdKind,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// The file status flags: access mode, O_APPEND, O_NONBLOCK.
    pub flags: c_int,
}

/// Takes the place of the device number for a block device itself, whose nodes may lie on several file systems.
const DEVICE_NODES: u64 = u64::MAX;

impl Description {
    /// Whether the kernel runs buffered writes of this file one after the other, under the inode's lock. All file systems that
    /// lie on a block device do, and those have a major device number that is not 0. Of the others some do (tmpfs, btrfs) and
    /// some do not (FUSE, 9p).
    pub fn serializes_writes(&self) -> bool {
        #[cfg(target_os = "linux")]
        let on_a_disk = self.device != DEVICE_NODES && libc::major(self.device) != 0;
        #[cfg(not(target_os = "linux"))]
        let on_a_disk = false;
        self.fd_kind == FdKind::File && on_a_disk
    }

    pub fn readable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_WRONLY
    }

    pub fn writable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }
}

/// The file status flags. Error: EBADF.
pub fn flags(fd: c_int) -> Result<c_int> {
    // SAFETY: F_GETFL takes no further argument.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    #[cfg(target_os = "linux")]
    if flags & libc::O_PATH != 0 {
        return Err(Errno::BADF);
    }
    Ok(flags)
}

/// Describes a descriptor whose status flags are `flags`; `size` is 0 unless `fields` asks for it. Error: EBADF.
pub fn describe(fd: c_int, flags: c_int, fields: Fields) -> Result<Description> {
    let found = inode(fd, fields)?;
    let (device, inode) = identity_of(&found);
    Ok(Description {
        fd_kind: fd_kind(fd, found.mode),
        device,
        inode,
        size: if fields == Fields::IdentityAndSize { u64::try_from(found.size).unwrap_or(0) } else { 0 },
        flags,
    })
}

/// Two numbers that identify a file. Two nodes of one block device are one file. (Files without an inode of their own, such as
/// eventfds, share one pair.)
fn identity_of(found: &Inode) -> (u64, u64) {
    let device_node = found.mode & libc::S_IFMT == libc::S_IFBLK;
    if device_node { (DEVICE_NODES, found.node_of) } else { (found.device, found.number) }
}

/// Whether a descriptor still refers to the file that `describe` has reported these two numbers for.
pub fn is_still(fd: c_int, device: u64, number: u64) -> bool {
    inode(fd, Fields::Identity).is_ok_and(|found| identity_of(&found) == (device, number))
}

/// Whether the file may have pages in the page cache. Error: EBADF.
pub fn has_pages(fd: c_int) -> Result<bool> {
    Ok(matches!(inode(fd, Fields::Identity)?.mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFBLK))
}

/// The size of a regular file.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub fn regular_size(fd: c_int) -> Option<i64> {
    inode(fd, Fields::IdentityAndSize)
        .ok()
        .filter(|found| found.mode & libc::S_IFMT == libc::S_IFREG)
        .map(|found| found.size)
}

fn fd_kind(fd: c_int, mode: libc::mode_t) -> FdKind {
    match mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFBLK | libc::S_IFDIR => FdKind::File,
        libc::S_IFSOCK => FdKind::Socket,
        libc::S_IFIFO => FdKind::Pipe,
        // A character device may have offsets (/dev/zero) or not (a terminal).
        // SAFETY: passes numbers only, and does not move the offset.
        libc::S_IFCHR if unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) } != -1 => FdKind::File,
        _ => FdKind::Stream,
    }
}

pub fn is_open(fd: c_int) -> bool {
    // SAFETY: F_GETFD takes no further argument.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Whether a descriptor is an eventfd, by its link in /proc. Without /proc: whether it is open.
#[cfg(libaio)]
pub fn is_eventfd(fd: c_int) -> bool {
    use std::io::Write;

    let mut path = [0u8; 32];
    let _ = write!(path.as_mut_slice(), "/proc/self/fd/{fd}");
    let mut target = [0u8; 32];
    // SAFETY: the path ends in NUL, and `target` is as long as the call is told.
    let length = unsafe { libc::readlink(path.as_ptr().cast(), target.as_mut_ptr().cast(), target.len()) };
    let target = usize::try_from(length).ok().and_then(|length| target.get(..length));
    target.map_or_else(|| is_open(fd), |target| target.starts_with(b"anon_inode:[eventfd]"))
}

/// A count too small for a read of an eventfd, which fails with EINVAL.
#[cfg(libaio)]
pub const TOO_FEW: libc::c_ulong = 1;

/// Runs `act` in a new thread, with an eventfd that is only in that thread's descriptor table: in the program's table it
/// would take the number that the program's next open should get. Returns when it has ended. None: no thread, or no eventfd.
#[cfg(libaio)]
pub fn apart<T>(act: impl FnOnce(c_int) -> T) -> Option<T> {
    use std::ffi::c_void;
    use std::sync::atomic::AtomicBool;

    struct Task<A, T> {
        act: Option<A>,
        result: Option<T>,
        done: *const AtomicBool,
    }
    extern "C-unwind" fn run<A: FnOnce(c_int) -> T, T>(task: *mut c_void) -> *mut c_void {
        // SAFETY: the task lies in the frame of `apart`, which does not touch it until `done` is set.
        let Some(task) = (unsafe { task.cast::<Task<A, T>>().as_mut() }) else { return std::ptr::null_mut() };
        leave_table();
        if let Some(act) = task.act.take()
            // SAFETY: passes numbers only.
            && let Ok(fd) = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
        {
            task.result = Some(act(fd));
            close_quietly(fd);
        }
        // SAFETY: as above; this is the last use of the task.
        unsafe { (*task.done).store(true, Ordering::Release) };
        std::ptr::null_mut()
    }
    fn run_of<A: FnOnce(c_int) -> T, T>(_: &Task<A, T>) -> super::thread::Main {
        run::<A, T>
    }

    let done = AtomicBool::new(false);
    let mut task = Task { act: Some(act), result: None, done: &raw const done };
    super::thread::spawn(run_of(&task), (&raw mut task).cast()).ok()?;
    let mut pause = super::thread::Pause::new();
    while !done.load(Ordering::Acquire) {
        pause.once();
    }
    task.result
}

/// Gives the calling thread, one of the library's, a descriptor table of its own: an empty one since Linux 5.9, before that a
/// copy of the program's. If a sandbox forbids both, the thread keeps the program's table: a number that is taken for a
/// moment is a smaller evil than an event that never comes.
#[cfg(libaio)]
fn leave_table() {
    // SAFETY: CLOSE_RANGE_UNSHARE copies the table first and closes the copies, which no other thread uses.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, libc::CLOSE_RANGE_UNSHARE) != 0 {
            libc::unshare(libc::CLONE_FILES);
        }
    }
}

/// Duplicates a descriptor to a high number, so that the program's next `open` gets the lowest free one, as it may expect.
/// Errors: EMFILE.
pub fn duplicate(fd: c_int) -> Result<c_int> {
    const HIGH: c_int = 512;
    /// So far below the limit of the process, if that is lower.
    const BELOW_LIMIT: libc::rlim_t = 16;
    let duplicate = |lowest: c_int| {
        // SAFETY: F_DUPFD_CLOEXEC takes one int.
        check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) })
    };
    let at_the_top = |_| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: there is room for the limits.
        check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
        duplicate(c_int::try_from(limit.rlim_cur.saturating_sub(BELOW_LIMIT)).unwrap_or(0).max(3))
    };
    duplicate(HIGH).or_else(at_the_top).or_else(|_| duplicate(3))
}

/// A record of the duplicates that the library has made of descriptors that the program closed. It is without a lock, so that
/// a child of fork can close its copies: there a lock may be held for ever. Each is recorded with its file, because the
/// program may close every number there is and open files of its own under them.
pub struct Duplicates([Duplicate; Duplicates::MOST]);

struct Duplicate {
    fd: AtomicI32,
    file: AtomicU64,
}

impl Duplicates {
    /// Further duplicates are not recorded: they stay open in a child until it calls exec.
    const MOST: usize = 128;
    const NONE: c_int = -1;

    pub const fn new() -> Duplicates {
        Duplicates(
            [const { Duplicate { fd: AtomicI32::new(Duplicates::NONE), file: AtomicU64::new(0) } }; Duplicates::MOST],
        )
    }

    /// Makes and records a duplicate. Errors: EMFILE.
    pub fn make(&self, fd: c_int) -> Result<c_int> {
        let duplicate = duplicate(fd)?;
        if let Some(place) = self.replace(Duplicates::NONE, duplicate) {
            place.file.store(file_of(duplicate), Ordering::Relaxed);
        }
        Ok(duplicate)
    }

    /// Closes a duplicate, unless its number stands for another file now.
    pub fn close(&self, duplicate: c_int) {
        let place = self.replace(duplicate, Duplicates::NONE);
        if place.is_none_or(|place| place.file.load(Ordering::Relaxed) == file_of(duplicate)) {
            close_quietly(duplicate);
        }
    }

    /// Removes a duplicate from the record: the program is giving its number to a descriptor of its own.
    pub fn forget(&self, duplicate: c_int) {
        self.replace(duplicate, Duplicates::NONE);
    }

    /// In a child of fork: closes its copies of the parent's duplicates.
    pub fn close_all(&self) {
        for place in &self.0 {
            let duplicate = place.fd.swap(Duplicates::NONE, Ordering::Relaxed);
            if duplicate != Duplicates::NONE && place.file.load(Ordering::Relaxed) == file_of(duplicate) {
                close_quietly(duplicate);
            }
        }
    }

    /// The entry that was `old` and is `new` now. None: there was none.
    fn replace(&self, old: c_int, new: c_int) -> Option<&Duplicate> {
        let swap =
            |place: &&Duplicate| place.fd.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.0.iter().find(swap)
    }
}

/// A number that identifies the file behind a descriptor. (Files without an inode of their own share one.)
fn file_of(fd: c_int) -> u64 {
    inode(fd, Fields::Identity).map_or(0, |found| found.number ^ found.device.rotate_left(32))
}

/// Moves a new descriptor to a high number, see `duplicate`. If there is none, it stays.
pub fn out_of_the_way(fd: c_int) -> c_int {
    match duplicate(fd) {
        Ok(moved) => {
            close_quietly(fd);
            moved
        }
        Err(_) => fd,
    }
}

// The C library's own functions, under names that this library does not define. Cancellation points, and so are the functions
// below.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C-unwind" {
    fn __close(fd: c_int) -> c_int;
    fn __dup2(old: c_int, new: c_int) -> c_int;
    fn _IO_fclose(stream: *mut libc::FILE) -> c_int;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type OfStream = unsafe extern "C-unwind" fn(*mut libc::FILE) -> c_int;

/// close, as the next object in the search order defines it (`next`).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn close(fd: c_int) -> Result<c_int> {
    type Close = unsafe extern "C-unwind" fn(c_int) -> c_int;
    // SAFETY: the symbol is POSIX's close.
    let close = next::CLOSE
        .get()
        .map_or(__close as Close, |found| unsafe { std::mem::transmute::<*mut libc::c_void, Close>(found) });
    // SAFETY: passes a number; the caller answers for closing it.
    check(unsafe { close(fd) })
}

/// dup2, likewise.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn dup2(old: c_int, new: c_int) -> Result<c_int> {
    type Dup2 = unsafe extern "C-unwind" fn(c_int, c_int) -> c_int;
    // SAFETY: the symbol is POSIX's dup2.
    let dup2 = next::DUP2
        .get()
        .map_or(__dup2 as Dup2, |found| unsafe { std::mem::transmute::<*mut libc::c_void, Dup2>(found) });
    // SAFETY: as in `close`.
    check(unsafe { dup2(old, new) })
}

/// fclose, likewise.
///
/// # Safety
/// `stream` is an open stream, which the call ends.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub unsafe fn fclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: the caller passes an open stream.
    unsafe { of_stream(&next::FCLOSE)(stream) }
}

/// pclose, likewise. (glibc's pclose is its fclose under another name.)
///
/// # Safety
/// `stream` is popen's, which the call ends.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub unsafe fn pclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: the caller passes an open stream.
    unsafe { of_stream(&next::PCLOSE)(stream) }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn of_stream(next: &next::Next) -> OfStream {
    // SAFETY: `next` is fclose or pclose, which have this type.
    next.get()
        .map_or(_IO_fclose as OfStream, |found| unsafe { std::mem::transmute::<*mut libc::c_void, OfStream>(found) })
}

/// closedir, likewise.
///
/// # Safety
/// `directory` is NULL or an open directory stream, which the call ends.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub unsafe fn closedir(directory: *mut libc::DIR) -> c_int {
    type CloseDir = unsafe extern "C-unwind" fn(*mut libc::DIR) -> c_int;
    let found = next::CLOSEDIR.get().unwrap_or_else(next::own_closedir);
    // SAFETY: the symbol is POSIX's closedir; a pointer that may be NULL is an `Option` of a function.
    let known: Option<CloseDir> = unsafe { std::mem::transmute(found) };
    let Some(closedir) = known else {
        Errno(libc::ENOSYS).set();
        return -1;
    };
    // SAFETY: the caller passes NULL or an open directory stream.
    unsafe { closedir(directory) }
}

/// dup3. No cancellation point.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn dup3(old: c_int, new: c_int, flags: c_int) -> Result<c_int> {
    type Dup3 = unsafe extern "C-unwind" fn(c_int, c_int, c_int) -> c_int;
    match next::DUP3.get() {
        // SAFETY: the symbol is Linux's dup3; else as in `close`.
        Some(found) => check(unsafe { std::mem::transmute::<*mut libc::c_void, Dup3>(found)(old, new, flags) }),
        // SAFETY: as in `close`.
        None => checked_int(unsafe { libc::syscall(libc::SYS_dup3, old, new, flags) }),
    }
}

/// close_range. Errors: ENOSYS before Linux 5.9.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn close_range(first: c_uint, last: c_uint, flags: c_uint) -> Result<c_int> {
    type CloseRange = unsafe extern "C-unwind" fn(c_uint, c_uint, c_int) -> c_int;
    match next::CLOSE_RANGE.get() {
        // SAFETY: the symbol is Linux's close_range; else as in `close`.
        Some(found) => check(unsafe {
            std::mem::transmute::<*mut libc::c_void, CloseRange>(found)(first, last, flags.cast_signed())
        }),
        // SAFETY: as in `close`.
        None => checked_int(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }),
    }
}

#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
pub fn close(fd: c_int) -> Result<c_int> {
    // SAFETY: passes a number; the caller answers for closing it.
    checked_int(unsafe { libc::syscall(libc::SYS_close, fd) })
}

#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
pub fn dup2(old: c_int, new: c_int) -> Result<c_int> {
    if old == new {
        return if is_open(old) { Ok(new) } else { Err(Errno::BADF) };
    }
    dup3(old, new, 0)
}

/// dup3, by the system call: only glibc has another name for its own. No cancellation point.
#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
pub fn dup3(old: c_int, new: c_int, flags: c_int) -> Result<c_int> {
    // SAFETY: as in `close`.
    checked_int(unsafe { libc::syscall(libc::SYS_dup3, old, new, flags) })
}

/// close_range. Errors: ENOSYS before Linux 5.9.
#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
pub fn close_range(first: c_uint, last: c_uint, flags: c_uint) -> Result<c_int> {
    // SAFETY: as in `close`.
    checked_int(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })
}

#[cfg(target_os = "linux")]
fn checked_int(returned: libc::c_long) -> Result<c_int> {
    check(returned).map(|value| c_int::try_from(value).unwrap_or(0))
}

/// The C library's close: the next in the search order.
#[cfg(not(target_os = "linux"))]
pub fn close(fd: c_int) -> Result<c_int> {
    type Close = unsafe extern "C" fn(c_int) -> c_int;
    // SAFETY: the symbol is POSIX's close; a pointer that may be NULL is an `Option` of a function.
    let close: Option<Close> = unsafe { std::mem::transmute(next_symbol(c"close")) };
    // SAFETY: passes a number; the caller answers for closing it.
    close.map_or(Err(Errno(libc::ENOSYS)), |close| check(unsafe { close(fd) }))
}

/// The C library's dup2.
#[cfg(not(target_os = "linux"))]
pub fn dup2(old: c_int, new: c_int) -> Result<c_int> {
    type Dup2 = unsafe extern "C" fn(c_int, c_int) -> c_int;
    // SAFETY: the symbol is POSIX's dup2; as above.
    let dup2: Option<Dup2> = unsafe { std::mem::transmute(next_symbol(c"dup2")) };
    // SAFETY: as in `close`.
    dup2.map_or(Err(Errno(libc::ENOSYS)), |dup2| check(unsafe { dup2(old, new) }))
}

#[cfg(not(target_os = "linux"))]
fn next_symbol(name: &std::ffi::CStr) -> *mut libc::c_void {
    // SAFETY: the name is a C string.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

/// How many descriptors the process may have open now: all numbers are below that.
#[cfg(target_os = "linux")]
pub fn table_size() -> c_uint {
    // SAFETY: sysconf takes an int.
    c_uint::try_from(unsafe { libc::sysconf(libc::_SC_OPEN_MAX) }).unwrap_or(1024)
}
