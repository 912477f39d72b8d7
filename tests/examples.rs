//! The programs of `examples/`: they compile without a warning and do what they say, linked with the library and with
//! the library preloaded.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use support::End;

const STRICT: [&str; 6] = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread"];
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Mode {
    Linked,
    Preloaded,
}

/// A compiled example and a directory of its own for its files.
struct Example {
    program: PathBuf,
    directory: PathBuf,
    mode: Mode,
}

/// Compiles an example both ways and hands each to `test`.
fn each_way(name: &str, test: impl Fn(&Example)) {
    for mode in [Mode::Linked, Mode::Preloaded] {
        let directory = support::fresh_dir(&format!("example-{name}-{mode:?}"));
        let example = Example::compile(name, mode, directory);
        test(&example);
        fs::remove_dir_all(&example.directory).expect("the directory is removed");
    }
}

impl Example {
    fn compile(name: &str, mode: Mode, directory: PathBuf) -> Example {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.c"));
        let program = directory.join(name);
        let mut cc = support::cc();
        cc.args(STRICT).args(support::out(&program)).arg(source);
        cc.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"));
        if let Mode::Linked = mode {
            cc.arg("-L").arg(support::library_dir()).arg("-laio_rs");
        }
        support::compile(cc).unwrap_or_else(|error| panic!("{error}"));
        Example { program, directory, mode }
    }

    fn file(&self, name: &str, data: &[u8]) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, data).expect("the directory is writable");
        path
    }

    /// Runs it in its directory. Says what it printed, the library's statistics apart.
    fn run(&self, arguments: &[&str]) -> (End, String) {
        let mut command = support::program(&self.program);
        command.args(arguments).current_dir(&self.directory);
        command.env("AIO_RS", "stats");
        match self.mode {
            Mode::Linked => command.env("LD_LIBRARY_PATH", support::library_dir()),
            Mode::Preloaded => command.env("LD_PRELOAD", support::shared_library()),
        };
        let ran = support::run(command, LIMIT, &self.directory.join("output")).expect("it starts");
        let (statistics, output): (Vec<_>, Vec<_>) = ran.output.lines().partition(|line| line.starts_with("aio_rs: "));
        assert!(
            ran.end != End::Exit(0) || statistics.iter().any(|line| line.contains("requests")),
            "{:?} did not run on aio_rs: {}",
            self.mode,
            ran.output
        );
        (ran.end, output.join("\n"))
    }
}

/// Bytes without a period that a chunk could hide.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(step).collect()
}

#[test]
fn aio_copy_copies() {
    const CHUNK: usize = 128 << 10;
    each_way("aio_copy", |example| {
        for length in [0, 1, CHUNK, 40 * CHUNK + 4711] {
            let data = noise(length);
            example.file("from", &data);
            example.file("to", b"something older that is longer than nothing");
            let (end, output) = example.run(&["from", "to"]);
            assert_eq!((end, output.as_str()), (End::Exit(0), ""), "{length} bytes");
            let copied = fs::read(example.directory.join("to")).expect("the copy is there");
            assert!(copied == data, "{length} bytes, {:?}", example.mode);
        }
        let (end, output) = example.run(&["missing", "to"]);
        assert_eq!(end, End::Exit(1));
        assert!(output.contains("missing"), "{output}");
        let (end, output) = example.run(&["/", "to"]);
        assert_eq!(end, End::Exit(1));
        assert!(output.contains("directory"), "{output}");
    });
}

#[test]
fn write_fsync_notify_is_told() {
    each_way("write_fsync_notify", |example| {
        example.file("log", b"zero\n");
        let (end, output) = example.run(&["log", "one", "two", "", "four"]);
        assert_eq!((end, output.as_str()), (End::Exit(0), "4 lines on the disk"));
        let log = fs::read_to_string(example.directory.join("log")).expect("the log is there");
        assert_eq!(log, "zero\none\ntwo\n\nfour\n");
        let (end, output) = example.run(&["/dev/full", "one"]);
        assert_eq!(end, End::Exit(1), "{output}");
    });
}

#[test]
fn list_reads_every_file_and_names_the_bad_ones() {
    each_way("list", |example| {
        example.file("short", b"\x01\x02");
        example.file("empty", b"");
        example.file("long", &[0xab; 100]);
        let long = ["ab"; 16].join(" ");
        let (end, output) = example.run(&["short", "empty", "long"]);
        assert_eq!(end, End::Exit(0), "{output}");
        assert_eq!(output, format!("short: 01 02\nempty:\nlong: {long}"));
        let (end, output) = example.run(&["missing", "long", "."]);
        assert_eq!(end, End::Exit(1));
        let expected = ["missing: No such file or directory", &format!("long: {long}"), ".: Is a directory"];
        assert_eq!(output.lines().collect::<Vec<_>>(), expected);
    });
}

/// The compile lines in the sources are what a reader copies.
#[test]
fn every_example_tells_how_to_compile_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in fs::read_dir(directory).expect("examples") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a source");
        let comment = text.split("*/").next().unwrap_or("");
        let lines = comment.lines().filter_map(|line| line.strip_prefix(" *     cc "));
        let commands: Vec<_> = lines.collect();
        // With the header of our own there is no way but to link.
        let ways = if text.contains("aio_rs/libaio.h") { 1 } else { 2 };
        assert_eq!(commands.len(), ways, "{name}: linked, and for preloading");
        for command in commands {
            let output = compile_line(command, &name);
            assert!(output.status.success(), "cc {command}\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// Runs a compile line from a comment, for the library and the output file of this test.
fn compile_line(line: &str, name: &str) -> Output {
    let directory = support::fresh_dir(&format!("example-line-{name}"));
    let library = support::library_dir().to_string_lossy().into_owned();
    let line = line.replace("../target/release", &library);
    let output = format!("-o {}/", directory.display());
    let line = line.replace("-o ", &output);
    let mut cc = Command::new("cc");
    cc.args(line.split_whitespace());
    cc.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"));
    let output = cc.output().expect("cc runs");
    fs::remove_dir_all(directory).expect("the directory is removed");
    output
}

/// The program of io_fsync(3); there is no libaio.h of its own to preload it over.
#[cfg(not(feature = "portable"))]
#[test]
fn io_fsync_calls_back_after_all_writes() {
    let directory = support::fresh_dir("example-io_fsync");
    let example = Example::compile("io_fsync", Mode::Linked, directory);
    for _ in 0..20 {
        let (end, said) = example.run(&["file"]);
        assert_eq!((end, said.trim()), (End::Exit(0), "synchronized, 32 of 32 writes done before"));
    }
    let length = fs::metadata(example.directory.join("file")).map(|file| file.len());
    assert_eq!(length.ok(), Some(32 * 64 * 1024));
    fs::remove_dir_all(&example.directory).expect("the directory is removed");
}
