//! `include/aio_rs.h` is what cbindgen makes of `src/`, declares only what is ours, and suits C99 and C++11.

mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const STALE: &str = "a header is stale; write it anew with: AIO_RS_BLESS=1 cargo test --test header";

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
    made_of(config, &["src/capi/posix.rs", "src/figures.rs"])
}

/// The system's header, if it comes second, begins by naming this.
const NOT_BOTH: &str = r#"
#define io_iocb_cmd _Pragma("GCC error \"aio_rs/libaio.h takes the place of libaio.h: include one of them\"") io_iocb_cmd"#;

fn generate_libaio() -> String {
    let mut config =
        cbindgen::Config::from_file(Path::new(ROOT).join("cbindgen-libaio.toml")).expect("cbindgen-libaio.toml");
    config.after_includes = Some(NOT_BOTH.to_string());
    made_of(config, &["src/sys/linux/aio_abi.rs", "src/libaio/abi.rs", "src/libaio/entry.rs"])
}

fn made_of(config: cbindgen::Config, sources: &[&str]) -> String {
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = sources.iter().fold(builder, |builder, source| builder.with_src(Path::new(ROOT).join(source)));
    let bindings = builder.generate().expect("cbindgen reads src/");
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
    fs::create_dir_all(dir.join("aio_rs")).expect("a folder");
    fs::write(dir.join("aio_rs/libaio.h"), generate_libaio()).expect("the header is written");
    dir
}

/// Whether libaio's own header is there.
fn has_libaio() -> bool {
    let there = support::has_libaio();
    if !there {
        support::skip("libaio-dev is not installed");
    }
    there
}

fn compiler(variable: &str, default: &str) -> Command {
    Command::new(env::var(variable).unwrap_or_else(|_| default.into()))
}

fn must_compile(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn checked_in_headers_are_current() {
    for (name, made) in [("aio_rs.h", generate()), ("aio_rs/libaio.h", generate_libaio())] {
        let path = Path::new(ROOT).join("include").join(name);
        if env::var_os("AIO_RS_BLESS").is_some() {
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
            fs::write(&path, &made).expect("the header is written");
        }
        let kept = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}: {STALE}"));
        let differing = kept.lines().zip(made.lines()).position(|(a, b)| a != b);
        if let Some(n) = differing {
            let (kept, made) = (kept.lines().nth(n), made.lines().nth(n));
            panic!("{STALE}\nfirst difference in line {} of {name}:\n  kept: {kept:?}\n  made: {made:?}", n + 1);
        }
        assert_eq!(kept, made, "{name}: {STALE}");
    }
}

/// A declaration of a POSIX call here could disagree with the system's own.
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

const LIBAIO_CLIENT: &str = r#"
#include "aio_rs/libaio.h"
#include "aio_rs/libaio.h" /* guarded */
#include <aio.h>
int main(void) {
    io_context_t context = 0;
    struct iocb block, *list[1];
    struct io_event event;
    list[0] = &block;
    io_prep_fsync(&block, 1000000);
    if (io_queue_init(1, &context) != 0) return 0; /* no kernel AIO here */
    if (io_submit(context, 1, list) != -9) return 1;
    if (io_cancel(context, &block, &event) != -22) return 2;
    return io_queue_release(context);
}
"#;

/// Both headers, in either order, and what each says of its structures.
const LAYOUT: &str = r#"
#define PLACE(kind, field) { offsetof(struct kind, field), sizeof ((struct kind *)0)->field }
const size_t layout[][2] = {
    { sizeof (struct iocb), sizeof (struct io_event) },
    PLACE(iocb, data), PLACE(iocb, key), PLACE(iocb, aio_rw_flags), PLACE(iocb, aio_lio_opcode), PLACE(iocb, aio_reqprio),
    PLACE(iocb, aio_fildes), PLACE(iocb, u.c.buf), PLACE(iocb, u.c.nbytes), PLACE(iocb, u.c.offset), PLACE(iocb, u.c.flags),
    PLACE(iocb, u.c.resfd), PLACE(iocb, u.v.vec), PLACE(iocb, u.v.nr), PLACE(iocb, u.v.offset), PLACE(iocb, u.poll.events),
    PLACE(io_event, data), PLACE(io_event, obj), PLACE(io_event, res), PLACE(io_event, res2),
    { IO_CMD_PREAD, IO_CMD_PWRITE }, { IO_CMD_FSYNC, IO_CMD_FDSYNC }, { IO_CMD_POLL, IO_CMD_NOOP }, { IO_CMD_PREADV, IO_CMD_PWRITEV },
};
int main(void) {
    for (size_t i = 0; i < sizeof layout / sizeof *layout; i++) printf("%zu %zu\n", layout[i][0], layout[i][1]);
    return 0;
}
"#;

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
    if (aio_rs_stats(&stats, sizeof stats) != 0) return 3;
    return 0;
}
"#;

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

fn compiles_as_c99() {
    let dir = scratch("header-c99");
    let source = dir.join("client.c");
    fs::write(&source, CLIENT).expect("the client is written");
    must_compile(compiler("CC", "cc").args(["-std=c99", "-fsyntax-only"]).args(STRICT).arg(&source));
}

fn compiles_as_cxx11() {
    let dir = scratch("header-cxx11");
    let source = dir.join("client.cc");
    fs::write(&source, CLIENT).expect("the client is written");
    must_compile(compiler("CXX", "c++").args(["-std=c++11", "-fsyntax-only"]).args(STRICT).arg(&source));
}

/// C++ checks that the names link as C names; a C client would link either way.
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

fn libaio_header_serves_c99_and_cxx11_and_links() {
    let library = support::library_dir();
    for (variable, default, suffix, standard) in [("CC", "cc", "c", "-std=gnu99"), ("CXX", "c++", "cc", "-std=gnu++11")]
    {
        let dir = scratch(&format!("libaio-{suffix}"));
        let (source, program) = (dir.join("client").with_extension(suffix), dir.join("client"));
        fs::write(&source, LIBAIO_CLIENT).expect("the client is written");
        let mut command = compiler(variable, default);
        command.arg(standard).args(STRICT).arg("-I").arg(&dir).arg(&source).arg("-o").arg(&program);
        must_compile(command.arg("-L").arg(library).arg("-laio_rs"));
        let status = Command::new(&program).env("LD_LIBRARY_PATH", library).status().expect("the client runs");
        assert!(status.success(), "the {suffix} client ended with {status}");
    }
}

fn libaio_structures_are_those_of_its_own_header() {
    let dir = scratch("libaio-layout");
    if !has_libaio() {
        return;
    }
    let said = |name: &str, header: &str| {
        let (source, program) = (dir.join(name).with_extension("c"), dir.join(name));
        let text = format!("#include <stddef.h>\n#include <stdio.h>\n#include <{header}>\n{LAYOUT}");
        fs::write(&source, text).expect("the client is written");
        must_compile(compiler("CC", "cc").arg("-I").arg(&dir).arg(&source).arg("-o").arg(&program));
        let output = Command::new(&program).output().expect("the client runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (ours, theirs) = (said("ours", "aio_rs/libaio.h"), said("theirs", "libaio.h"));
    assert!(ours.lines().count() > 20, "{ours}");
    assert_eq!(ours, theirs);
}

fn both_libaio_headers_are_an_error_that_says_so() {
    let dir = scratch("libaio-both");
    if !has_libaio() {
        return;
    }
    for (name, first, second) in
        [("ours-first", "aio_rs/libaio.h", "libaio.h"), ("theirs-first", "libaio.h", "aio_rs/libaio.h")]
    {
        let source = dir.join(name).with_extension("c");
        fs::write(&source, format!("#include <{first}>\n#include <{second}>\n")).expect("the client is written");
        let output =
            compiler("CC", "cc").arg("-fsyntax-only").arg("-I").arg(&dir).arg(&source).output().expect("a compiler");
        let said = String::from_utf8_lossy(&output.stderr);
        let first_error = said.lines().find(|line| line.contains("error:")).unwrap_or_default();
        assert!(first_error.contains("takes the place of libaio.h"), "{name}: {said}");
    }
}

fn main() -> std::process::ExitCode {
    let tests = support::tests![
        checked_in_headers_are_current,
        declares_only_our_own_names,
        compiles_as_c99,
        compiles_as_cxx11,
        clients_link_and_agree_on_the_version,
        libaio_header_serves_c99_and_cxx11_and_links,
        libaio_structures_are_those_of_its_own_header,
        both_libaio_headers_are_an_error_that_says_so
    ];
    support::run_tests("header", support::processors(), tests)
}
