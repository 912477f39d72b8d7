//! The command `aio-rs`: a tour of the library, a benchmark, and a runner that puts any program on it.
//!
//! It must not link the crate `aio_rs`: the library's `aio_*` would replace libc's, with which it is to be compared. What
//! both have to agree on, the layout of the figures, is one source file that both compile. Child processes get the library by
//! `LD_PRELOAD`, as any other program does.

mod aio;
mod bench;
mod client;
mod data_file;
mod elf;
mod engine;
#[allow(dead_code)] // the rest is for the library
#[path = "../../figures.rs"]
mod figures;
mod libaio;
mod library;
mod line;
mod measure;
mod picture;
mod probe;
mod promise;
mod report;
mod results;
mod run;
mod share;
mod stage;
mod tour;
mod trials;
mod workload;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  aio-rs                                  the tour: checks and figures, aio_rs beside libc
  aio-rs --dir /mnt/data                  the same on another file system
  aio-rs run -- fio job.fio               run a program on aio_rs
  aio-rs bench --dir /mnt/data            aio_rs beside libc, the kernel's AIO, io_uring and threads
  aio-rs probe /mnt/data                  which way requests would take there
  aio-rs run --stats -- ./server --port 80";

/// POSIX AIO that keeps its promises, in place of libc's.
///
/// Without a command: the tour, which runs one unmodified POSIX AIO program on libc and on aio_rs, checks what it
/// wrote and when its fsync completed, and prints both speeds. Exit status 1 if aio_rs fails a check.
#[derive(Parser)]
#[command(name = "aio-rs", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    tour: tour::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    Run(run::Args),
    Probe(probe::Args),
    #[command(hide = true)]
    Client(client::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => tour::main(&cli.tour),
        Some(Command::Bench(args)) => bench::main(&args),
        Some(Command::Run(args)) => run::main(&args),
        Some(Command::Probe(args)) => probe::main(&args),
        Some(Command::Client(args)) => client::main(&args),
    }
}
