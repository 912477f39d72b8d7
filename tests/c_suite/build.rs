//! Compiles and links the programs.

use crate::program::Mode;
use crate::support;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CFLAGS: &[&str] = &["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// Compiled programs are kept per compiler, so that a second run need not compile again.
pub fn directory() -> PathBuf {
    let compiler: String = std::env::var("AIO_RS_CC").unwrap_or_default();
    let compiler: String = compiler.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let build = if cfg!(feature = "portable") { "portable" } else { "c-suite" };
    support::target_dir().join(build).join(format!("programs-{profile}-{compiler}"))
}

pub fn compile_object(source: &Path, object: &Path, by_libaio: bool) -> Result<(), String> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let mut sources = ["check.h", "gate.h", "sandbox.h", "rings.h"].map(|name| source.with_file_name(name)).to_vec();
    sources.extend([source.to_path_buf(), include.join("aio_rs/libaio.h")]);
    if support::up_to_date(object, &sources.iter().map(PathBuf::as_path).collect::<Vec<_>>()) {
        return Ok(());
    }
    let mut cc = support::cc();
    cc.args(CFLAGS).arg("-I").arg(include).arg("-c").arg(source).args(support::out(object));
    if by_libaio {
        cc.arg("-DSYSTEM_LIBAIO");
    }
    support::compile(cc)
}

pub fn link(mode: Mode, object: &Path, by_libaio: bool) -> Result<PathBuf, String> {
    let shared_from = |dir: &Path| (dir.join("libaio_rs.so"), format!("-Wl,-rpath,{}", dir.display()));
    let kind = if mode == Mode::Preload { Mode::Glibc } else { mode };
    let executable = object.with_extension(kind.name());
    let mut cc = support::cc();
    cc.arg("-pthread").arg(object).args(support::out(&executable));
    let library = match kind {
        Mode::Glibc | Mode::Preload => None,
        Mode::Shared => Some(shared_from(support::library_dir())),
        Mode::Portable => Some(shared_from(support::portable_library_dir())),
        // The debug information of Rust's std would be in every program.
        Mode::Static => Some((support::static_library(), "-Wl,-S".to_string())),
    };
    if by_libaio {
        cc.arg("-laio");
    }
    if let Some((file, option)) = &library {
        cc.arg(file).arg(option);
        if support::up_to_date(&executable, &[object, file]) {
            return Ok(executable);
        }
    } else if support::up_to_date(&executable, &[object]) {
        return Ok(executable);
    }
    if kind == Mode::Static {
        cc.arg("-Wl,-u,aio_rs_version").args(support::STATIC_LIBS);
    }
    link_in_place(cc, &executable)
}

/// ld writes into an existing file: a program still running from an earlier, killed run would be "text file busy".
fn link_in_place(cc: Command, executable: &Path) -> Result<PathBuf, String> {
    match fs::remove_file(executable) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.to_string()),
        _ => {}
    }
    support::compile(cc).map(|()| executable.to_path_buf())
}
