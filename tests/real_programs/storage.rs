//! Tools of storage that read and write through libaio: stressapptest, the tools of thin provisioning, and LVM.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Directory, LIMIT, direct_works, installed, libaio_requests, preloaded, support};

/// Runs a command that must succeed; its output.
fn succeed(command: Command, directory: &Path) -> String {
    let name = format!("{command:?}");
    let ran = support::run(command, LIMIT, &directory.join("output")).expect("it runs");
    assert_eq!(ran.end, support::End::Exit(0), "{name}\n{}", ran.output);
    ran.output
}

/// It writes patterns at random places of a file, and checks them when it reads them.
pub fn stressapptest_finds_no_fault() {
    let Some(mut stress) = preloaded("stressapptest", "stats") else { return };
    let directory = Directory::new("stressapptest");
    if !direct_works(directory.path()) {
        return support::skip(&format!("no O_DIRECT in {}", directory.path().display()));
    }
    let disk = directory.path().join("disk");
    File::create(&disk).and_then(|file| file.set_len(16 << 20)).expect("a file");
    stress.args(["-s", "1", "-M", "16", "-m", "1", "--destructive", "--random-threads", "1"]);
    stress.args(["--read-block-size", "4096", "--write-block-size", "4096", "--segment-size", "4194304"]);
    // So little that it soon reads again what it wrote.
    stress.args(["--cache-size", "1048576", "--blocks-per-segment", "32", "-d"]).arg(&disk);
    let output = succeed(stress, directory.path());
    assert!(output.contains("Status: PASS"), "{output}");
    let megabytes = output.split_once("Stats: Disk: ").and_then(|parts| parts.1.split_once('.'));
    let megabytes: u64 = megabytes.and_then(|parts| parts.0.parse().ok()).expect("what it transferred");
    let counted = libaio_requests(&output);
    assert!(megabytes > 0 && counted >= megabytes * 256, "{counted} requests of 4 KiB: {output}");
}

/// Metadata of 20 devices with 1000 blocks each, as thin_dump writes them.
fn thin_devices() -> String {
    let mut text = String::from(
        "<superblock uuid=\"\" time=\"1\" transaction=\"2\" flags=\"0\" version=\"2\" data_block_size=\"128\" \
         nr_data_blocks=\"200000\">\n",
    );
    for device in 0..20 {
        let _ = writeln!(
            text,
            "  <device dev_id=\"{device}\" mapped_blocks=\"1000\" transaction=\"0\" creation_time=\"0\" snap_time=\"1\">"
        );
        for block in 0..1000 {
            let (origin, data) = (block * 2, device * 1000 + block);
            let _ = writeln!(text, "    <single_mapping origin_block=\"{origin}\" data_block=\"{data}\" time=\"0\"/>");
        }
        text.push_str("  </device>\n");
    }
    text.push_str("</superblock>\n");
    text
}

/// It keeps its metadata in a tree of blocks, cached over libaio.
pub fn thin_tools_keep_their_tree() {
    let directory = Directory::new("thin");
    if !direct_works(directory.path()) {
        return support::skip(&format!("no O_DIRECT in {}", directory.path().display()));
    }
    let [xml, tree, repaired, dump] = ["xml", "tree", "repaired", "dump"].map(|name| directory.path().join(name));
    let devices = thin_devices();
    fs::write(&xml, &devices).expect("a description");
    for file in [&tree, &repaired] {
        File::create(file).and_then(|file| file.set_len(16 << 20)).expect("a file");
    }
    let steps: [(&str, &[&Path]); 4] = [
        ("thin_restore", &["-i".as_ref(), &xml, "-o".as_ref(), &tree]),
        ("thin_check", &[&tree]),
        ("thin_repair", &["-i".as_ref(), &tree, "-o".as_ref(), &repaired]),
        ("thin_dump", &["-o".as_ref(), &dump, &repaired]),
    ];
    for (program, arguments) in steps {
        let Some(mut command) = preloaded(program, "stats") else { return };
        command.args(arguments);
        let output = succeed(command, directory.path());
        let counted = libaio_requests(&output);
        assert!(counted >= 100, "{program} made {counted} requests: {output}");
    }
    let text = |file| fs::read_to_string(file).expect("a dump");
    assert!(text(&dump) == devices, "the repaired tree has other devices than described");
    // What the library wrote is there without it, too.
    let mut plain = Command::new("thin_dump");
    plain.arg("-o").arg(&dump).arg(&tree);
    succeed(plain, directory.path());
    assert!(text(&dump) == devices, "the tree has other devices than described");
}

/// A loop device over a file, which the kernel takes back when this is dropped, or its process dies.
struct Loop {
    device: PathBuf,
    _open: File,
}

impl Loop {
    fn over(file: &Path) -> Result<Loop, String> {
        let losetup = |arguments: &[&Path]| {
            let ran = Command::new("losetup").args(arguments).output().map_err(|error| format!("losetup: {error}"))?;
            let said =
                String::from_utf8_lossy(if ran.status.success() { &ran.stdout } else { &ran.stderr }).into_owned();
            if ran.status.success() { Ok(PathBuf::from(said.trim_end())) } else { Err(said) }
        };
        let device = losetup(&["--find".as_ref(), "--show".as_ref(), file])?;
        let open = File::open(&device);
        // A device that is open is only marked.
        losetup(&["--detach".as_ref(), &device])?;
        Ok(Loop { device, _open: open.map_err(|error| error.to_string())? })
    }
}

/// LVM's metadata on a block device; it needs no device mapper for that.
pub fn lvm_keeps_its_metadata() {
    if !installed("lvm") {
        return;
    }
    let directory = Directory::new("lvm");
    let disk = directory.path().join("disk");
    File::create(&disk).and_then(|file| file.set_len(32 << 20)).expect("a file");
    let looped = match Loop::over(&disk) {
        Ok(looped) => looped,
        Err(error) => return support::skip(&format!("no loop device: {error}")),
    };
    let device = looped.device.to_str().expect("a name");
    // Other devices are not looked at, and nothing is kept elsewhere.
    let configuration = format!(
        "devices {{ filter=[\"a|^{device}$|\", \"r|.*|\"] hints=\"none\" use_devicesfile=0 \
         obtain_device_list_from_udev=0 external_device_info_source=\"none\" }}\n\
         global {{ locking_dir=\"{}\" use_lvmpolld=0 }}\n\
         activation {{ udev_sync=0 udev_rules=0 monitoring=0 }}\n\
         backup {{ backup=0 archive=0 }}\n",
        directory.path().join("lock").display()
    );
    fs::write(directory.path().join("lvm.conf"), configuration).expect("a configuration");
    let prepared = |mut command: Command, line: &str| {
        command.args(line.split(' ')).env("LVM_SYSTEM_DIR", directory.path()).env("LVM_SUPPRESS_FD_WARNINGS", "1");
        succeed(command, directory.path())
    };
    let tags: Vec<String> = (0..8).map(|number| format!("tag{number}")).collect();
    let mut lines = vec![format!("pvcreate {device}"), format!("vgcreate aio_rs {device}")];
    lines.extend(tags.iter().map(|tag| format!("vgchange --addtag {tag} aio_rs")));
    lines.extend(["vgck aio_rs".to_string(), format!("pvck {device}")]);
    for line in &lines {
        let Some(command) = preloaded("lvm", "stats") else { return };
        let output = prepared(command, line);
        assert!(libaio_requests(&output) > 0, "{line}: {output}");
    }
    // What the library wrote is there without it, too.
    let output = prepared(Command::new("lvm"), "vgs --noheadings -o vg_tags aio_rs");
    assert_eq!(output.trim(), tags.join(","));
    let image = String::from_utf8_lossy(&fs::read(&disk).expect("the disk")).into_owned();
    assert!(image.contains(&format!("tags = [\"{}\"]", tags.join("\", \""))), "the file has other metadata");
}
