//! `aio-rs run`: the environment that puts a program on aio_rs, then exec.

use crate::{elf, library};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

// As env(1) ends: its own failure, cannot be run, not found.
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
/// Sets LD_PRELOAD and AIO_RS, then becomes the program. Says so if LD_PRELOAD cannot work for it. With --stats the library
/// says at the end which of the two interfaces the program has used, and what for: the line "libaio" counts requests by
/// that interface, the others those by aio_* calls.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print what the library did to standard error when the program exits
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
    let (code, message) = become_program(args);
    eprintln!("aio-rs: {message}");
    ExitCode::from(code)
}

/// Returns only when the program could not be started.
fn become_program(args: &Args) -> (u8, String) {
    let Some((program, arguments)) = args.program.split_first() else {
        return (FAILED, "no program given".into());
    };
    let library = match library::find() {
        Ok(path) => path,
        Err(message) => return (FAILED, message),
    };
    let Some(path) = look_up(program, env::var_os("PATH")) else {
        return (NOT_FOUND, format!("{}: no such program", program.display()));
    };
    if let Err(reason) = elf::check(&path, &library) {
        return (CANNOT_RUN, format!("cannot run on aio_rs: {reason}"));
    }
    let error = Command::new(&path)
        .arg0(program)
        .args(arguments)
        .env("LD_PRELOAD", library::preload(&library, env::var_os("LD_PRELOAD")))
        .env("AIO_RS", configuration(args, &env::var_os("AIO_RS").unwrap_or_default().to_string_lossy()))
        .exec();
    (code_of(&error), format!("{}: {error}", program.display()))
}

fn code_of(error: &Error) -> u8 {
    if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN }
}

/// The file that execvp would take.
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

/// `AIO_RS` with the options of the command line in place of its own words for the same.
fn configuration(args: &Args, existing: &str) -> String {
    let replaced = |word: &&str| {
        let key = word.split('=').next().unwrap_or(word).trim();
        (args.stats && key == "stats") || (args.threads.is_some() && key == "threads")
    };
    let kept = existing.split(',').filter(|word| !word.trim().is_empty() && !replaced(word));
    let threads = args.threads.map(|threads| format!("threads={threads}"));
    let stats = args.stats.then(|| "stats".to_owned());
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
        assert_eq!(configuration(&args(false, None), ""), "");
        assert_eq!(configuration(&args(true, Some(8)), ""), "threads=8,stats");
        assert_eq!(configuration(&args(false, None), "idle=1s,stats"), "idle=1s,stats");
        assert_eq!(
            configuration(&args(true, Some(8)), "threads=2, stats,order=strict,"),
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
