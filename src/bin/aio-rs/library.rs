//! Finds `libaio_rs.so` and composes the `LD_PRELOAD` that names it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const NAME: &str = "libaio_rs.so";
const VARIABLE: &str = "AIO_RS_LIBRARY";

/// The path of the library: what `AIO_RS_LIBRARY` says, or else near this executable.
pub fn find() -> Result<PathBuf, String> {
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    let candidates = match named {
        Some(path) => vec![path],
        None => near(&executable()?),
    };
    let found = candidates.iter().find_map(|path| path.canonicalize().ok());
    let path = found.ok_or_else(|| not_found(&candidates))?;
    preloadable(&path)?;
    Ok(path)
}

/// The path of this executable.
pub fn executable() -> Result<PathBuf, String> {
    env::current_exe().map_err(|error| format!("cannot find this executable: {error}"))
}

/// The value of `LD_PRELOAD`: the library, then what the variable held before.
pub fn preload(library: &Path, existing: Option<OsString>) -> OsString {
    let mut value = library.as_os_str().to_owned();
    if let Some(others) = existing.filter(|others| !others.is_empty()) {
        value.push(":");
        value.push(others);
    }
    value
}

/// Where to look. In a build directory `cargo run` renews only the copy in `deps`, so that comes first; `../lib` is for an
/// installation.
fn near(executable: &Path) -> Vec<PathBuf> {
    let directory = executable.parent().unwrap_or(Path::new("."));
    let places = ["deps", ".", "../lib"];
    let files = places.map(|place| directory.join(place).join(NAME));
    files.into()
}

fn not_found(candidates: &[PathBuf]) -> String {
    let places: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
    format!("{NAME} not found (looked for {}); name it with {VARIABLE}=PATH", places.join(", "))
}

/// Refuses a path with a space or a colon: the dynamic linker splits `LD_PRELOAD` there and knows no quotes.
fn preloadable(path: &Path) -> Result<(), String> {
    let splits = |text: &OsStr| text.as_bytes().iter().any(|byte| b": ".contains(byte));
    if splits(path.as_os_str()) {
        return Err(format!("{} cannot be preloaded: its path holds a space or a colon", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_goes_before_what_was_preloaded() {
        let library = Path::new("/opt/libaio_rs.so");
        assert_eq!(preload(library, None), "/opt/libaio_rs.so");
        assert_eq!(preload(library, Some("".into())), "/opt/libaio_rs.so");
        assert_eq!(preload(library, Some("a.so b.so".into())), "/opt/libaio_rs.so:a.so b.so");
    }

    #[test]
    fn a_path_that_the_dynamic_linker_would_split_is_refused() {
        assert!(preloadable(Path::new("/opt/lib/libaio_rs.so")).is_ok());
        assert!(preloadable(Path::new("/opt/my lib/libaio_rs.so")).is_err());
        assert!(preloadable(Path::new("/opt/a:b/libaio_rs.so")).is_err());
    }
}
