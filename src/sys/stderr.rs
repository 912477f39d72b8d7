//! Messages on standard error. They are written only if descriptor 2 is still the file that the process started with: a program
//! that closes 2 gives the number to the next file it opens, and no message may go into that file.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use libc::c_int;

use crate::sys::errno::Errno;
use crate::sys::{inode, signals};

const STDERR: c_int = 2;

/// Tells a file from all others, even from a later one with the same inode number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// The time of birth, as precise as a timer tick; 0 if the file system has none.
    birth: u64,
    /// A digest of the file handle, which holds the generation of the inode; 0 if the file system has none.
    handle: u64,
    /// O_RDONLY, O_WRONLY or O_RDWR.
    access: c_int,
}

/// Whether the words below hold the `Identity` of 2 at load time: it was open, and no code of the program had run. Only the
/// constructor writes them; a child of fork inherits them together with the descriptor.
static KNOWN: AtomicBool = AtomicBool::new(false);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);
static BIRTH: AtomicU64 = AtomicU64::new(0);
static HANDLE: AtomicU64 = AtomicU64::new(0);
static ACCESS: AtomicU64 = AtomicU64::new(0);

/// Records what 2 is. Called before `main`.
pub fn at_load() {
    if !loaded_at_start() {
        return;
    }
    let Some(identity) = identity() else { return };
    DEVICE.store(identity.device, Ordering::Relaxed);
    INODE.store(identity.inode, Ordering::Relaxed);
    BIRTH.store(identity.birth, Ordering::Relaxed);
    HANDLE.store(identity.handle, Ordering::Relaxed);
    ACCESS.store(u64::from(identity.access.unsigned_abs()), Ordering::Relaxed);
    // Release: pairs with the load in `is_the_first`.
    KNOWN.store(true, Ordering::Release);
}

fn is_the_first() -> bool {
    let recorded = || {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let access = c_int::try_from(load(&ACCESS)).unwrap_or(-1);
        Identity { device: load(&DEVICE), inode: load(&INODE), birth: load(&BIRTH), handle: load(&HANDLE), access }
    };
    // Acquire: pairs with the store in `at_load`.
    KNOWN.load(Ordering::Acquire) && identity() == Some(recorded())
}

/// A library that dlopen loads cannot know what 2 was at the start. It may write to the controlling terminal, which is no
/// data file.
fn is_the_terminal() -> bool {
    // SAFETY: passes a number only.
    !KNOWN.load(Ordering::Acquire) && unsafe { libc::tcgetsid(STDERR) } > 0
}

/// How long a message may wait for a reader of a full pipe, in milliseconds.
pub const NOT_AT_ALL: c_int = 0;
pub const AT_EXIT: c_int = 1_000;

/// Writes a message, or drops it if 2 has become another file, or takes no data for so many milliseconds. Keeps errno, raises
/// no signal, and is no cancellation point.
pub fn write(text: &[u8], patience: c_int) {
    let errno = Errno::last();
    if is_the_first() || is_the_terminal() {
        signals::without_those_of_write(|| write_all(text, patience));
    }
    errno.set();
}

fn write_all(text: &[u8], patience: c_int) -> Option<Errno> {
    // A pipe that poll reports as writable takes PIPE_BUF bytes without blocking.
    for mut rest in text.chunks(libc::PIPE_BUF) {
        while !rest.is_empty() {
            if !takes_data(patience) {
                return None;
            }
            match write_some(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(error) => return Some(error),
            }
        }
    }
    None
}

#[cfg(target_os = "linux")]
fn takes_data(patience: c_int) -> bool {
    let mut query = libc::pollfd { fd: STDERR, events: libc::POLLOUT, revents: 0 };
    let mut limit = crate::sys::clock::to_timespec(u64::from(patience.unsigned_abs()) * crate::sys::clock::MILLISECOND);
    // SAFETY: one pollfd, a timespec, and no signal mask. The C library's poll would be a cancellation point.
    let ready = unsafe {
        libc::syscall(
            libc::SYS_ppoll,
            &raw mut query,
            1usize,
            &raw mut limit,
            std::ptr::null::<libc::sigset_t>(),
            0usize,
        )
    };
    ready == 1
}

#[cfg(target_os = "linux")]
fn write_some(text: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length are one slice's. The C library's write would be a cancellation point.
    let count = unsafe { libc::syscall(libc::SYS_write, STDERR, text.as_ptr(), text.len()) };
    usize::try_from(count).map_err(|_| Errno::last())
}

#[cfg(not(target_os = "linux"))]
fn takes_data(patience: c_int) -> bool {
    let mut query = libc::pollfd { fd: STDERR, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd.
    crate::sys::cancellation::put_off(|| unsafe { libc::poll(&raw mut query, 1, patience) }) == 1
}

#[cfg(not(target_os = "linux"))]
fn write_some(text: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length are one slice's.
    let count = crate::sys::cancellation::put_off(|| unsafe { libc::write(STDERR, text.as_ptr().cast(), text.len()) });
    usize::try_from(count).map_err(|_| Errno::last())
}

/// None: 2 is not open.
fn identity() -> Option<Identity> {
    // SAFETY: F_GETFL takes no further argument.
    let flags = unsafe { libc::fcntl(STDERR, libc::F_GETFL) };
    let (device, inode, birth) = (flags != -1).then(file)??;
    Some(Identity { device, inode, birth, handle: handle(), access: flags & libc::O_ACCMODE })
}

/// Device, inode, and the time of birth.
#[cfg(target_os = "linux")]
fn file() -> Option<(u64, u64, u64)> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // Does not ask the server of a network file system: this must not wait.
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let mask = libc::STATX_INO | libc::STATX_BTIME;
    // SAFETY: the path is a C string, `found` has room for one statx, and a statx of zeros is valid.
    let found = unsafe {
        if libc::syscall(libc::SYS_statx, STDERR, c"".as_ptr(), flags, mask, found.as_mut_ptr()) != 0 {
            return by_fstat();
        }
        found.assume_init()
    };
    let birth = found.stx_btime.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(i64::from(found.stx_btime.tv_nsec));
    Some((libc::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino, birth.cast_unsigned()))
}

#[cfg(not(target_os = "linux"))]
fn file() -> Option<(u64, u64, u64)> {
    by_fstat()
}

fn by_fstat() -> Option<(u64, u64, u64)> {
    inode::by_fstat(STDERR).ok().map(|found| (found.device, found.number, 0))
}

/// A digest of the handle by which the file system would find this file again, and no later one with its inode number. 0: the
/// file system has no handles.
#[cfg(target_os = "linux")]
fn handle() -> u64 {
    const MOST: usize = 128;
    /// struct file_handle.
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: c_int,
        data: [u8; MOST],
    }
    let mut handle = Handle { bytes: 128, kind: 0, data: [0; MOST] };
    let mut mount: c_int = 0;
    let (place, path) = (&raw mut handle, c"".as_ptr());
    // SAFETY: the path is a C string, the handle has as much room as it says.
    if unsafe { libc::syscall(libc::SYS_name_to_handle_at, STDERR, path, place, &raw mut mount, libc::AT_EMPTY_PATH) }
        != 0
    {
        return 0;
    }
    // FNV-1a.
    handle
        .data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |digest, &byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(not(target_os = "linux"))]
fn handle() -> u64 {
    0
}

/// Whether the library was loaded before `main`: it is part of the program itself, or was loaded together with it.
#[cfg(target_os = "linux")]
fn loaded_at_start() -> bool {
    // SAFETY: getauxval takes a number.
    let (program, linker) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_BASE)) };
    let mut search = Search { program, linker, first: true, found: None };
    // SAFETY: `visit` takes a `Search`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.found == Some(true)
}

/// On other systems the library is always linked statically.
#[cfg(not(target_os = "linux"))]
fn loaded_at_start() -> bool {
    true
}

/// A search through the loaded objects, which dl_iterate_phdr reports in the order of loading: the program, the objects that
/// it needs or LD_PRELOAD names, what those need (among it the dynamic linker, which libc needs), and then those that dlopen
/// has loaded. So the library was loaded with the program if it comes before the dynamic linker.
#[cfg(target_os = "linux")]
struct Search {
    /// The address of the program's headers.
    program: libc::c_ulong,
    /// The base of the dynamic linker; 0 in a static program.
    linker: libc::c_ulong,
    /// No object has been looked at yet.
    first: bool,
    /// The answer, once it is known.
    found: Option<bool>,
}

#[cfg(target_os = "linux")]
unsafe extern "C" fn visit(object: *mut libc::dl_phdr_info, _: libc::size_t, search: *mut libc::c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes an object that is loaded, and the `Search` of `loaded_at_start`.
    let (search, object) = unsafe { (&mut *search.cast::<Search>(), &*object) };
    let is_program = object.dlpi_phdr.addr() as u64 == search.program;
    // In a namespace of dlmopen the first object is not the program.
    let answer = match (search.first, is_program) {
        (true, false) => Some(false),
        (_, true) if is_ours(object) => Some(true),
        _ if is_program => None,
        _ if search.linker != 0 && object.dlpi_addr == search.linker => Some(false),
        _ if is_ours(object) => Some(search.linker != 0),
        _ => None,
    };
    search.first = false;
    search.found = answer;
    c_int::from(answer.is_some())
}

/// Whether the library lies in this object.
#[cfg(target_os = "linux")]
fn is_ours(object: &libc::dl_phdr_info) -> bool {
    let here = (&raw const KNOWN).addr() as u64;
    let mut headers = (0..usize::from(object.dlpi_phnum)).map(|i| object.dlpi_phdr.wrapping_add(i));
    headers.any(|header| {
        // SAFETY: the object has `dlpi_phnum` headers.
        let header = unsafe { header.read() };
        let start = object.dlpi_addr.wrapping_add(header.p_vaddr);
        header.p_type == libc::PT_LOAD && (start..start.saturating_add(header.p_memsz)).contains(&here)
    })
}

/// A message put together on the stack. What does not fit is cut off.
pub struct Message<const SIZE: usize> {
    bytes: [u8; SIZE],
    length: usize,
}

impl<const SIZE: usize> Message<SIZE> {
    pub const fn new() -> Self {
        Message { bytes: [0; SIZE], length: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl<const SIZE: usize> fmt::Write for Message<SIZE> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let count = text.len().min(room.len());
        if let (Some(room), Some(text)) = (room.get_mut(..count), text.as_bytes().get(..count)) {
            room.copy_from_slice(text);
            self.length += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::str;

    #[test]
    fn a_message_keeps_what_fits() {
        let mut message = Message::<8>::new();
        let _ = write!(message, "abc-{}", 1_234_567);
        assert_eq!(str::from_utf8(message.bytes()), Ok("abc-1234"));
        let _ = write!(message, "more");
        assert_eq!(message.bytes().len(), 8);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_test_was_loaded_at_its_start() {
        assert!(loaded_at_start());
    }
}
