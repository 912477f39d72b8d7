//! The command line of the targets that have a `main` of their own. They take the options of the standard harness that
//! concern them, and ignore its others, because `cargo test -- OPTION` hands an option to every target.

use std::fs;
use std::path::Path;

/// What `--help` says behind a target's own usage.
const HELP: &str = "      --list             only list the names
      --exact            NAMEs are whole names
      --skip NAME        leave out what contains NAME
      --help             this

Other options of the standard test harness are accepted and change nothing.";

#[derive(Default)]
pub struct Arguments {
    /// What has no `--` before it.
    pub words: Vec<String>,
    pub list: bool,
    /// Options of the target's own, without their `--`.
    pub own: Vec<(String, String)>,
    skip: Vec<String>,
    exact: bool,
    /// `--test-threads`, or what RUST_TEST_THREADS says.
    pub test_threads: Option<usize>,
    /// `--ignored` asks for ignored tests only, and there are none here.
    ignored: bool,
}

impl Arguments {
    /// The arguments of this process; prints the usage and exits for `--help`. `own` are the options of the target's own.
    pub fn of_process(usage: &str, own: &[&str]) -> Result<Arguments, String> {
        let given: Vec<String> = std::env::args().skip(1).collect();
        if given.iter().any(|argument| argument == "--help" || argument == "-h") {
            println!("{}\n{HELP}", usage.trim_end());
            std::process::exit(0);
        }
        Arguments::parse(&given, own)
    }

    fn parse(given: &[String], own: &[&str]) -> Result<Arguments, String> {
        let number = |value: String| value.parse().ok().filter(|number| *number > 0);
        let test_threads = std::env::var("RUST_TEST_THREADS").ok().and_then(number);
        let mut parsed = Arguments { test_threads, ..Arguments::default() };
        let mut given = given.iter();
        while let Some(argument) = given.next() {
            let Some(option) = argument.strip_prefix("--") else {
                match argument.as_str() {
                    "-q" => {}
                    "-Z" => drop(given.next()),
                    _ if argument.starts_with('-') => return Err(unknown(argument)),
                    _ => parsed.words.push(argument.clone()),
                }
                continue;
            };
            let (name, attached) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let mut value = || {
                let value = attached.map(str::to_string).or_else(|| given.next().cloned());
                value.ok_or_else(|| format!("`{argument}` needs a value"))
            };
            match name {
                "list" => parsed.list = true,
                "exact" => parsed.exact = true,
                "ignored" => parsed.ignored = true,
                "skip" => parsed.skip.push(value()?),
                "test-threads" => parsed.test_threads = number(value()?),
                "color" | "format" | "logfile" | "shuffle-seed" => drop(value()?),
                "bench"
                | "ensure-time"
                | "exclude-should-panic"
                | "force-run-in-process"
                | "include-ignored"
                | "no-capture"
                | "nocapture"
                | "quiet"
                | "report-time"
                | "show-output"
                | "shuffle"
                | "test" => {}
                _ if own.contains(&name) => parsed.own.push((name.to_string(), value()?)),
                _ => return Err(unknown(argument)),
            }
        }
        Ok(parsed)
    }

    /// Whether a test of this name is asked for, `words` being names.
    pub fn selects(&self, name: &str) -> bool {
        let matches = |word: &String| if self.exact { name == word } else { name.contains(word.as_str()) };
        !self.ignored && (self.words.is_empty() || self.words.iter().any(matches)) && !self.skip.iter().any(matches)
    }

    /// Err when a word stands for none of the `names`, and the target is run by itself. `cargo test WORD` gives its word to
    /// every target, and most have nothing of that name.
    pub fn refuse_unknown(&self, target: &str, names: &[&str]) -> Result<(), String> {
        let matches =
            |word: &str| names.iter().any(|name| if self.exact { *name == word } else { name.contains(word) });
        match self.words.iter().find(|word| !matches(word)) {
            Some(word) if run_alone(target) => Err(format!("nothing here has a name like `{word}`: try --list")),
            _ => Ok(()),
        }
    }
}

fn unknown(argument: &str) -> String {
    format!("unknown option `{argument}`: try --help")
}

/// Whether only this target was asked for: by hand, or by a cargo whose one target is named `--test TARGET`.
fn run_alone(target: &str) -> bool {
    if std::env::var_os("CARGO").is_none() {
        return true;
    }
    let parent = format!("/proc/{}/cmdline", std::os::unix::process::parent_id());
    let line = fs::read(parent).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    let words: Vec<&str> = line.split('\0').take_while(|word| *word != "--").collect();
    let is_cargo = words.first().is_some_and(|word| Path::new(word).file_name().is_some_and(|name| name == "cargo"));
    let named = words.iter().enumerate().filter_map(|(at, word)| match *word {
        "--test" => words.get(at + 1).copied(),
        _ => word.strip_prefix("--test="),
    });
    let everything = ["--all-targets", "--tests", "--lib", "--bins"].iter().any(|option| words.contains(option));
    is_cargo && !everything && named.eq([target])
}
