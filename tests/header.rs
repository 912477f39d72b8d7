//! `include/aio_rs.h` is what cbindgen makes of `src/`, declares only what is ours, and suits C99 and C++11.

mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const STALE: &str = "include/aio_rs.h is stale; write it anew with: AIO_RS_BLESS=1 cargo test --test header";

fn checked_in() -> PathBuf {
    Path::new(ROOT).join("include/aio_rs.h")
}

/// The version comes from Cargo.toml, so that it is written down once.
fn version_macros() -> String {
    format!(
        "\n#define AIO_RS_VERSION_MAJOR {}\n#define AIO_RS_VERSION_MINOR {}\n#define AIO_RS_VERSION_PATCH {}\n\
         #define AIO_RS_VERSION \"{}\"",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
        env!("CARGO_PKG_VERSION"),
    )
}

/// Not from the whole crate: what `sys/` imports of C would be declared too.
fn generate() -> String {
    let mut config = cbindgen::Config::from_file(Path::new(ROOT).join("cbindgen.toml")).expect("cbindgen.toml");
    config.after_includes = Some(version_macros());
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(Path::new(ROOT).join("src/entry.rs"))
        .with_src(Path::new(ROOT).join("src/stats.rs"))
        .generate()
        .expect("cbindgen reads src/");
    let mut text = Vec::new();
    bindings.write(&mut text);
    without_safety(&String::from_utf8(text).expect("the header is UTF-8"))
}

/// Without the `# Safety` sections, which speak to Rust: from such a line to the end of its comment.
fn without_safety(text: &str) -> String {
    let mut made: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let comment = line.trim_start().strip_prefix("//").map(str::trim);
        inside = comment.is_some() && (inside || comment == Some("# Safety"));
        if inside && made.last().is_some_and(|last| last.trim() == "//") {
            made.pop();
        }
        if !inside {
            made.push(line);
        }
    }
    made.join("\n") + "\n"
}

/// The header as it should be, written into the tests' own folder for the compilers.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).expect("a scratch folder");
    fs::write(dir.join("aio_rs.h"), generate()).expect("the header is written");
    dir
}

fn compiler(variable: &str, default: &str) -> Command {
    Command::new(env::var(variable).unwrap_or_else(|_| default.into()))
}

fn must_compile(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn checked_in_header_is_current() {
    let made = generate();
    if env::var_os("AIO_RS_BLESS").is_some() {
        fs::write(checked_in(), &made).expect("include/aio_rs.h is written");
    }
    let kept = fs::read_to_string(checked_in()).unwrap_or_else(|e| panic!("{e}: {STALE}"));
    let differing = kept.lines().zip(made.lines()).position(|(a, b)| a != b);
    if let Some(n) = differing {
        let (kept, made) = (kept.lines().nth(n), made.lines().nth(n));
        panic!("{STALE}\nfirst difference in line {}:\n  kept: {kept:?}\n  made: {made:?}", n + 1);
    }
    assert_eq!(kept, made, "{STALE}");
}

/// A declaration of a POSIX call here could disagree with the system's own.
#[test]
fn declares_only_our_own_names() {
    let text = generate();
    let mut functions = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with([' ', '/', '#', '*'])) {
        let Some((head, _)) = line.split_once('(') else {
            continue;
        };
        let name = head.rsplit([' ', '*']).next().unwrap_or_default();
        assert!(name.starts_with("aio_rs_"), "{name} is declared: name it in cbindgen.toml's exclude list\n{line}");
        functions.push(name.to_owned());
    }
    functions.sort();
    assert_eq!(functions, ["aio_rs_stats", "aio_rs_version"]);
}

const CLIENT: &str = r#"
#include "aio_rs.h"
#include "aio_rs.h" /* guarded */
#if AIO_RS_VERSION_MAJOR * 1000000 + AIO_RS_VERSION_MINOR * 1000 + AIO_RS_VERSION_PATCH < 1
#error "no version"
#endif
#include <stdio.h>
#include <string.h>
int main(void) {
    struct aio_rs_stats stats;
    struct aiocb cb; /* from <aio.h> */
    char macros[64];
    memset(&cb, 0, sizeof cb);
    memset(&stats, 0xff, sizeof stats);
    sprintf(macros, "%d.%d.%d", AIO_RS_VERSION_MAJOR, AIO_RS_VERSION_MINOR, AIO_RS_VERSION_PATCH);
    if (strncmp(macros, AIO_RS_VERSION, strlen(macros)) != 0) return 1;
    if (strcmp(AIO_RS_VERSION, aio_rs_version()) != 0) return 2;
    if (aio_rs_stats(&stats) != 0) return 3;
    return 0;
}
"#;

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

#[test]
fn compiles_as_c99() {
    let dir = scratch("header-c99");
    let source = dir.join("client.c");
    fs::write(&source, CLIENT).expect("the client is written");
    must_compile(compiler("CC", "cc").args(["-std=c99", "-fsyntax-only"]).args(STRICT).arg(&source));
}

#[test]
fn compiles_as_cxx11() {
    let dir = scratch("header-cxx11");
    let source = dir.join("client.cc");
    fs::write(&source, CLIENT).expect("the client is written");
    must_compile(compiler("CXX", "c++").args(["-std=c++11", "-fsyntax-only"]).args(STRICT).arg(&source));
}

/// C++ checks that the names link as C names; a C client would link either way.
#[test]
fn clients_link_and_agree_on_the_version() {
    let library = support::library_dir();
    for (variable, default, suffix) in [("CC", "cc", "c"), ("CXX", "c++", "cc")] {
        let dir = scratch(&format!("header-link-{suffix}"));
        let (source, program) = (dir.join("client").with_extension(suffix), dir.join("client"));
        fs::write(&source, CLIENT).expect("the client is written");
        let mut command = compiler(variable, default);
        command.arg(&source).arg("-o").arg(&program).arg("-L").arg(library).arg("-laio_rs");
        must_compile(&mut command);
        let status = Command::new(&program).env("LD_LIBRARY_PATH", library).status().expect("the client runs");
        assert!(status.success(), "the {suffix} client ended with {status}");
    }
}
