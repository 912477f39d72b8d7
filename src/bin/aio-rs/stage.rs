//! What the tour and the benchmark run: clients on a data file, with libc or with aio_rs.

use crate::data_file;
use crate::line::Line;
use crate::{elf, library};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{BufRead, BufReader};
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
        let directory = directory.map_or_else(data_file::usual_directory, Path::to_owned);
        let data = data_file::create(&directory, size)
            .map_err(|error| format!("no data file in {}: {error}", directory.display()))?;
        Ok(Stage { executable, library, directory, data })
    }

    /// Runs a client on the data file and passes each line that it prints to `take`.
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

/// Draws nothing if standard error is no terminal.
pub fn progress_bar(template: &str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps as u64).with_style(style)
}
