//! One record: a file system on a recording disk, a client on it, and the images of every cut looked through.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use crate::image::{Replay, Survive};
use crate::mounts::{self, Loop, Mount};
use crate::promises::{self, BLOCK, BLOCKS, FILES, Note, Promises};
use crate::random::Random;
use crate::record::{Record, Recorder};
use crate::{disk, support};

/// The first argument of the disk's process, which is this program again.
pub const DISK: &str = "--disk";
/// Of each of the client's writers.
const REQUESTS: &str = "160";
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

/// Whose calls the client makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    Own,
    Portable,
    /// libc's, or libaio's.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    Posix,
    #[cfg_attr(not(libaio), allow(dead_code))]
    Libaio,
    /// fsync(2) and its like, without AIO.
    Calls,
}

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }

    pub fn mkfs(self) -> &'static str {
        match self {
            Kind::Ext4 => "mkfs.ext4",
            Kind::Xfs => "mkfs.xfs",
        }
    }

    /// The smallest that mkfs makes without being asked twice, or little more.
    fn bytes(self) -> usize {
        match self {
            Kind::Ext4 => 64 << 20,
            Kind::Xfs => 304 << 20,
        }
    }

    fn format(self, device: &Path) -> Result<(), String> {
        let mut mkfs = Command::new(self.mkfs());
        match self {
            Kind::Ext4 => mkfs.args(["-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0"]),
            Kind::Xfs => mkfs.args(["-q", "-f", "-K"]),
        };
        let output = mkfs.arg(device).output().map_err(|error| format!("{}: {error}", self.mkfs()))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{mkfs:?}: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// The options for mounting an image: read only, which replays the journal all the same.
    fn image_options(self) -> &'static str {
        match self {
            Kind::Ext4 => "",
            // Images of one disk bear one identity.
            Kind::Xfs => "nouuid",
        }
    }
}

pub struct Run {
    pub library: Library,
    pub interface: Interface,
    pub kind: Kind,
    /// Whether the file system sends flushes.
    pub barriers: bool,
    /// Whether the disk heeds them.
    pub flushes: bool,
}

/// What the seed chooses, beside what is random in the client and the disk.
struct Choices {
    mount: &'static str,
    settings: &'static str,
    write_delay: u32,
    flush_delay: u32,
}

impl Choices {
    fn of(run: &Run, random: &mut Random) -> Choices {
        // Not mkfs.ext4 -O fast_commit: with Linux 6.18 plain fsync(2) loses data there (see `plain_calls_ext4`).
        let mount: &[&str] = match (run.kind, run.barriers) {
            (Kind::Ext4, false) => &["nobarrier"],
            // This file system takes an O_DIRECT write with data=journal for an ordinary one: not asynchronous then.
            (Kind::Ext4, true) if run.library == Library::Other && run.interface == Interface::Libaio => {
                &["", "data=writeback"]
            }
            (Kind::Ext4, true) => &["", "", "data=journal", "data=writeback"],
            (Kind::Xfs, _) => &[""],
        };
        let settings: &[&str] = match run.library {
            Library::Other => &[""],
            _ => &["", "", "threads=1", "order=strict"],
        };
        Choices {
            mount: random.one_of(mount),
            settings: random.one_of(settings),
            write_delay: 100 + random.below(900) as u32,
            flush_delay: random.below(4000) as u32,
        }
    }
}

/// What became of the images of some records.
#[derive(Clone, Default)]
pub struct Tally {
    pub images: usize,
    /// That have lost something that was acknowledged.
    pub losing: usize,
    notes: usize,
    most_unflushed: usize,
    choices: String,
    /// The first loss.
    example: String,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.images += other.images;
        self.losing += other.losing;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { images, losing, notes, most_unflushed, choices, example } = self;
        write!(f, "{losing} of {images} images have lost something; {notes} syncs acknowledged, ")?;
        write!(f, "up to {most_unflushed} writes not flushed{choices}{example}")
    }
}

/// Everything is below a tmpfs that only this process and its children see: nothing is left when they are gone.
fn work() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("power-cut")
}

/// Once, before the first run.
pub fn prepare() -> Result<(), String> {
    let error = |error: std::io::Error| format!("mounts of its own: {error}");
    mounts::own_mounts().map_err(error)?;
    let mount = Mount::new(Path::new("tmpfs"), &work(), "tmpfs", "mode=755").map_err(error)?;
    // It goes with the process.
    std::mem::forget(mount);
    let attached =
        mounts::memory_file().and_then(|file| file.set_len(1 << 20).and_then(|()| Loop::attach(&file, false)));
    attached.map(drop).map_err(|error| format!("a loop device: {error}"))
}

/// The disk's process, mounted and attached.
struct Disk {
    child: Child,
    fuse: Option<Mount>,
    device: Option<Loop>,
}

impl Disk {
    fn start(dir: &Path, bytes: usize, seed: u64) -> Result<Disk, String> {
        let fuse = dir.join("fuse");
        fs::create_dir_all(&fuse).map_err(text)?;
        let this = std::env::current_exe().map_err(text)?;
        let mut command = Command::new(this);
        command.arg(DISK).arg(&fuse).arg(dir.join("record")).args([bytes.to_string(), seed.to_string()]);
        support::die_with_us(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(text)?;
        let said = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines().next();
        let mut disk = Disk { child, fuse: None, device: None };
        if !matches!(said, Some(Ok(line)) if line == "mounted") {
            return Err("the disk does not start".into());
        }
        disk.fuse = Some(Mount::adopt(&fuse));
        let file = File::options().read(true).write(true).open(fuse.join(disk::NAME)).map_err(text)?;
        disk.device = Some(Loop::attach(&file, true).map_err(|error| format!("a loop device: {error}"))?);
        Ok(disk)
    }

    fn path(&self) -> &Path {
        self.device.as_ref().map_or(Path::new(""), |device| &device.path)
    }

    /// The record is complete when this returns.
    fn stop(mut self) -> Result<(), String> {
        drop(self.device.take());
        let fuse = self.fuse.take().ok_or("no mount")?;
        fuse.unmount().map_err(|error| format!("unmounting the disk: {error}"))?;
        let status = self.child.wait().map_err(text)?;
        if status.success() { Ok(()) } else { Err(format!("the disk: {status}")) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still waits for the disk gets an error and lets go of the rest. After `stop` all of it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

struct Recording {
    record: Record,
    notes: Vec<Note>,
    /// Where the record stood when the client began.
    begin: usize,
}

/// Runs the client once on a fresh disk.
fn record(run: &Run, choices: &Choices, dir: &Path, seed: u64) -> Result<Recording, String> {
    let client = client_program(run)?;
    let recorder = Recorder::open(&dir.join("record")).map_err(text)?;
    let disk = Disk::start(dir, run.kind.bytes(), seed)?;
    run.kind.format(disk.path())?;
    let directory = dir.join("mounted");
    let mount = Mount::new(disk.path(), &directory, run.kind.name(), choices.mount)
        .map_err(|error| format!("mounting {}: {error}", run.kind.name()))?;
    prepare_files(&directory).map_err(|error| format!("preparing the files: {error}"))?;
    let begin = recorder.position();
    recorder.set_delays(choices.write_delay, choices.flush_delay);

    let mut command = Command::new(client);
    command.arg(&directory).arg(dir.join("record")).arg(dir.join("notes")).args([&seed.to_string(), REQUESTS]);
    command.env_remove("LD_LIBRARY_PATH").env("AIO_RS", choices.settings);
    let ran = support::run(command, CLIENT_LIMIT, &dir.join("output")).map_err(text)?;
    recorder.set_delays(0, 0);
    if ran.end != support::End::Exit(0) {
        return Err(format!("the client: {}\n{}", ran.end, ran.output));
    }
    mount.unmount().map_err(|error| format!("unmounting: {error}"))?;
    disk.stop()?;
    let record = Record::read(&dir.join("record")).map_err(text)?;
    let notes = promises::read_notes(&dir.join("notes")).map_err(text)?;
    Ok(Recording { record, notes, begin: usize::try_from(begin).map_err(text)? })
}

/// Two files of zeroes, one that is a hole, an empty log: all on the disk before the client begins.
fn prepare_files(directory: &Path) -> std::io::Result<()> {
    for file in 0..FILES {
        let created = File::create(directory.join(format!("file{file}")))?;
        if file + 1 < FILES {
            created.write_all_at(&vec![0; BLOCKS * BLOCK], 0)?;
        }
        created.sync_all()?;
    }
    File::create(directory.join("log"))?.sync_all()?;
    File::open(directory)?.sync_all()
}

/// Compiles the client once for each library and interface.
fn client_program(run: &Run) -> Result<PathBuf, String> {
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _one = ONE_BY_ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = work().join("clients");
    let path = directory.join(format!("{:?}-{:?}", run.library, run.interface));
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(&directory).map_err(text)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cc = support::cc();
    cc.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    cc.arg("-I").arg(root.join("include")).arg(root.join("tests/power_cut/client.c")).args(support::out(&path));
    match run.interface {
        Interface::Posix => {}
        Interface::Libaio => _ = cc.arg("-DLIBAIO"),
        Interface::Calls => _ = cc.arg("-DCALLS"),
    }
    match (run.library, run.interface) {
        (Library::Own, _) => link_with(&mut cc, support::library_dir()),
        (Library::Portable, _) => link_with(&mut cc, support::portable_library_dir()),
        (Library::Other, Interface::Libaio) => _ = cc.args(["-DSYSTEM_LIBAIO", "-laio"]),
        (Library::Other, Interface::Posix | Interface::Calls) => _ = cc.arg("-lrt"),
    }
    support::compile(cc).map(|()| path)
}

fn link_with(cc: &mut Command, directory: &Path) {
    cc.arg(directory.join("libaio_rs.so")).arg(format!("-Wl,-rpath,{}", directory.display()));
}

/// Runs the client, and looks through about so many images of what its disk may have held. `name` is the run's own.
pub fn run(run: &Run, name: &str, seed: u64, images: usize) -> Result<Tally, String> {
    let dir = work().join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).map_err(text)?;
    let mut random = Random::new(seed);
    let choices = Choices::of(run, &mut random);
    let recording = record(run, &choices, &dir, seed)?;
    let tally = look_through(run, &recording, &dir.join("image"), &mut random, images)?;
    let all = [choices.mount, choices.settings];
    let said: Vec<&str> = all.into_iter().filter(|choice| !choice.is_empty()).collect();
    let choices = if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) };
    Ok(Tally { choices, ..tally })
}

/// Where to cut, ascending: three in four right where a sync was acknowledged, each of those once; the others anywhere.
fn cuts(recording: &Recording, count: usize, random: &mut Random) -> Vec<usize> {
    let mut acknowledged: Vec<usize> = recording.notes.iter().map(|note| note.position).collect();
    acknowledged.dedup();
    let (Some(&first), Some(&last)) = (acknowledged.first(), acknowledged.last()) else { return Vec::new() };
    let mut cut = |nth| match nth % 4 {
        0..3 if !acknowledged.is_empty() => acknowledged.swap_remove(random.index(acknowledged.len())),
        _ => first + random.index(last - first + 1),
    };
    let mut cuts: Vec<usize> = (0..count).map(&mut cut).collect();
    cuts.sort_unstable();
    cuts
}

fn look_through(
    run: &Run,
    recording: &Recording,
    directory: &Path,
    random: &mut Random,
    images: usize,
) -> Result<Tally, String> {
    let lies_from = if run.flushes { usize::MAX } else { recording.begin };
    let mut replay = Replay::new(&recording.record, run.kind.bytes(), lies_from);
    let mut promises = Promises::new();
    let mut notes = recording.notes.iter().peekable();
    let mut tally = Tally { notes: recording.notes.len(), ..Tally::default() };
    let ways = [Survive::None, Survive::Half, Survive::None, Survive::All];
    for (nth, cut) in cuts(recording, images, random).into_iter().enumerate() {
        let cut = cut.min(recording.record.len());
        while let Some(note) = notes.next_if(|note| note.position <= cut) {
            promises.add(note);
        }
        tally.most_unflushed = tally.most_unflushed.max(replay.cut(cut));
        let survive = ways[nth % ways.len()];
        let image = mounts::memory_file().and_then(|file| replay.image(survive, random, &file).map(|()| file));
        let missing = missing(run.kind, &image.map_err(text)?, directory, &promises)?;
        tally.images += 1;
        if let Some(first) = missing.first() {
            tally.losing += 1;
            if tally.losing == 1 {
                let lost = missing.len();
                tally.example =
                    format!("\n        cut at {cut}, {survive:?} of the unflushed writes: {lost} lost, {first}");
            }
        }
    }
    Ok(tally)
}

/// Mounts an image and looks for what was promised.
fn missing(kind: Kind, image: &File, directory: &Path, promises: &Promises) -> Result<Vec<String>, String> {
    let device = Loop::attach(image, false).map_err(|error| format!("a loop device: {error}"))?;
    let mount = match Mount::new(&device.path, directory, kind.name(), kind.image_options()) {
        Ok(mount) => mount,
        Err(error) => return Ok(vec![format!("it cannot be mounted: {error}")]),
    };
    let missing = promises.missing(directory);
    mount.unmount().map_err(|error| format!("unmounting an image: {error}"))?;
    Ok(missing)
}
