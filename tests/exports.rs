//! `libaio_rs.so` as the dynamic linker sees it: its names are those of `tests/exports.txt`, and it loads as it should.
//! `AIO_RS_LIB_DIR=target/release cargo test --test exports` looks at the release build.

mod support;

use std::{collections::BTreeSet, fs, process::Command};

/// Binutils' readelf reads files of every architecture, nm only its own.
fn readelf(options: &str) -> String {
    let library = support::shared_library();
    let output = Command::new("readelf")
        .args(["--wide", options])
        .arg(&library)
        .env("LC_ALL", "C")
        .output()
        .expect("readelf, of binutils, runs");
    assert!(output.status.success(), "readelf {options} {}: {}", library.display(), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The names in a symbol table that are defined in it. A line is: number, value, size, type, bind, visibility, section, name.
fn defined(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (kind, bind) = (fields.nth(3)?, fields.next()?);
        let (section, name) = (fields.nth(1)?, fields.next()?);
        let shown = section != "UND" && kind != "SECTION" && matches!(bind, "GLOBAL" | "WEAK" | "UNIQUE");
        shown.then_some(name)
    })
}

/// The values of a tag in the dynamic section, such as `[libc.so.6]` of `NEEDED`.
fn dynamic(tag: &str) -> Vec<String> {
    let wanted = format!("({tag})");
    let section = readelf("--dynamic");
    let lines = section.lines().filter(|line| line.contains(&wanted));
    lines.filter_map(|line| Some(line.rsplit_once([':', ')'])?.1.trim().to_owned())).collect()
}

#[test]
fn exports_what_the_list_says_and_nothing_else() {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exports.txt");
    let text = fs::read_to_string(list).expect("tests/exports.txt");
    let listed: BTreeSet<&str> = text.lines().collect();
    let table = readelf("--dyn-syms");
    let exported: BTreeSet<&str> = defined(&table).collect();
    let missing: Vec<_> = listed.difference(&exported).collect();
    let surplus: Vec<_> = exported.difference(&listed).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:?}, not in tests/exports.txt: {surplus:?}");
    assert!(listed.iter().copied().eq(text.lines()), "tests/exports.txt is not sorted or names something twice");
}

/// A version would keep a program that was linked against libc's `aio_read@GLIBC_2.34` from finding ours.
#[test]
fn names_carry_no_version() {
    let table = readelf("--dyn-syms");
    let versioned: Vec<_> = defined(&table).filter(|name| name.contains('@')).collect();
    assert!(versioned.is_empty(), "{versioned:?}");
    assert!(dynamic("VERDEF").is_empty(), "the library defines versions");
}

#[test]
fn is_named_and_stays_loaded() {
    assert_eq!(dynamic("SONAME"), ["[libaio_rs.so]"]);
    let flags = dynamic("FLAGS_1").join(" ");
    assert!(flags.contains("NODELETE"), "its threads would run unmapped code after dlclose; flags: {flags}");
}

/// Preloaded into every program, it must cost none of them shared pages or a protection.
#[test]
fn needs_no_relocated_text_and_no_executable_stack() {
    assert!(dynamic("TEXTREL").is_empty());
    assert!(!dynamic("FLAGS").join(" ").contains("TEXTREL"));
    let headers = readelf("--program-headers");
    let stack = headers.lines().find(|l| l.contains("GNU_STACK")).expect("a GNU_STACK header");
    assert!(!stack.contains("RWE"), "{stack}");
    assert!(headers.contains("GNU_RELRO"));
}

#[test]
fn needs_nothing_but_the_system() {
    let system = ["[libc.", "[libgcc_s.", "[ld-linux-", "[libm.", "[libpthread.", "[libdl.", "[librt."];
    let needed = dynamic("NEEDED");
    assert!(!needed.is_empty());
    for library in needed {
        assert!(system.iter().any(|name| library.starts_with(name)), "needs {library}");
    }
}

/// The packages of the `aio-rs` command and of the tests stay out of the C library.
#[test]
fn carries_no_package_of_the_command() {
    let file = support::shared_library();
    let bytes = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = String::from_utf8_lossy(&bytes);
    let contains = |word: &str| text.contains(word);
    assert!(contains("libaio_rs.so"), "the search finds what is there");
    for package in ["clap_builder", "clap_lex", "indicatif", "criterion", "proptest", "cbindgen"] {
        assert!(!contains(package), "{} carries {package}", file.display());
    }
}
