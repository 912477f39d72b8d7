//! What the tour and the benchmark run on: a data file, and clients of it on either library.

use crate::client::Line;
use crate::measure::advise;
use crate::{elf, library};
use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who answers a client's `aio_*` calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Libc,
    AioRs,
}

pub const SIDES: [Side; 2] = [Side::Libc, Side::AioRs];

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Libc => "libc",
            Side::AioRs => "aio_rs",
        }
    }
}

pub struct Stage {
    executable: PathBuf,
    pub library: PathBuf,
    pub directory: PathBuf,
    pub data: File,
}

impl Stage {
    /// A data file of `size` bytes in `directory`, or where temporary files go that are seldom in memory.
    pub fn new(directory: Option<&Path>, size: usize) -> Result<Stage, String> {
        let executable = library::executable()?;
        let library = library::find()?;
        elf::check(&executable, &library).map_err(|reason| format!("not possible: {reason}"))?;
        let directory = directory.map_or_else(usual_directory, Path::to_owned);
        let data =
            data_file(&directory, size).map_err(|error| format!("no data file in {}: {error}", directory.display()))?;
        Ok(Stage { executable, library, directory, data })
    }

    /// Runs a client on the data file and hands over each line it prints.
    pub fn run_client(&self, side: Side, arguments: &[&str], mut take: impl FnMut(Line)) -> Result<(), String> {
        let failed = |reason: String| format!("the client on {} {reason}", side.name());
        let data = self.data.try_clone().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(&self.executable);
        command.arg("client").args(arguments).stdin(data).stdout(Stdio::piped());
        match side {
            Side::Libc => command.env_remove("LD_PRELOAD"),
            Side::AioRs => command.env("LD_PRELOAD", &self.library),
        };
        let mut child = command.spawn().map_err(|error| failed(format!("did not start: {error}")))?;
        let output = child.stdout.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines());
        output.map_while(Result::ok).filter_map(|line| Line::parse(&line)).for_each(&mut take);
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(format!("ended with {status}"))) }
    }
}

fn usual_directory() -> PathBuf {
    let usual = Path::new("/var/tmp");
    let named = env::var_os("TMPDIR").map(PathBuf::from);
    named.unwrap_or_else(|| if usual.is_dir() { usual.into() } else { env::temp_dir() })
}

/// A file without a name: it is gone with the last process that has it open, however that ends. It is written once,
/// so that direct writes find their blocks allocated.
fn data_file(directory: &Path, size: usize) -> std::io::Result<File> {
    let mut file = tempfile::tempfile_in(directory)?;
    let piece = vec![b'.'; 1 << 20];
    for _ in 0..size / piece.len() {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    // In what pieces it comes back is for who measures to say.
    advise(file.as_fd(), libc::POSIX_FADV_DONTNEED)?;
    Ok(file)
}

/// The name of the file's file system, or its magic number.
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
