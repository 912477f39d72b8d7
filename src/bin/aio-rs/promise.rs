//! The promise of an fsync in either interface, to complete after all requests before it, and how often it was kept.

use std::fmt;
use std::ops::AddAssign;

/// The calls that make the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    Posix,
    Libaio,
}

pub const INTERFACES: [Interface; 2] = [Interface::Posix, Interface::Libaio];

impl Interface {
    pub fn name(self) -> &'static str {
        match self {
            Interface::Posix => "posix",
            Interface::Libaio => "libaio",
        }
    }

    pub fn parse(text: &str) -> Option<Interface> {
        INTERFACES.into_iter().find(|interface| interface.name() == text)
    }

    /// What answers these calls without aio_rs.
    pub fn without(self) -> &'static str {
        match self {
            Interface::Posix => "libc",
            Interface::Libaio => "plain libaio",
        }
    }
}

/// How often a promise was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub kept: usize,
    pub trials: usize,
}

impl Kept {
    pub fn always(self) -> bool {
        self.kept == self.trials
    }
}

impl AddAssign for Kept {
    fn add_assign(&mut self, other: Kept) {
        self.kept += other.kept;
        self.trials += other.trials;
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        if self.trials == 0 { out.pad("not tried") } else { out.pad(&format!("{} of {}", self.kept, self.trials)) }
    }
}

/// The line that sums up one interface.
pub fn verdict(interface: Interface, ours: Kept, theirs: Kept) -> String {
    format!("fsync kept its promise: {ours} ({}: {theirs})", interface.without())
}
