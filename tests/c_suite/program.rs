//! A C program of tests/c and the directives at its top; tests/c/check.h lists them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Glibc,
    Shared,
    Static,
    Preload,
    Portable,
}

impl Mode {
    pub const ALL: [Mode; 5] = [Mode::Glibc, Mode::Shared, Mode::Static, Mode::Preload, Mode::Portable];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Glibc => "glibc",
            Mode::Shared => "shared",
            Mode::Static => "static",
            Mode::Preload => "preload",
            Mode::Portable => "portable",
        }
    }

    fn parse(name: &str) -> Result<Mode, String> {
        let found = Mode::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| format!("unknown mode `{name}`"))
    }

    pub fn parse_list(text: &str) -> Result<Vec<Mode>, String> {
        text.split(',').map(|name| Mode::parse(name.trim())).collect()
    }
}

/// What the program does on libc.
#[derive(PartialEq, Eq)]
pub enum OnGlibc {
    Conforms,
    Fails(String),
    /// Fails when two events meet; a run in which they do not is no proof of anything.
    Races(String),
    Skip(String),
}

pub struct Program {
    pub name: String,
    pub source: PathBuf,
    pub glibc: OnGlibc,
    pub env: Vec<(String, String)>,
    pub modes: Vec<Mode>,
    pub root: bool,
    pub may_skip: bool,
    /// It holds the buffer of a read: not for the inline route, where that would hold the call itself.
    pub holds_reads: bool,
    /// It uses libaio's interface; then libaio takes libc's part.
    pub libaio: bool,
    /// It takes what all processes share, and runs when all others have ended.
    pub alone: bool,
    /// Only in the first of the modes that differ by how the program is linked.
    pub once: bool,
    /// About so many seconds; the longest begin first.
    pub takes: u64,
    timeout: Duration,
    glibc_timeout: Option<Duration>,
}

impl Program {
    pub fn read(source: PathBuf) -> Result<Program, String> {
        let text = fs::read_to_string(&source).map_err(|error| format!("{}: {error}", source.display()))?;
        let name = source.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let mut program = Program {
            name,
            source,
            glibc: OnGlibc::Conforms,
            env: Vec::new(),
            modes: Mode::ALL.into_iter().filter(|&mode| mode != Mode::Glibc).collect(),
            root: false,
            may_skip: false,
            holds_reads: false,
            libaio: false,
            alone: false,
            once: false,
            takes: 0,
            timeout: Duration::from_secs(180),
            glibc_timeout: None,
        };
        program.parse_top(&text).map_err(|what| format!("{}: {what}", program.source.display()))?;
        Ok(program)
    }

    fn parse_top(&mut self, text: &str) -> Result<(), String> {
        let top: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//")).map(str::trim).collect();
        if top.first().is_none_or(|first| first.is_empty() || self.directive(first) != Ok(false)) {
            return Err("the first line must be a comment that says the promise".to_string());
        }
        let mut directives = false;
        for line in &top[1..] {
            let is_one = self.directive(line)?;
            if directives && !is_one {
                return Err(format!("unknown directive `{line}`"));
            }
            directives |= is_one;
        }
        // Whatever their order: libaio's interface is not in the portable build.
        if self.libaio {
            self.modes.retain(|&mode| mode != Mode::Portable && !cfg!(feature = "portable"));
        }
        Ok(())
    }

    /// Takes a directive in; false when the line is none.
    fn directive(&mut self, line: &str) -> Result<bool, String> {
        let (key, value) = line.split_once(':').map_or((line, ""), |(key, value)| (key, value.trim()));
        match key {
            "glibc" => self.glibc = on_glibc(value)?,
            "env" => self.env = value.split_whitespace().map(assignment).collect::<Result<_, _>>()?,
            "timeout" => self.timeout = seconds(value)?,
            "glibc-timeout" => self.glibc_timeout = Some(seconds(value)?),
            "takes" => self.takes = seconds(value)?.as_secs(),
            "modes" => self.modes = Mode::parse_list(value)?,
            "interface" if value == "libaio" => self.libaio = true,
            "root" if value.is_empty() => self.root = true,
            "holds-reads" if value.is_empty() => self.holds_reads = true,
            "may-skip" if !value.is_empty() => self.may_skip = true,
            "once" if !value.is_empty() => self.once = true,
            "alone" if !value.is_empty() => self.alone = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub fn limit(&self, mode: Mode) -> Duration {
        match (mode, &self.glibc) {
            (Mode::Glibc, OnGlibc::Fails(_) | OnGlibc::Races(_)) => {
                self.glibc_timeout.unwrap_or(Duration::from_secs(5))
            }
            (Mode::Glibc, _) => self.glibc_timeout.unwrap_or(self.timeout),
            _ => self.timeout,
        }
    }

    /// About how long it takes. What libc is expected to fail may hang there until its limit.
    pub fn seconds(&self, mode: Mode) -> u64 {
        match (mode, &self.glibc) {
            (Mode::Glibc, OnGlibc::Skip(_)) => 0,
            (Mode::Glibc, OnGlibc::Fails(_)) => self.limit(mode).as_secs(),
            _ => self.takes,
        }
    }

    /// Those of the modes asked for in which it is to run.
    pub fn modes_of(&self, wanted: &[Mode]) -> Vec<Mode> {
        let own = |mode: &Mode| *mode == Mode::Glibc || self.modes.contains(mode);
        let mut modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| wanted.contains(mode) && own(mode)).collect();
        if self.once {
            let linked = |mode: &Mode| matches!(mode, Mode::Shared | Mode::Static | Mode::Preload);
            let first = modes.iter().copied().find(linked);
            modes.retain(|mode| !linked(mode) || Some(*mode) == first);
        }
        modes
    }
}

fn on_glibc(value: &str) -> Result<OnGlibc, String> {
    if value == "conforms" {
        return Ok(OnGlibc::Conforms);
    }
    match value.split_once(':').map(|(kind, why)| (kind, why.trim())) {
        Some(("fails", why)) if !why.is_empty() => Ok(OnGlibc::Fails(why.to_string())),
        Some(("races", why)) if !why.is_empty() => Ok(OnGlibc::Races(why.to_string())),
        Some(("skip", why)) if !why.is_empty() => Ok(OnGlibc::Skip(why.to_string())),
        _ => Err(format!("`glibc: {value}`: expected conforms, fails: WHAT, races: WHAT or skip: WHY")),
    }
}

fn assignment(word: &str) -> Result<(String, String), String> {
    let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}`: expected NAME=VALUE"))?;
    Ok((name.to_string(), value.to_string()))
}

fn seconds(value: &str) -> Result<Duration, String> {
    value.parse().map(Duration::from_secs).map_err(|_| format!("`{value}` is no number of seconds"))
}
