//! Runs a program as a child, with shared memory in which the library counts for it and its children. To the caller this
//! process looks like the program: it passes signals on, stops when the program stops, and ends as the program ends.

use crate::figures::Segment;
use std::io::{Error, Result, Write};
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};
use std::ptr::{self, NonNull};

/// A System V memory segment, marked for removal from the start: the kernel removes it with its last user, even if that is
/// killed.
pub struct Share {
    number: i32,
    segment: NonNull<Segment>,
}

impl Share {
    pub fn new() -> Result<Share> {
        const MINE: i32 = 0o600;
        // SAFETY: a new segment at an address that the kernel chooses; it is zeroed, and as large as a `Segment`.
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
        // SAFETY: attached until this process ends. Other processes change it, but only its atomics and what its locks protect.
        unsafe { self.segment.as_ref() }
    }
}

/// Prints the figures to standard error. A write error is ignored: there is nobody to tell.
pub fn report(share: &Share) {
    use std::sync::atomic::Ordering;
    let segment = share.segment();
    let mut text = segment.sum().to_string();
    let (loaded, used) = (segment.loaded.load(Ordering::Relaxed), segment.used());
    text += &format!("aio_rs: processes: {loaded} started with the library, {used} made requests\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Runs the command and waits for its end. Passes on signals, except those that the terminal has sent to the child already.
pub fn run(mut command: Command) -> Result<ExitStatus> {
    let all = full_set();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: one set is valid, and there is room for the other.
    let before = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, before.as_mut_ptr());
        before.assume_init()
    };
    // While SIGCHLD is ignored, waitpid cannot tell how a child has ended.
    // SAFETY: sets the default action.
    let of_children = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let restore = move || {
        // SAFETY: restores the action and the mask that this process began with; both calls are async-signal-safe.
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
        // SAFETY: a valid set, and room for a siginfo.
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

/// Closes all descriptors but standard error, so that whoever reads the program's output sees its end when the program closes
/// it.
fn let_go() {
    // SAFETY: nothing else in this process uses these descriptors.
    unsafe {
        let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if nothing != -1 {
            libc::dup2(nothing, 0);
            libc::dup2(nothing, 1);
        }
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
    }
}

/// The status of the program, if it has ended. If it has stopped, stops this process too, for the shell waits for that.
fn look_after(pid: libc::pid_t) -> Result<Option<ExitStatus>> {
    let mut status = 0;
    loop {
        // SAFETY: room for a status.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::WUNTRACED) } {
            0 => return Ok(None),
            -1 => return Err(Error::last_os_error()),
            _ if libc::WIFSTOPPED(status) => {
                // SAFETY: passes numbers only. The second call comes when this process has been continued.
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
    // From the terminal, which sends it to the whole process group.
    if info.si_code == libc::SI_KERNEL && matches!(number, libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGHUP)
    {
        return;
    }
    // SAFETY: the child has not been waited for, so the number still is its own. (sigqueue passes the value on.)
    unsafe {
        if info.si_code == libc::SI_QUEUE {
            libc::sigqueue(pid, number, info.si_value());
        } else {
            libc::kill(pid, number);
        }
    }
}

/// Ends this process as the program has ended: by the same signal, or with the same status.
pub fn end_as(status: ExitStatus) -> ExitCode {
    if let Some(number) = status.signal() {
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let all = full_set();
        // SAFETY: a valid limit and a valid set. The default action ends this process, without a second core dump.
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
