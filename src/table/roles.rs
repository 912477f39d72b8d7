//! Threads with a role, as the table knows them: the poller, the reaper, the starter.

use std::ffi::c_void;

/// Whether a thread waits for streams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PollerState {
    /// The next free worker takes the role when there is something to wait for.
    Off,
    On,
}

/// What the reaper does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ReaperState {
    /// The next free worker takes the role when there is something to wait for.
    Off,
    /// It prepares itself, which may take the kernel some milliseconds: until then workers serve.
    Starts,
    /// It waits for results.
    On,
    /// It leaves them to those who wait for them or ask, and looks now and then whether they do.
    Rests,
    /// Nothing has been in the kernel for a while.
    Sleeps,
}

pub type Main = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// What the table knows of the starter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StarterState {
    /// There is none.
    Absent,
    /// It is being made, or looks at the table soon by itself.
    Awake,
    /// It sleeps until it is called.
    Sleeps,
}

/// Workers that the starter has to make, and what became of the others. In the table.
pub struct Starting {
    pub state: StarterState,
    /// Workers that are wanted; the pool counts them already.
    pub wanted: u32,
    /// Its main function, noted by whoever makes the first thread: the code of the starter's thread makes all others, so no file
    /// of theirs can import it.
    pub main: Option<Main>,
    /// Times that the starter has made one, or could not.
    pub answers: u64,
    /// The last one could not be had.
    pub refused: bool,
    /// Somebody has looked for an answer in vain, and there was none since.
    pub stuck: bool,
}

impl Starting {
    pub const fn new() -> Starting {
        Starting { state: StarterState::Absent, wanted: 0, main: None, answers: 0, refused: false, stuck: false }
    }

    /// True: the starter was absent, and is the caller's to make.
    pub fn claim(&mut self) -> bool {
        let absent = self.state == StarterState::Absent;
        if absent {
            self.state = StarterState::Awake;
        }
        absent
    }

    pub fn answer(&mut self, refused: bool) {
        self.answers += 1;
        self.refused = refused;
        self.stuck = false;
    }
}
