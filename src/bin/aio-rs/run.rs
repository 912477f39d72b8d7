//! `aio-rs run`: sets the environment that preloads aio_rs and executes a program. With `--stats` it runs the program as a
//! child and prints the figures in the end.

use crate::share::{Share, end_as, report};
use crate::{elf, library, share};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

// Exit statuses, as those of env(1): this command failed, the program cannot be run, it was not found.
const FAILED: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

const EXAMPLES: &str = "\
Examples:
  aio-rs run -- fio --name=t --ioengine=posixaio --rw=randread --size=64m
  aio-rs run --stats --threads 8 -- ./server --port 80
  AIO_RS=order=strict aio-rs run -- ./server

Options go into the variable AIO_RS, beside what it already holds. Exit status: the program's; 125 if the library
cannot be used, 126 if the program cannot be run on aio_rs (static, setuid, other architecture), 127 if it is not found.";

/// Run a program with its POSIX AIO, or its libaio, on aio_rs
///
/// Sets LD_PRELOAD and AIO_RS, then becomes the program. If LD_PRELOAD cannot work for it, says why. With --stats it stays
/// the program's parent instead, passes signals on, and says when the program has ended, whichever way, which of the two
/// interfaces it and its children have used, and what for: the line "libaio" counts requests by that interface, the others
/// those by aio_* calls.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print what the library did to standard error when the program has ended
    #[arg(long)]
    stats: bool,
    /// Use at most N worker threads
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM [ARGS]")]
    program: Vec<OsString>,
}

pub fn main(args: &Args) -> ExitCode {
    let (code, message) = match start(args) {
        Err(failure) => failure,
        Ok((status, share)) => {
            report(&share);
            return end_as(status);
        }
    };
    eprintln!("aio-rs: {message}");
    ExitCode::from(code)
}

/// Becomes the program; with `--stats` runs it and returns when it has ended. Error: an exit status and a message.
fn start(args: &Args) -> Result<(ExitStatus, Share), (u8, String)> {
    let Some((program, arguments)) = args.program.split_first() else {
        return Err((FAILED, "no program given".into()));
    };
    let library = library::find().map_err(|message| (FAILED, message))?;
    let Some(path) = look_up(program, env::var_os("PATH")) else {
        return Err((NOT_FOUND, format!("{}: no such program", program.display())));
    };
    elf::check(&path, &library).map_err(|reason| (CANNOT_RUN, format!("cannot run on aio_rs: {reason}")))?;
    // If there is no shared memory, the library itself prints the figures when the program exits.
    let share = args.stats.then(Share::new).and_then(Result::ok);
    let existing = env::var_os("AIO_RS").unwrap_or_default();
    let mut command = Command::new(&path);
    command.arg0(program).args(arguments);
    command.env("LD_PRELOAD", library::preload(&library, env::var_os("LD_PRELOAD")));
    command.env("AIO_RS", configuration(args, share.as_ref().map(Share::number), &existing.to_string_lossy()));
    let failed = |error: Error| (code_of(&error), format!("{}: {error}", program.display()));
    match share {
        None => Err(failed(command.exec())),
        Some(share) => Ok((share::run(command).map_err(failed)?, share)),
    }
}

fn code_of(error: &Error) -> u8 {
    if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN }
}

/// The file that execvp would execute.
fn look_up(program: &OsStr, path: Option<OsString>) -> Option<PathBuf> {
    let plain = Path::new(program);
    if plain.components().count() > 1 || program.as_encoded_bytes().contains(&b'/') {
        return plain.exists().then(|| plain.to_owned());
    }
    let path = path.unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path).map(|directory| directory.join(plain)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The value of `AIO_RS`: what it has been, with the options of the command line in place of items with the same name.
fn configuration(args: &Args, share: Option<i32>, existing: &str) -> String {
    let replaced = |word: &&str| {
        let key = word.split('=').next().unwrap_or(word).trim();
        (args.stats && key == "stats") || (args.threads.is_some() && key == "threads")
    };
    let kept = existing.split(',').filter(|word| !word.trim().is_empty() && !replaced(word));
    let threads = args.threads.map(|threads| format!("threads={threads}"));
    let stats = args.stats.then(|| share.map_or("stats".to_owned(), |number| format!("stats={number}")));
    kept.map(str::to_owned).chain(threads).chain(stats).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(stats: bool, threads: Option<u32>) -> Args {
        Args { stats, threads: threads.and_then(NonZeroU32::new), program: vec!["true".into()] }
    }

    #[test]
    fn options_merge_with_the_variable() {
        assert_eq!(configuration(&args(false, None), None, ""), "");
        assert_eq!(configuration(&args(true, Some(8)), None, ""), "threads=8,stats");
        assert_eq!(configuration(&args(false, None), None, "idle=1s,stats"), "idle=1s,stats");
        assert_eq!(configuration(&args(true, None), Some(7), "stats=3,idle=1s"), "idle=1s,stats=7");
        assert_eq!(
            configuration(&args(true, Some(8)), None, "threads=2, stats,order=strict,"),
            "order=strict,threads=8,stats"
        );
    }

    #[test]
    fn programs_are_looked_up_as_execvp_does() {
        let path = || Some(OsString::from("/nonexistent:/bin"));
        assert_eq!(look_up("sh".as_ref(), path()), Some("/bin/sh".into()));
        assert_eq!(look_up("/bin/sh".as_ref(), None), Some("/bin/sh".into()));
        assert_eq!(look_up("./no-such-program".as_ref(), path()), None);
        assert_eq!(look_up("no-such-program".as_ref(), path()), None);
    }
}
