//! `aio-rs probe`: shows what the system offers for a file or directory, and which route each kind of request takes there. A
//! child with aio_rs preloaded makes requests and asks the library which route has served them.

use crate::aio::{self, Request};
use crate::data_file::{filesystem, reopen};
use crate::library;
use crate::measure::advise;
use crate::workload::BLOCK;
use std::env;
use std::fs::File;
use std::io::{Error, Result, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const EXAMPLES: &str = "\
Examples:
  aio-rs probe /mnt/data                  what requests on a new file there would do
  aio-rs probe /dev/nvme0n1               the same for reads of an existing file or device; nothing is written
  AIO_RS=routes=worker aio-rs probe .     with a configuration

Routes: inline (served inside the call), direct (the kernel's own AIO), stream, worker (a thread).";

/// Show which way each kind of request takes for a file or directory, by trying
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A directory: a file of no name is made there. A file or device: it is only read
    #[arg(default_value = ".")]
    path: PathBuf,
    /// This process is the one that tries
    #[arg(long, hide = true)]
    child: bool,
}

/// Blocks of the file that is made in a directory.
const BLOCKS: usize = 64;
/// Requests of each kind; the route of the last one is shown, because the first ones may find threads of the library not
/// started yet.
const TRIES: usize = 20;

pub fn main(args: &Args) -> ExitCode {
    let done = if args.child { probe(&args.path) } else { start_child(&args.path) };
    match done {
        Ok(text) => {
            // A closed pipe (`aio-rs probe | head`) is no failure.
            let _ = write!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("aio-rs: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the child and returns what it has printed.
fn start_child(path: &Path) -> std::result::Result<String, String> {
    let library = library::find()?;
    let child = Command::new(library::executable()?)
        .args(["probe", "--child", "--"])
        .arg(path)
        .env("LD_PRELOAD", library::preload(&library, env::var_os("LD_PRELOAD")))
        .output()
        .map_err(|error| format!("cannot start a child: {error}"))?;
    let said = String::from_utf8_lossy(&child.stderr);
    if !child.status.success() {
        return Err(said.trim().trim_start_matches("aio-rs: ").to_owned());
    }
    eprint!("{said}");
    Ok(String::from_utf8_lossy(&child.stdout).into_owned())
}

fn probe(path: &Path) -> std::result::Result<String, String> {
    if aio::library_version().is_none() {
        return Err("did not run on aio_rs".into());
    }
    let failed = |error: Error| format!("{}: {error}", path.display());
    let is_directory = path.metadata().map_err(failed)?.is_dir();
    let file = if is_directory { made_in(path) } else { File::open(path) }.map_err(failed)?;
    let mut text = format!("{}: {}\n", path.display(), filesystem(&file));
    let direct = reopen(&file, is_directory, libc::O_DIRECT);
    text += &fact("O_DIRECT", direct.as_ref().map(|_| ()));
    text += &fact(
        "preadv2(RWF_NOWAIT)",
        file.read_at(&mut [0; BLOCK], 0).and_then(|_| read_now(&file, 0)).as_ref().map(|_| ()),
    );
    text += &fact("the kernel's AIO", kernel_context().as_ref().map(|_| ()));
    text += "\n";
    // By the end of the file, which a device has too.
    let size = (&file).seek(SeekFrom::End(0)).map_err(failed)?;
    let blocks = usize::try_from(size).unwrap_or(usize::MAX) / BLOCK;
    let mut trial = Trial { request: Request::new(BLOCK), blocks: blocks.clamp(1, BLOCKS), next: 0, text };
    trial.show("read, in the page cache", |request, block| {
        file.read_at(&mut [0; BLOCK], at(block))?;
        request.read(file.as_fd(), at_byte(block))
    });
    trial.show("read, not in the page cache", |request, block| {
        // Without readahead, which could still be under way when the cache is dropped the next time.
        advise(file.as_fd(), libc::POSIX_FADV_RANDOM)?;
        advise(file.as_fd(), libc::POSIX_FADV_DONTNEED)?;
        if read_now(&file, block).is_ok() {
            return Err(Error::other("the kernel keeps it there"));
        }
        request.read(file.as_fd(), at_byte(block))
    });
    if let Ok(direct) = &direct {
        trial.show("direct read", |request, block| request.read(direct.as_fd(), at_byte(block)));
    }
    if is_directory {
        trial.show("write", |request, block| request.write(file.as_fd(), at_byte(block), 0));
        if let Ok(direct) = &direct {
            file.sync_all().map_err(failed)?;
            trial.show("direct write, allocated", |request, block| request.write(direct.as_fd(), at_byte(block), 0));
            trial.show("direct write, new block", |request, block| {
                request.write(direct.as_fd(), at_byte(BLOCKS + 2 * block), 0)
            });
        }
        trial.show("fsync", |request, _| request.fsync(file.as_fd()));
    }
    Ok(trial.text)
}

fn fact(name: &str, fact: std::result::Result<(), &Error>) -> String {
    match fact {
        Ok(()) => format!("  {name:<28} yes\n"),
        Err(error) => format!("  {name:<28} no: {error}\n"),
    }
}

struct Trial {
    request: Request,
    blocks: usize,
    next: usize,
    text: String,
}

impl Trial {
    /// Makes requests of one kind, each for another block, and notes the route of the last one.
    fn show(&mut self, name: &str, submit: impl Fn(&mut Request, usize) -> Result<()>) {
        let mut route = String::new();
        for _ in 0..TRIES {
            self.next = (self.next + 1) % self.blocks;
            let before = routes();
            let result = submit(&mut self.request, self.next).and_then(|()| self.request.result());
            route = match result {
                Ok(_) => taken(before, routes()).into(),
                Err(error) => error.to_string(),
            };
        }
        self.text += &format!("  {name:<28} {route}\n");
    }
}

const ROUTES: [&str; 4] = ["inline", "direct", "stream", "worker"];

/// How many requests each route has served so far.
fn routes() -> [u64; ROUTES.len()] {
    aio::library_routes().unwrap_or_default()
}

fn taken(before: [u64; ROUTES.len()], after: [u64; ROUTES.len()]) -> &'static str {
    let grown = before.iter().zip(after).position(|(before, after)| after > *before);
    grown.and_then(|at| ROUTES.get(at)).unwrap_or(&"none")
}

fn at(block: usize) -> u64 {
    (block * BLOCK) as u64
}

fn at_byte(block: usize) -> usize {
    block * BLOCK
}

fn made_in(directory: &Path) -> Result<File> {
    let file = tempfile::tempfile_in(directory)?;
    file.write_all_at(&vec![1; BLOCKS * BLOCK], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Reads without waiting. Errors: EAGAIN (the block is not in the page cache), EOPNOTSUPP.
fn read_now(file: &File, block: usize) -> Result<()> {
    let mut data = [0u8; BLOCK];
    let place = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: BLOCK };
    let offset = at(block).try_into().map_err(Error::other)?;
    // SAFETY: one iovec, with room for a block.
    let done = unsafe { libc::preadv2(file.as_raw_fd(), &raw const place, 1, offset, libc::RWF_NOWAIT) };
    if done < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Tries to create a context of the kernel's AIO.
fn kernel_context() -> Result<()> {
    let mut context = 0u64;
    // SAFETY: the first call stores the number of a context, which the second one destroys.
    unsafe {
        if libc::syscall(libc::SYS_io_setup, 1u32, &raw mut context) != 0 {
            return Err(Error::last_os_error());
        }
        libc::syscall(libc::SYS_io_destroy, context);
    }
    Ok(())
}
