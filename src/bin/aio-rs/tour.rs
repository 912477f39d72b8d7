//! The tour: runs one POSIX AIO program on libc and on aio_rs and compares the two.

use crate::data_file::filesystem;
use crate::report::Report;
use crate::stage::{SIDES, Stage, progress_bar};
use crate::workload::WORKLOADS;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const FILE_SIZE: usize = 64 << 20;

#[derive(clap::Args)]
pub struct Args {
    /// Where the data file goes; default: TMPDIR, else /var/tmp, which is seldom in memory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Rounds of the measurement; 0 only checks
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
}

pub fn main(args: &Args) -> ExitCode {
    let report = match tour(args) {
        Ok(report) => report,
        Err(message) => {
            eprintln!("aio-rs: {message}");
            return ExitCode::FAILURE;
        }
    };
    // A closed pipe (`aio-rs | head`) is no failure of the tour.
    let printed = write!(std::io::stdout(), "{report}");
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => eprintln!("aio-rs: {error}"),
        _ if report.failures().is_empty() => return ExitCode::SUCCESS,
        _ => {}
    }
    ExitCode::FAILURE
}

fn tour(args: &Args) -> Result<Report, String> {
    let stage = Stage::new(args.dir.as_deref(), FILE_SIZE)?;
    let bar = progress_bar("{msg:20} {wide_bar} {pos:>3}/{len}", steps(args.rounds));
    let mut report = Report::new(&stage.library, &stage.directory, &filesystem(&stage.data), FILE_SIZE);
    for side in SIDES {
        bar.set_message(format!("checks on {}", side.name()));
        stage.run_client(side, &["check"], |line| {
            report.add(side, line);
            bar.inc(1);
        })?;
    }
    for round in 1..=args.rounds {
        bar.set_message(format!("round {round} of {}", args.rounds));
        let mut sides = SIDES;
        // The disk may still be busy when a round begins: let each side be first in turn.
        sides.rotate_left(round % 2);
        for side in sides {
            stage.run_client(side, &["bench"], |line| {
                report.add(side, line);
                bar.inc(1);
            })?;
        }
    }
    bar.finish_and_clear();
    Ok(report)
}

/// The number of lines that the clients will print.
fn steps(rounds: usize) -> usize {
    const LINES_OF_A_CHECK: usize = 12;
    SIDES.len() * (LINES_OF_A_CHECK + rounds * WORKLOADS.len())
}
