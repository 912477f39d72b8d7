//! Mounts and loop devices that are gone with the process, also when it is killed: the mounts are in a namespace of its
//! own, and the kernel detaches a loop device when its last user is gone.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// From <linux/loop.h>.
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    before_flags: [u8; 52],
    flags: u32,
    after_flags: [u8; 176 + 64],
}

const _: () = assert!(std::mem::size_of::<LoopConfig>() == 304);

/// Gives the calling thread, and what it starts from now on, mounts of their own.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: a system call without pointers.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    mount(Path::new("none"), Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "")
}

fn mount(source: &Path, on: &Path, kind: Option<&str>, flags: libc::c_ulong, options: &str) -> io::Result<()> {
    let source = CString::new(source.as_os_str().as_bytes())?;
    let on = CString::new(on.as_os_str().as_bytes())?;
    let kind = kind.map(CString::new).transpose()?;
    let options = CString::new(options)?;
    let kind = kind.as_ref().map_or(std::ptr::null(), |kind| kind.as_ptr());
    // SAFETY: C strings that outlive the call; `kind` may be null where the flags change a mount.
    match unsafe { libc::mount(source.as_ptr(), on.as_ptr(), kind, flags, options.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn unmount(directory: &Path, flags: libc::c_int) -> io::Result<()> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: `path` is a C string that outlives the call.
    match unsafe { libc::umount2(path.as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A mounted file system; whatever still uses it when this is dropped keeps it.
pub struct Mount {
    directory: PathBuf,
}

impl Mount {
    pub fn new(source: &Path, directory: &Path, kind: &str, options: &str) -> io::Result<Mount> {
        std::fs::create_dir_all(directory)?;
        mount(source, directory, Some(kind), 0, options)?;
        Ok(Mount { directory: directory.into() })
    }

    /// One that somebody else has made.
    pub fn adopt(directory: &Path) -> Mount {
        Mount { directory: directory.into() }
    }

    /// Everything is written when this returns.
    pub fn unmount(self) -> io::Result<()> {
        let mut tries = 0;
        loop {
            match unmount(&self.directory, 0) {
                // A process that has just ended, or somebody who looks at every new mount.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < 500 => tries += 1,
                result => return result,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Already gone, mostly.
        let _ = unmount(&self.directory, libc::MNT_DETACH);
    }
}

/// A loop device; it is detached when this is dropped and nothing is mounted from it.
pub struct Loop {
    pub path: PathBuf,
    _device: File,
}

impl Loop {
    pub fn attach(backing: &File, direct: bool) -> io::Result<Loop> {
        let control = File::options().read(true).write(true).open("/dev/loop-control")?;
        let mut tries = 0;
        loop {
            match Loop::attach_free(&control, backing, direct) {
                // Another process took the same free one.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < 100 => tries += 1,
                result => return result,
            }
        }
    }

    fn attach_free(control: &File, backing: &File, direct: bool) -> io::Result<Loop> {
        // SAFETY: this request takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(true).open(&path)?;
        let config = LoopConfig {
            fd: u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?,
            block_size: 512,
            before_flags: [0; 52],
            flags: LO_FLAGS_AUTOCLEAR | if direct { LO_FLAGS_DIRECT_IO } else { 0 },
            after_flags: [0; 240],
        };
        // SAFETY: the request reads a struct loop_config, whose size and members these are.
        match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } {
            0 => Ok(Loop { path, _device: device }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A file in memory, without a name.
pub fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a static C string.
    let fd: RawFd = unsafe { libc::memfd_create(c"aio_rs_image".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { File::from_raw_fd(fd) })
}
