//! The figures of a program and its children, in memory that outlives them; and the parent that waits for it without being
//! noticed: signals pass through it, and it ends as the program did.

use crate::figures::Segment;
use std::io::{Error, Result, Write};
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};
use std::ptr::{self, NonNull};

/// Memory of System V. It is marked for removal from the beginning: it goes with its last user, whatever kills that.
pub struct Share {
    number: i32,
    segment: NonNull<Segment>,
}

impl Share {
    pub fn new() -> Result<Share> {
        const MINE: i32 = 0o600;
        // SAFETY: new memory, at a place that the kernel chooses; it is zeroed and as large as a `Segment`.
        unsafe {
            let number = libc::shmget(libc::IPC_PRIVATE, size_of::<Segment>(), libc::IPC_CREAT | MINE);
            if number == -1 {
                return Err(Error::last_os_error());
            }
            let place = libc::shmat(number, ptr::null(), 0);
            let error = Error::last_os_error();
            libc::shmctl(number, libc::IPC_RMID, ptr::null_mut());
            if place.addr() == usize::MAX {
                return Err(error);
            }
            let segment = NonNull::new(place.cast::<Segment>()).ok_or(error)?;
            segment.as_ref().prepare();
            Ok(Share { number, segment })
        }
    }

    pub fn number(&self) -> i32 {
        self.number
    }

    fn segment(&self) -> &Segment {
        // SAFETY: it is there until this process ends; others change it by atomics and under their own locks.
        unsafe { self.segment.as_ref() }
    }
}

/// To standard error. A reader who has gone needs nothing more.
pub fn report(share: &Share) {
    use std::sync::atomic::Ordering;
    let segment = share.segment();
    let mut text = segment.sum().to_string();
    let (loaded, used) = (segment.loaded.load(Ordering::Relaxed), segment.used());
    text += &format!("aio_rs: processes: {loaded} started with the library, {used} made requests\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Runs the command to its end. Signals sent to this process go to it; those of the terminal it gets by itself.
pub fn run(mut command: Command) -> Result<ExitStatus> {
    let all = full_set();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: two sets.
    let before = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, before.as_mut_ptr());
        before.assume_init()
    };
    // A process that ignores it is not told how its children end.
    // SAFETY: the default action.
    let of_children = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let restore = move || {
        // SAFETY: the action and the mask that this process began with; the calls are allowed after fork.
        unsafe {
            libc::signal(libc::SIGCHLD, of_children);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        }
        Ok(())
    };
    // SAFETY: `restore` allocates nothing and takes no lock.
    unsafe { command.pre_exec(restore) };
    let child = command.spawn()?;
    let_go();
    let pid = libc::pid_t::try_from(child.id()).map_err(Error::other)?;
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: a set, and room for a description.
        let number = unsafe { libc::sigwaitinfo(&raw const all, info.as_mut_ptr()) };
        if number == libc::SIGCHLD {
            if let Some(status) = look_after(pid)? {
                return Ok(status);
            }
        } else if number > 0 {
            // SAFETY: the call has filled it in.
            let info = unsafe { info.assume_init() };
            pass_on(pid, number, &info);
        }
    }
}

/// Whoever reads what the program writes waits for the program only: all descriptors but standard error are its own.
fn let_go() {
    // SAFETY: system calls; nothing else in this process uses a descriptor.
    unsafe {
        let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if nothing != -1 {
            libc::dup2(nothing, 0);
            libc::dup2(nothing, 1);
        }
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
    }
}

/// How the program has ended, if it has. When it is stopped, so is this process: the shell waits for that.
fn look_after(pid: libc::pid_t) -> Result<Option<ExitStatus>> {
    let mut status = 0;
    loop {
        // SAFETY: room for a status.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::WUNTRACED) } {
            0 => return Ok(None),
            -1 => return Err(Error::last_os_error()),
            _ if libc::WIFSTOPPED(status) => {
                // SAFETY: system calls without memory. The second one comes when somebody has this process go on.
                unsafe {
                    libc::raise(libc::SIGSTOP);
                    libc::kill(pid, libc::SIGCONT);
                }
            }
            _ => return Ok(Some(ExitStatus::from_raw(status))),
        }
    }
}

fn pass_on(pid: libc::pid_t, number: i32, info: &libc::siginfo_t) {
    // Of the terminal: the whole group has it.
    if info.si_code == libc::SI_KERNEL && matches!(number, libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGHUP)
    {
        return;
    }
    // SAFETY: the child has not been waited for, so the number is its own. A queued signal keeps its value.
    unsafe {
        if info.si_code == libc::SI_QUEUE {
            libc::sigqueue(pid, number, info.si_value());
        } else {
            libc::kill(pid, number);
        }
    }
}

/// Ends as the program did.
pub fn end_as(status: ExitStatus) -> ExitCode {
    if let Some(number) = status.signal() {
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let all = full_set();
        // SAFETY: a limit, a set; then the default action of the signal.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
            libc::signal(number, libc::SIG_DFL);
            libc::raise(number);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const all, ptr::null_mut());
        }
    }
    let code = status.code().or_else(|| status.signal().map(|number| number + 128)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigfillset initialises the set it is given.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}
