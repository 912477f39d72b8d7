//! Random programs on the library's interfaces, each compared with a sequential model (tests/model/posix.c, tests/model/libaio.c).
//!
//!     cargo test --test model [-- [SECONDS] [FIRST-SEED]]
//!
//! Each row below runs for so long, 3 seconds by default, from a seed that is new each time. A failure names the seed it was
//! seen with; from that seed on it is likely to be seen again, for the threads' numbers are the same, if not their timing.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::End;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Shared,
    Preload,
    Portable,
}

struct Row {
    model: &'static str,
    link: Link,
    settings: &'static str,
}

const ROWS: &[Row] = &[
    Row { model: "posix", link: Link::Shared, settings: "" },
    Row { model: "posix", link: Link::Preload, settings: "" },
    // Cancelling a read that waits for a stream takes that route.
    Row { model: "posix", link: Link::Shared, settings: "routes=stream" },
    Row { model: "posix", link: Link::Shared, settings: "threads=2,idle=1ms" },
    Row { model: "posix", link: Link::Portable, settings: "" },
    Row { model: "libaio", link: Link::Shared, settings: "" },
    Row { model: "libaio", link: Link::Preload, settings: "" },
];

impl Row {
    fn name(&self) -> String {
        let link = match self.link {
            Link::Shared => "linked",
            Link::Preload => "preloaded",
            Link::Portable => "portable",
        };
        format!("{} {link} {}", self.model, self.settings)
    }

    /// Why it cannot run here.
    fn obstacle(&self) -> Option<&'static str> {
        match (self.model, self.link) {
            ("libaio", _) if cfg!(feature = "portable") => Some("the portable build has no such interface"),
            ("libaio", Link::Preload) if !support::has_libaio() => Some("needs libaio-dev"),
            _ => None,
        }
    }

    fn build(&self) -> Result<PathBuf, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let executable = support::target_dir().join(format!("model-{}-{}", self.model, self.link as u8));
        let mut cc = support::cc();
        cc.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"]).arg(root.join("include"));
        cc.arg(root.join(format!("tests/model/{}.c", self.model))).args(support::out(&executable));
        let library = match self.link {
            Link::Shared => Some(support::library_dir()),
            Link::Portable => Some(support::portable_library_dir()),
            Link::Preload => None,
        };
        if let Some(dir) = library {
            cc.arg(dir.join("libaio_rs.so")).arg(format!("-Wl,-rpath,{}", dir.display()));
        } else if self.model == "libaio" {
            cc.args(["-DSYSTEM_LIBAIO", "-laio"]);
        }
        cc.args(["-lutil", "-ldl"]);
        support::compile(cc).map(|()| executable)
    }

    fn run(&self, seconds: u64, seed: u64) -> Result<String, String> {
        let executable = self.build()?;
        let scratch = support::fresh_dir("model");
        let mut command: Command = support::program(&executable);
        command.args([seed.to_string(), format!("{seconds}s")]).env("TMPDIR", &scratch).current_dir(&scratch);
        // cargo's names the directory of its own libaio_rs.so, and wins over the program's rpath.
        command.env_remove("LD_LIBRARY_PATH").env("AIO_RS", self.settings);
        if self.link == Link::Preload {
            command.env("LD_PRELOAD", support::shared_library());
        }
        let limit = Duration::from_secs(seconds + 120);
        let ran = support::run(command, limit, &scratch.with_extension("out"));
        let _ = std::fs::remove_dir_all(&scratch);
        let ran = ran.map_err(|error| format!("{}: {error}", executable.display()))?;
        let said = ran.output.trim().replace('\n', ", ");
        if ran.end == End::Exit(0) { Ok(said) } else { Err(format!("{} (from seed {seed}): {said}", ran.end)) }
    }
}

fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) % 1_000_000 + 1
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let number = |at: usize| arguments.get(at).and_then(|argument| argument.parse::<u64>().ok());
    // A name is a filter of `cargo test NAME`, and none of these has one.
    let is_filtered_out = arguments.first().is_some_and(|argument| argument.parse::<u64>().is_err());
    let list = std::env::args().any(|argument| argument == "--list" || argument == "--ignored");
    let (seconds, seed) = (number(0).unwrap_or(3), number(1).unwrap_or_else(new_seed));
    let require_all = std::env::var("AIO_RS_REQUIRE_ALL").is_ok_and(|value| value == "1");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for row in ROWS.iter().filter(|_| !is_filtered_out && !list) {
        let name = row.name();
        match row.obstacle() {
            Some(why) if require_all && !cfg!(feature = "portable") => {
                println!("FAIL  {name:40}  skipped: {why}");
                failed += 1;
            }
            Some(why) => {
                println!("skip  {name:40}  {why}");
                skipped += 1;
            }
            None => match row.run(seconds, seed) {
                Ok(said) => {
                    println!("pass  {name:40}  {said}");
                    passed += 1;
                }
                Err(error) => {
                    println!("FAIL  {name:40}  {error}");
                    failed += 1;
                }
            },
        }
    }
    println!("model: {passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
