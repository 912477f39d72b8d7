//! Linker settings of `libaio_rs.so`: its name, and that it is never unmapped (its threads run library code for ever). And
//! whether there is libaio's interface: where the kernel's AIO is, with its structures laid out for this order of bytes.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(libaio)");
    let target = |what| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let portable = std::env::var_os("CARGO_FEATURE_PORTABLE").is_some();
    if target("OS") == "linux" && target("ENDIAN") == "little" && !portable {
        println!("cargo:rustc-cfg=libaio");
    }
    let unix = std::env::var_os("CARGO_CFG_UNIX").is_some();
    if unix {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libaio_rs.so");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
