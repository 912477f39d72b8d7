//! The configuration: one environment variable, `AIO_RS`, read at the first request; and glibc's aio_init.
//!
//! `AIO_RS="threads=64,idle=1s,order=overlap,fsync=linux,routes=direct+stream,callbacks=shared,stats"`. What the variable names
//! wins over aio_init: it is the user's word on a program that may call aio_init itself.

use std::fmt::Write;
use std::num::IntErrorKind;

use crate::abi::aioinit;
use crate::order::Policy;
use crate::sys::environment;
use crate::sys::stderr::{self, Message};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most threads that run requests at the same time.
    pub threads: u32,
    /// How long a thread stays without work, in milliseconds.
    pub idle_ms: u64,
    pub order: Policy,
    /// Whether aio_fsync demands a descriptor open for writing.
    pub fsync_needs_write: bool,
    /// Print figures to standard error at exit.
    pub stats: bool,
    pub routes: Routes,
    /// Functions of SIGEV_THREAD share threads.
    pub shared_callbacks: bool,
    threads_set: bool,
    idle_set: bool,
}

/// The routes that requests may take, beside the workers' (`routes=` in the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routes {
    pub inline: bool,
    pub direct: bool,
    pub stream: bool,
}

impl Routes {
    /// "inline+direct+stream"; "worker" alone for none of the others.
    fn parse(text: &str) -> Option<Routes> {
        let mut routes = Routes { inline: false, direct: false, stream: false };
        for name in text.split('+') {
            match name {
                "inline" => routes.inline = true,
                "direct" => routes.direct = true,
                "stream" => routes.stream = true,
                "worker" => {}
                _ => return None,
            }
        }
        Some(routes)
    }
}

const KEYS: &str = "threads, idle, order, fsync, routes, callbacks, stats";

/// The highest number of workers that can be asked for.
pub const MOST_THREADS: u32 = 1024;

impl Config {
    pub const DEFAULT: Config = Config {
        threads: 64,
        idle_ms: 1_000,
        order: Policy::Overlap,
        // POSIX before 2008 and QNX demand it; Linux programs synchronise directories, which cannot be opened for writing.
        fsync_needs_write: cfg!(target_os = "nto"),
        stats: false,
        routes: Routes { inline: true, direct: true, stream: true },
        shared_callbacks: false,
        threads_set: false,
        idle_set: false,
    };

    /// The same for a process in which the calls do the work (`route::threadless`).
    pub fn without_threads(mut self) -> Config {
        self.routes.direct = false;
        self.routes.stream = true;
        self
    }

    /// Reads the environment. `complain` gets each item that is not understood, and what would have been valid.
    pub fn from_environment(complain: impl Fn(&[u8], &str)) -> Config {
        let mut config = Config::DEFAULT;
        if let Some(text) = environment::variable(c"AIO_RS") {
            config.read(text.to_bytes(), complain);
        }
        config
    }

    /// Applies all items; `refuse` gets those that are not understood, and what would have been valid.
    fn read(&mut self, text: &[u8], mut refuse: impl FnMut(&[u8], &str)) {
        let items = text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        for item in items.filter(|item| !item.is_empty()) {
            if let Err(valid) = str::from_utf8(item).map_err(|_| KEYS).and_then(|item| self.set(item)) {
                refuse(item, valid);
            }
        }
    }

    /// Applies one item. Error: what would have been valid.
    fn set(&mut self, item: &str) -> Result<(), &'static str> {
        let (key, value) = match item.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim())),
            None => (item, None),
        };
        match (key, value) {
            ("threads", value) => {
                self.threads = threads(value).ok_or("threads=1 to threads=1024")?;
                self.threads_set = true;
            }
            ("idle", value) => {
                self.idle_ms = value.and_then(milliseconds).ok_or("idle=500ms, idle=1s, idle=2m")?;
                self.idle_set = true;
            }
            ("order", Some("overlap")) => self.order = Policy::Overlap,
            ("order", Some("strict")) => self.order = Policy::Strict,
            ("order", Some("posix")) => self.order = Policy::Posix,
            ("order", _) => return Err("order=overlap, order=strict, order=posix"),
            ("fsync", Some("linux")) => self.fsync_needs_write = false,
            ("fsync", Some("strict")) => self.fsync_needs_write = true,
            ("fsync", _) => return Err("fsync=linux, fsync=strict"),
            ("routes", value) => {
                self.routes =
                    value.and_then(Routes::parse).ok_or("routes=inline+direct+stream+worker, or some of these")?;
            }
            ("callbacks", Some("new")) => self.shared_callbacks = false,
            ("callbacks", Some("shared")) => self.shared_callbacks = true,
            ("callbacks", _) => return Err("callbacks=new, callbacks=shared"),
            ("stats", None) => self.stats = true,
            // Memory of the command's: see `sys::shared`.
            ("stats", Some(number)) if number.parse::<i32>().is_ok_and(|number| number >= 0) => self.stats = true,
            ("stats", _) => return Err("stats (without a value)"),
            _ => return Err(KEYS),
        }
        Ok(())
    }

    /// Applies aio_init where the environment says nothing.
    pub fn apply(&mut self, init: &aioinit) {
        if let (false, Ok(threads @ 1..)) = (self.threads_set, u32::try_from(init.aio_threads)) {
            self.threads = threads.min(MOST_THREADS);
        }
        // Zero means nothing to glibc either: programs set the other fields only.
        if let (false, Ok(seconds @ 1..)) = (self.idle_set, u64::try_from(init.aio_idle_time)) {
            self.idle_ms = seconds * 1_000;
        }
    }
}

fn threads(value: Option<&str>) -> Option<u32> {
    match value?.parse::<u32>() {
        Ok(number) => (1..=MOST_THREADS).contains(&number).then_some(number),
        Err(_) => None,
    }
}

fn milliseconds(value: &str) -> Option<u64> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(digits)?;
    let number = number.parse::<u64>().or_else(|error| match error.kind() {
        IntErrorKind::PosOverflow => Ok(u64::MAX),
        _ => Err(error),
    });
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    Some(number.ok()?.saturating_mul(factor))
}

/// Names an item that is not understood in one line on standard error.
pub fn complain(item: &[u8], valid: &str) {
    // More of it would leave no room for what is valid.
    const MOST: usize = 100;
    let item = item.get(..MOST).unwrap_or(item).escape_ascii();
    let mut line = Message::<1024>::new();
    let _ = writeln!(line, "aio_rs: AIO_RS: \"{item}\" is not known; valid: {valid}");
    stderr::write(line.bytes(), stderr::NOT_AT_ALL);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(items: &[&str]) -> (Config, Vec<&'static str>) {
        let mut config = Config::DEFAULT;
        let errors = items.iter().filter_map(|item| config.set(item).err()).collect();
        (config, errors)
    }

    #[test]
    fn every_key_is_understood() {
        let (config, errors) = parsed(&["threads=3", "idle=250ms", "order=strict", "fsync=strict", "stats"]);
        assert_eq!(errors, Vec::<&str>::new());
        assert_eq!((config.threads, config.idle_ms, config.order), (3, 250, Policy::Strict));
        assert!(config.fsync_needs_write && config.stats && !config.shared_callbacks);
        assert!(parsed(&["callbacks=shared"]).0.shared_callbacks && !parsed(&["callbacks=new"]).0.shared_callbacks);
        assert_eq!(parsed(&["routes=stream"]).0.routes, Routes { inline: false, direct: false, stream: true });
        assert_eq!(parsed(&["routes=worker"]).0.routes, Routes { inline: false, direct: false, stream: false });
        assert_eq!(parsed(&["routes=direct+worker"]).0.routes, Routes { inline: false, direct: true, stream: false });
        assert_eq!(parsed(&["idle=2s"]).0.idle_ms, 2_000);
        assert_eq!(parsed(&["idle=3m"]).0.idle_ms, 180_000);
    }

    #[test]
    fn what_is_not_understood_is_named_and_changes_nothing() {
        let wrong = ["threads=0", "threads=1025", "threads", "threads=x", "idle=5", "idle=", "order=", "order=fifo"];
        let (config, errors) = parsed(&wrong);
        assert_eq!(errors.len(), wrong.len());
        assert_eq!(config, Config::DEFAULT);
        assert!(errors[0].contains("threads=1") && errors[4].contains("idle=1s") && errors[7].contains("strict"));
        assert!(parsed(&["colour=red"]).1[0].contains("order"));
        assert!(parsed(&["callbacks"]).1[0].contains("shared") && parsed(&["callbacks=old"]).1.len() == 1);
        assert!(parsed(&["fsync=maybe"]).1[0].contains("linux"));
        assert!(parsed(&["stats=yes"]).1.len() == 1 && parsed(&["stats=-1"]).1.len() == 1);
        assert!(parsed(&["routes=inline+fast"]).1[0].contains("stream") && parsed(&["routes"]).1.len() == 1);
    }

    proptest::proptest! {
        /// Whatever the variable holds: the configuration is one that works, each item is either applied or refused, and what is
        /// said of it fits into a message.
        #[test]
        fn anything_gives_a_configuration(
            words in proptest::collection::vec("(threads|idle|order|fsync|routes|stats|[a-z]{0,6})=?[0-9a-z+=. ]{0,24}", 0..8),
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
            at in 0usize..64,
        ) {
            let mut text = words.join(",").into_bytes();
            let at = at.min(text.len());
            text.splice(at..at, bytes.iter().copied().filter(|&byte| byte != 0));
            let mut config = Config::DEFAULT;
            let mut refused = 0;
            config.read(&text, |item, valid| {
                refused += 1;
                assert!(!item.is_empty() && !valid.is_empty() && !item.contains(&b','));
            });
            assert!((1..=MOST_THREADS).contains(&config.threads));
            assert!(refused <= text.split(|&byte| byte == b',').count());
            // Read again, it says the same.
            let mut again = Config::DEFAULT;
            again.read(&text, |_, _| {});
            assert_eq!(again, config);
        }
    }
}
