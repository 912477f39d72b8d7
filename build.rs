//! Linker settings of `libaio_rs.so`: its name, and that it is never unmapped (its threads run library code for ever).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let unix = std::env::var_os("CARGO_CFG_UNIX").is_some();
    if unix {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libaio_rs.so");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
