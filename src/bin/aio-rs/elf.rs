//! Whether the dynamic linker would honour `LD_PRELOAD` for a program.
//!
//! No error tells: a static program has no dynamic linker; for a setuid program the linker ignores the variable in silence; for
//! another architecture it prints a warning and goes on. So the program's file is examined before it starts.

use object::Endianness;
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::FileHeader;
use object::{ReadCache, ReadRef};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The kernel follows no more interpreters either.
const MOST_INTERPRETERS: usize = 5;
/// How much of the first line of a script the kernel reads.
const FIRST_LINE: u64 = 256;

/// Error: why `library` cannot be preloaded into `program`. Of a script the interpreter is examined.
pub fn check(program: &Path, library: &Path) -> Result<(), String> {
    let program = interpreter_of(program.to_owned());
    let name = program.display();
    let Ok(file) = File::open(&program) else {
        return Ok(()); // exec reports what is wrong, unless the file is only unreadable
    };
    if gains_privileges(&program, &file) {
        return Err(format!(
            "{name} is setuid, setgid or has file capabilities: the dynamic linker ignores LD_PRELOAD"
        ));
    }
    match (kind(&program)?, kind(library)?) {
        (Kind::NotElf, _) => Ok(()),
        (Kind::Elf32, _) => Err(format!("{name} is a 32-bit program: the library is 64-bit")),
        (Kind::Elf64 { dynamic: false, .. }, _) => {
            Err(format!("{name} is statically linked: no dynamic linker, no LD_PRELOAD"))
        }
        (Kind::Elf64 { machine, .. }, Kind::Elf64 { machine: ours, .. }) if machine != ours => {
            Err(format!("{name} is for another architecture (ELF machine {machine}, the library's is {ours})"))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, PartialEq)]
enum Kind {
    NotElf,
    Elf32,
    Elf64 { machine: u16, dynamic: bool },
}

fn kind(path: &Path) -> Result<Kind, String> {
    let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let cache = ReadCache::new(file);
    match (&cache).read_bytes_at(0, 5) {
        Ok(b"\x7fELF\x01") => Ok(Kind::Elf32),
        Ok(b"\x7fELF\x02") => parse(&cache).map_err(|error| format!("{}: {error}", path.display())),
        _ => Ok(Kind::NotElf),
    }
}

fn parse<'data>(data: impl ReadRef<'data>) -> object::Result<Kind> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let dynamic = segments.iter().any(|segment| segment.p_type.get(endian) == PT_INTERP);
    Ok(Kind::Elf64 { machine: header.e_machine.get(endian).0, dynamic })
}

/// Follows `#!` lines to the program that the kernel would start.
fn interpreter_of(mut program: PathBuf) -> PathBuf {
    for _ in 0..MOST_INTERPRETERS {
        match script_interpreter(&program) {
            Some(interpreter) => program = interpreter,
            None => break,
        }
    }
    program
}

fn script_interpreter(path: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(FIRST_LINE).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let word = line.trim_ascii().split(|byte| b" \t".contains(byte)).next()?;
    (!word.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_vec(word.to_vec())))
}

fn gains_privileges(path: &Path, file: &File) -> bool {
    let Ok(metadata) = file.metadata() else {
        return false;
    };
    // SAFETY: both calls take nothing and always succeed.
    let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
    let setid = changes_identity(metadata.mode(), metadata.uid() != user, metadata.gid() != group);
    setid || (user != 0 && has_capabilities(path))
}

/// As the kernel does: setuid counts if the owner is another user; setgid if the group is another one and may execute the file.
fn changes_identity(mode: u32, other_owner: bool, other_group: bool) -> bool {
    let setgid = libc::S_ISGID | libc::S_IXGRP;
    (mode & libc::S_ISUID != 0 && other_owner) || (mode & setgid == setgid && other_group)
}

#[cfg(target_os = "linux")]
fn has_capabilities(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let attribute = c"security.capability";
    // SAFETY: both strings end in NUL; size 0 asks for the length only.
    unsafe { libc::getxattr(path.as_ptr(), attribute.as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

#[cfg(not(target_os = "linux"))]
fn has_capabilities(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_dynamic_program() {
        let own = std::env::current_exe().unwrap();
        assert!(matches!(kind(&own), Ok(Kind::Elf64 { dynamic: true, .. })));
        assert_eq!(check(&own, &own), Ok(()));
    }

    #[test]
    fn identity_changes_by_the_kernels_rule() {
        assert!(changes_identity(0o4755, true, false));
        assert!(!changes_identity(0o4755, false, true));
        assert!(changes_identity(0o2755, false, true));
        assert!(!changes_identity(0o2745, false, true), "setgid without group execute means a lock, not a group");
        assert!(!changes_identity(0o755, true, true));
    }

    #[test]
    fn a_script_leads_to_its_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let inner = script("inner", "#! /bin/sh -e\ntrue\n");
        let outer = script("outer", &format!("#!{}\n", inner.display()));
        assert_eq!(interpreter_of(outer), Path::new("/bin/sh"));
        let plain = script("plain", "no interpreter\n");
        assert_eq!(interpreter_of(plain.clone()), plain);
        let looping = directory.path().join("loop");
        std::fs::write(&looping, format!("#!{}\n", looping.display())).unwrap();
        assert_eq!(interpreter_of(looping.clone()), looping);
    }

    #[test]
    fn other_kinds_of_executable_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let own = std::env::current_exe().unwrap();
        let written = |name: &str, data: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, data).unwrap();
            path
        };
        let thirty_two = written("elf32", b"\x7fELF\x01\x01\x01");
        assert!(check(&thirty_two, &own).unwrap_err().contains("32-bit"));
        let mut foreign = std::fs::read(&own).unwrap();
        foreign[18] ^= 0xff;
        let foreign = written("foreign", &foreign);
        assert!(check(&foreign, &own).unwrap_err().contains("another architecture"));
        assert_eq!(kind(&written("text", b"hello")), Ok(Kind::NotElf));
        assert!(kind(&written("broken", b"\x7fELF\x02")).is_err());
    }

    /// The start of this executable, with the headers that `parse` reads.
    fn beginning() -> &'static [u8] {
        static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        BYTES.get_or_init(|| {
            let file = File::open(std::env::current_exe().unwrap()).unwrap();
            let mut bytes = Vec::new();
            file.take(4096).read_to_end(&mut bytes).unwrap();
            bytes
        })
    }

    proptest::proptest! {
        /// `check` returns for any contents, without a panic.
        #[test]
        fn any_file_gets_an_answer(
            changes in proptest::collection::vec((0usize..1024, proptest::num::u8::ANY), 0..24),
            length in 0usize..4096,
            script in proptest::bool::ANY,
        ) {
            let mut bytes = beginning().to_vec();
            for (at, value) in changes {
                bytes[at] = value;
            }
            bytes.truncate(length);
            if script {
                bytes.splice(0..0, *b"#!");
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let own = std::env::current_exe().unwrap();
            if let Err(reason) = check(file.path(), &own) {
                assert!(!reason.is_empty());
            }
            let _ = kind(file.path());
            if let Ok(Kind::Elf64 { .. }) = parse(bytes.as_slice()) {
                assert!(bytes.len() >= 64);
            }
        }
    }
}
