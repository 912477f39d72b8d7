//! A mounted file system and a client process that performs AIO calls on it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fs::{Control, Mounted, Record, State};
use crate::support;

/// Whose aio_* functions the client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Library {
    /// libc's: shows that a scenario can fail, or that it asks for nothing special.
    Libc,
    Linked,
    Static,
    Preloaded,
}

/// By which calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    Posix,
    /// Of libaio, on descriptors with O_DIRECT: only those are asynchronous. Libaio's own take libc's part.
    Libaio,
}

/// What a scenario found wrong.
pub type Outcome<T = ()> = Result<T, String>;

/// How the error of a scenario begins that cannot be run here.
pub const SKIP: &str = "cannot run here: ";

macro_rules! ensure {
    ($condition:expr, $($format:tt)+) => {
        if !$condition {
            return Err(format!($($format)+));
        }
    };
}
pub(crate) use ensure;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub errno: i32,
    pub result: i64,
    pub good: bool,
}

impl Done {
    pub fn with(result: i64) -> Done {
        Done { errno: 0, result, good: true }
    }

    pub fn failed(errno: i32) -> Done {
        Done { errno, result: -1, good: true }
    }
}

pub struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Client {
    fn start(library: Library, interface: Interface, settings: &str) -> Client {
        let mut command = Command::new(client_program(library, interface));
        if library == Library::Preloaded {
            command.env("LD_PRELOAD", support::shared_library());
        }
        match settings {
            "" => command.env_remove("AIO_RS"),
            _ => command.env("AIO_RS", settings),
        };
        // cargo's own would win over the path that is linked in.
        command.env_remove("LD_LIBRARY_PATH");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starting the client");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut client = Client { input: child.stdin.take(), child, lines };
        client.check_library(library, interface);
        client
    }

    /// That the client calls the functions it is meant to.
    fn check_library(&mut self, library: Library, interface: Interface) {
        let answers = self.ask(&["v".into()]).unwrap_or_else(|error| panic!("{error}"));
        let file = answers.first().map_or("", String::as_str);
        let expected = match (library, interface) {
            (Library::Libc, Interface::Posix) => "/libc.so.",
            (Library::Libc, Interface::Libaio) => "/libaio.so.",
            (Library::Static, _) => "/fuse-client-static",
            (Library::Linked | Library::Preloaded, _) => "/libaio_rs.so",
        };
        assert!(file.contains(expected), "the client of {library:?} calls {file}");
    }

    /// Sends commands together; one answer for each.
    pub fn ask(&mut self, commands: &[String]) -> Outcome<Vec<String>> {
        let text: String = commands.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let input = self.input.as_mut().ok_or("the client has been told to end")?;
        input.write_all(text.as_bytes()).map_err(|error| format!("writing to the client: {error}"))?;
        commands.iter().map(|command| self.line(command)).collect()
    }

    fn line(&mut self, command: &str) -> Outcome<String> {
        match self.lines.recv_timeout(Duration::from_secs(20)) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err(format!("the client hangs in `{command}`")),
            Err(RecvTimeoutError::Disconnected) => {
                Err(format!("the client ended in `{command}`: {:?}", self.child.wait()))
            }
        }
    }
}

/// Compiles the client once for each library and interface.
fn client_program(library: Library, interface: Interface) -> PathBuf {
    static MADE: Mutex<Option<HashMap<(Library, Interface), PathBuf>>> = Mutex::new(None);
    // Preloading works on a program that knows only libc.
    let library = if library == Library::Preloaded { Library::Libc } else { library };
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_with(HashMap::new);
    made.entry((library, interface)).or_insert_with(|| compile_client(library, interface)).clone()
}

fn compile_client(library: Library, interface: Interface) -> PathBuf {
    let name = format!("fuse-client-{library:?}-{interface:?}").to_lowercase();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let made = path.with_extension(std::process::id().to_string());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuse/client.c");
    let mut cc = support::cc();
    cc.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]).arg(source).args(support::out(&made));
    match library {
        Library::Linked => {
            let directory = support::library_dir();
            cc.arg("-L").arg(directory).arg("-laio_rs").arg(format!("-Wl,-rpath,{}", directory.display()));
        }
        Library::Static => {
            cc.arg(support::static_library()).args(support::STATIC_LIBS);
        }
        Library::Libc | Library::Preloaded => {}
    }
    if interface == Interface::Libaio {
        cc.arg("-DLIBAIO").arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"));
        if library == Library::Libc {
            cc.arg("-DSYSTEM_LIBAIO").arg("-laio");
        }
    }
    cc.arg("-lpthread");
    support::compile(cc).unwrap_or_else(|error| panic!("{error}"));
    // Another run may be using the old one.
    std::fs::rename(&made, &path).expect("renaming the client");
    path
}

pub struct Lab {
    pub client: Client,
    pub fs: Option<Mounted>,
    pub control: Arc<Control>,
    /// How long what must happen may take.
    pub patience: Duration,
    library: Library,
    interface: Interface,
    settings: String,
}

impl Lab {
    pub fn new(library: Library, interface: Interface, settings: &str, patience: Duration) -> Lab {
        let fs = Mounted::new().expect("mounting the file system");
        let control = fs.control.clone();
        let client = Client::start(library, interface, settings);
        Lab { client, fs: Some(fs), control, patience, library, interface, settings: settings.into() }
    }

    /// A fresh client process in place of the present one, which must have ended.
    pub fn restart(&mut self) {
        self.client = Client::start(self.library, self.interface, &self.settings);
    }

    pub fn fs(&self) -> &Mounted {
        self.fs.as_ref().expect("a mounted file system")
    }

    fn ask(&mut self, command: String) -> Outcome<String> {
        let answers = self.client.ask(std::slice::from_ref(&command))?;
        answers.into_iter().next().ok_or_else(|| format!("no answer to `{command}`"))
    }

    fn call(&mut self, command: String) -> Outcome {
        let answer = self.ask(command.clone())?;
        ensure!(answer == "0", "`{command}`: errno {answer}");
        Ok(())
    }

    /// Opens name `name` of file `file` for reading and writing.
    pub fn open(&mut self, slot: usize, file: u64, name: u64) -> Outcome {
        let path = self.fs().path(file, name);
        self.open_path(slot, &path)
    }

    fn open_path(&mut self, slot: usize, path: &Path) -> Outcome {
        self.call(format!("o {slot} rw {}", path.display()))
    }

    /// Opens a file without a name on an ordinary file system.
    pub fn open_ordinary(&mut self, slot: usize) -> Outcome {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join(format!("ordinary-{}-{number}", std::process::id()));
        std::fs::File::create(&path).map_err(|error| error.to_string())?;
        self.open_path(slot, &path)?;
        std::fs::remove_file(&path).map_err(|error| error.to_string())
    }

    pub fn open_read_only(&mut self, slot: usize, file: u64, name: u64) -> Outcome {
        let path = self.fs().path(file, name);
        self.call(format!("o {slot} ro {}", path.display()))
    }

    pub fn close(&mut self, slot: usize) -> Outcome {
        self.call(format!("c {slot}"))
    }

    pub fn dup(&mut self, slot: usize, from: usize) -> Outcome {
        self.call(format!("d {slot} {from}"))
    }

    /// aio_write of 512 bytes, the usual size here.
    pub fn write(&mut self, request: usize, slot: usize, offset: u64) -> Outcome {
        self.call(format!("w {request} {slot} {offset} 512 0"))
    }

    pub fn read(&mut self, request: usize, slot: usize, offset: u64) -> Outcome {
        self.call(format!("r {request} {slot} {offset} 512 0"))
    }

    /// As `write`, with a length and a priority (a higher number is less urgent).
    pub fn write_as(&mut self, request: usize, slot: usize, offset: u64, length: u32, priority: u32) -> Outcome {
        self.call(format!("w {request} {slot} {offset} {length} {priority}"))
    }

    pub fn fsync(&mut self, request: usize, slot: usize) -> Outcome {
        self.call(format!("f {request} {slot} sync 0"))
    }

    pub fn fdatasync(&mut self, request: usize, slot: usize) -> Outcome {
        self.call(format!("f {request} {slot} dsync 0"))
    }

    /// aio_cancel, and its answer: canceled, notcanceled, alldone or an error number.
    pub fn expect_cancel(&mut self, request: usize, expected: &str) -> Outcome {
        let answer = self.ask(format!("x {request}"))?;
        ensure!(answer == expected, "aio_cancel of request {request}: {answer}, not {expected}");
        Ok(())
    }

    /// aio_write, also where the other requests are made by libaio's interface.
    #[cfg(libaio)]
    pub fn posix_write(&mut self, request: usize, slot: usize, offset: u64) -> Outcome {
        self.call(format!("a {request} {slot} {offset}"))
    }

    /// A write of one byte by a thread of the client's own, without AIO.
    pub fn plain_write(&mut self, slot: usize, offset: u64) -> Outcome {
        self.call(format!("p {slot} {offset}"))
    }

    /// None while the request is in progress.
    pub fn status(&mut self, request: usize) -> Outcome<Option<Done>> {
        let answer = self.ask(format!("e {request}"))?;
        parse_status(&answer)
    }

    /// Waits until the request has ended.
    pub fn wait(&mut self, request: usize) -> Outcome<Done> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(done) = self.status(request)? {
                return Ok(done);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "request {request} does not end");
            self.ask(format!("s {request} {}", left.as_millis().max(1)))?;
        }
    }

    pub fn expect(&mut self, request: usize, expected: Done) -> Outcome {
        let done = self.wait(request)?;
        ensure!(done == expected, "request {request} ended with {done:?}, not with {expected:?}");
        Ok(())
    }

    pub fn expect_all(&mut self, requests: impl IntoIterator<Item = usize>, expected: Done) -> Outcome {
        requests.into_iter().try_for_each(|request| self.expect(request, expected))
    }

    pub fn expect_in_progress(&mut self, request: usize) -> Outcome {
        let status = self.status(request)?;
        ensure!(status.is_none(), "request {request} has ended too early: {status:?}");
        Ok(())
    }

    /// Waits until the read or write at an offset has reached the file system.
    pub fn expect_arrival(&self, file: u64, offset: u64) -> Outcome {
        self.expect_state(&format!("the request at {offset} of file {file} has arrived"), |state| {
            state.at(file, offset).is_some()
        })
    }

    pub fn expect_syncs(&self, count: usize) -> Outcome {
        self.expect_state(&format!("{count} FSYNCs have arrived"), |state| state.syncs().len() >= count)
    }

    pub fn expect_state(&self, what: &str, done: impl FnMut(&State) -> bool) -> Outcome {
        ensure!(self.control.wait(self.patience, done), "still waiting until {what}");
        Ok(())
    }

    /// Lets the client's AIO do something else from beginning to end: time for it to do what it must not.
    pub fn elsewhere(&mut self, request: usize, slot: usize, file: u64) -> Outcome {
        self.open(slot, file, 0)?;
        for offset in [0, 512] {
            self.write(request, slot, offset)?;
            self.expect(request, Done::with(512))?;
        }
        self.close(slot)
    }

    /// That no thread of the client is inside fsync or fdatasync. The kernel shows what the file system cannot
    /// see: there an FSYNC waits for the WRITEs that run on the same kernel inode.
    pub fn expect_nobody_in_fsync(&self) -> Outcome {
        let tasks = format!("/proc/{}/task", self.client.child.id());
        for task in std::fs::read_dir(tasks).map_err(|error| error.to_string())?.flatten() {
            let call = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            let number: Option<libc::c_long> = call.split(' ').next().and_then(|word| word.parse().ok());
            let syncs = [libc::SYS_fsync, libc::SYS_fdatasync];
            ensure!(number.is_none_or(|number| !syncs.contains(&number)), "a thread is in fsync already");
        }
        Ok(())
    }

    /// That an FSYNC came after the answers to all these operations, and none before.
    pub fn expect_sync_after(&self, file: u64, offsets: &[u64]) -> Outcome {
        let state = self.control.lock();
        let syncs = state.syncs();
        let first = syncs.first().ok_or("no FSYNC has arrived")?;
        for &offset in offsets {
            let index = state.at(file, offset).ok_or_else(|| format!("nothing arrived at {offset}"))?;
            let record = state.records.get(index).ok_or("no record")?;
            let before = record.answered.is_some_and(|answered| answered < first.arrived);
            ensure!(before, "`{first}` came before the answer to `{record}`");
        }
        Ok(())
    }

    /// The process's state letter in /proc; Z is a process whose main thread has exited.
    pub fn process_state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.client.child.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Tells the client to return from main and waits until its main thread has exited.
    pub fn quit(&mut self) -> Outcome {
        let mut input = self.client.input.take().ok_or("the client has been told to end already")?;
        input.write_all(b"q\n").map_err(|error| error.to_string())?;
        let deadline = Instant::now() + self.patience;
        while self.process_state() != Some('Z') {
            ensure!(Instant::now() < deadline, "the client does not exit");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until the client is gone; its exit code.
    pub fn exit_code(&mut self) -> Outcome<i32> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(status) = self.client.child.try_wait().map_err(|error| error.to_string())? {
                return status.code().ok_or_else(|| format!("the client died of signal {:?}", status.signal()));
            }
            ensure!(Instant::now() < deadline, "the client does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.client.child.try_wait(), Ok(None))
    }

    pub fn records(&self) -> Vec<Record> {
        self.control.lock().records.clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The client cannot die before the file system has let go of it, and cannot be waited for before that.
        let _ = self.client.child.kill();
        drop(self.fs.take());
        let _ = self.client.child.wait();
    }
}

pub fn parse_status(answer: &str) -> Outcome<Option<Done>> {
    let mut words = answer.split(' ');
    let errno = words.next().and_then(|word| word.parse().ok());
    let errno: i32 = errno.ok_or_else(|| format!("not a status: `{answer}`"))?;
    if errno == libc::EINPROGRESS {
        return Ok(None);
    }
    let result = words.next().and_then(|word| word.parse().ok());
    let result: i64 = result.ok_or_else(|| format!("not a status: `{answer}`"))?;
    Ok(Some(Done { errno, result, good: words.next() == Some("good") }))
}
