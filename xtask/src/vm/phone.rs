//! Makes the kernel and the system of a phone: a read-only file system with the layout of Android.
//!
//! Owns the tree. Programs are in `/system/bin`: mksh is `sh`, toybox provides most others, and the rest are tools that
//! AOSP also has there. No folder of a Linux distribution exists. The programs are Debian's, unpacked and not configured;
//! `/lib` and `/lib64` are links to `/system/lib64`, because Debian's loader searches there. iptables is the old one, which
//! Android has, and the kernel's modules for it are those that stock kernels contain. The scripts in the place of
//! Android's init and of a root manager are in the initramfs, which the tests write. The labels are Android's: see
//! `tests/vm/policy.conf`.

use super::system::only;
use super::{kernel, modules};
use crate::fixture::{self, Mirror};
use crate::process;
use anyhow::{Context, Result};
use rustix::fs::{XattrFlags, lsetxattr};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Must change when [`make`] produces another result from the same lists.
const VERSION: u32 = 2;

/// Its kernel is 6.1, the version of phones of 2023.
const SUITE: &str = "bookworm";

/// The packages, except for that of the kernel, which is named after the architecture.
const PACKAGES: &[&str] = &[
    "kmod",
    "busybox-static",
    "mksh",
    "toybox",
    "e2fsprogs",
    "f2fs-tools",
    "iproute2",
    "iptables",
    "attr",
    "coreutils",
    "bubblewrap",
    "util-linux",
];

/// The first program loads all of them, because no program can load a module later. File systems request the checksums
/// by name. As stock kernels, it has no nf_tables, translation of IPv6 addresses, or match for the host's own addresses.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "virtio_net",
    "crc32c_generic",
    "crc32_generic",
    "ext4",
    "f2fs",
    "overlay",
    "loop",
    "dummy",
    "tun",
    "veth",
    "bridge",
    "iptable_filter",
    "iptable_mangle",
    "iptable_nat",
    "ip6table_filter",
    "ip6table_mangle",
    "ipt_REJECT",
    "xt_MASQUERADE",
    "xt_TCPMSS",
    "xt_conntrack",
    "xt_mac",
    "xt_nat",
    "xt_tcpudp",
];

/// Programs that Android also has in `/system/bin`, with their paths in Debian. Only `bwrap` is not Android's: tests use it
/// to create the environment of an app, as zygote does.
const PROGRAMS: &[(&str, &str)] = &[
    ("usr/bin/mksh", "sh"),
    ("usr/bin/toybox", "toybox"),
    ("usr/sbin/mke2fs", "mke2fs"),
    ("usr/sbin/e2fsck", "e2fsck"),
    ("usr/sbin/resize2fs", "resize2fs"),
    ("usr/sbin/tune2fs", "tune2fs"),
    ("usr/sbin/mkfs.f2fs", "make_f2fs"),
    ("usr/sbin/fsck.f2fs", "fsck.f2fs"),
    ("usr/bin/ip", "ip"),
    ("usr/sbin/xtables-legacy-multi", "xtables-legacy-multi"),
    ("usr/bin/chcon", "chcon"),
    ("usr/bin/getfattr", "getfattr"),
    ("usr/bin/tr", "tr"),
    ("usr/bin/dd", "dd"),
    ("usr/bin/expr", "expr"),
    ("usr/bin/bwrap", "bwrap"),
    ("usr/bin/busybox", "init"),
];

/// Android's programs that are toybox.
const TOYBOX: &str = "base64 basename blkid blockdev cal cat chattr chgrp chmod chown chroot chrt cksum clear cmp comm cp cpio cut \
    date df dirname dmesg du echo egrep env expand fallocate false fgrep file find flock fmt free freeramdisk fsfreeze fsync \
    getconf grep groups gunzip head hostname hwclock i2cdetect iconv id ifconfig inotifyd insmod install ionice iorenice \
    kill killall ln losetup ls lsattr lsmod lsof lspci lsusb md5sum microcom mkdir mkfifo mknod mkswap mktemp modinfo more mount \
    mountpoint mv nc netcat netstat nice nl nohup nproc nsenter od paste patch pgrep pidof pkill pmap printenv printf \
    prlimit ps pwd readelf readlink realpath renice rev rfkill rm rmdir rmmod rtcwake sed setfattr setsid sha1sum sha224sum \
    sha256sum sha384sum sha512sum sleep sort split stat strings stty swapoff swapon sync sysctl tac tail tar taskset tee \
    test time timeout top touch true truncate tty uclampset ulimit umount uname uniq unlink unshare unzip uptime usleep \
    uudecode uuencode uuidgen vmstat watch wc which whoami xargs xxd yes zcat";

/// Programs in the initramfs; see `tests/vm/android`.
const BROUGHT: &[&str] = &["getprop", "setprop", "su"];

/// Android's names of iptables, which a script in the initramfs starts.
const IPTABLES: &[&str] = &["", "-save", "-restore"];

/// Mount points.
const MOUNT_POINTS: &[&str] = &[
    "data",
    "dev",
    "metadata",
    "mnt",
    "proc",
    "storage",
    "sys",
    "apex",
    "linkerconfig",
    "vendor/bin",
    "product/bin",
];

/// Links of Android's root, and those that Debian's loader needs.
const LINKS: &[(&str, &str)] = &[
    ("system/bin/init", "init"),
    ("system/bin", "bin"),
    ("system/etc", "etc"),
    ("mnt/sdcard", "sdcard"),
    ("sys/kernel/debug", "d"),
    ("system/lib64", "lib"),
    ("system/lib64", "lib64"),
];

/// PID 1 is BusyBox's init at the path of Android's.
const INITTAB: &str = "::sysinit:/mnt/vm/boot\n::respawn:/mnt/vm/agent\n";

const BUILD_PROPERTIES: &str =
    "ro.build.version.sdk=34\nro.build.version.release=14\nro.product.model=Phone in a VM\n";

/// The label of each part of the tree; other files have that of `/`.
const LABELS: &[(&str, &str)] = &[
    ("system/bin", "shell_exec"),
    ("system", "system_file"),
    ("vendor", "system_file"),
    ("product", "system_file"),
];

/// Everything that the result depends on.
pub fn stamp(architecture: &str) -> String {
    format!(
        "phone {VERSION} {architecture}\n{SUITE} {PACKAGES:?}\n{MODULES:?}\n{PROGRAMS:?}\n{TOYBOX}\n{BROUGHT:?} {IPTABLES:?}\n{MOUNT_POINTS:?} {LINKS:?}\n\
         {INITTAB}{BUILD_PROPERTIES}{LABELS:?}\n"
    )
}

/// Makes `kernel`, `early/`, `busybox` and `system` in `folder`, which does not exist yet, for one of Debian's architectures.
///
/// # Errors
/// If the packages cannot be downloaded, or lack an expected file.
pub fn make(architecture: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let debian = folder.join("debian");
    let mirror = Mirror::of_this_machine();
    let mut command = fixture::mmdebstrap(&mirror);
    command.arg("--variant=extract").arg(format!("--architectures={architecture}"));
    command.arg(format!("--include=linux-image-{architecture},{}", PACKAGES.join(",")));
    process::run_quietly(command.arg(SUITE).arg(&debian).args(&mirror.uri))?;
    let image = only(&debian.join("boot"), "vmlinuz-")?;
    let release = image.file_name().unwrap_or_default().to_string_lossy().replacen("vmlinuz-", "", 1);
    if architecture == "amd64" {
        kernel::unpack(&image, &folder.join("kernel"))?;
    } else {
        // It is not compressed and starts without changes (Documentation/arm64/booting.rst).
        fs::copy(&image, folder.join("kernel"))?;
    }
    modules::choose(&debian, &release, &folder.join("early"), MODULES, &[])?;
    let tree = folder.join("tree");
    furnish(&debian, &tree, architecture)?;
    fs::copy(tree.join("system/bin/init"), folder.join("busybox"))?;
    label(&tree, &tree)?;
    let mut command = process::nice("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal", "-d"]);
    process::run_quietly(command.arg(&tree).arg(folder.join("system")).arg("64M"))?;
    fixture::remove(&tree)?;
    fixture::remove(&debian)
}

/// Builds the phone's tree from Debian's packages.
fn furnish(debian: &Path, tree: &Path, architecture: &str) -> Result<()> {
    let (programs, libraries) = (tree.join("system/bin"), tree.join("system/lib64"));
    for folder in MOUNT_POINTS.iter().map(|path| tree.join(path)).chain([
        programs.clone(),
        libraries.clone(),
        tree.join("system/etc"),
    ]) {
        fs::create_dir_all(folder)?;
    }
    for (from, name) in PROGRAMS {
        copy(&find(debian, from)?, &programs.join(name))?;
    }
    for name in TOYBOX.split_whitespace() {
        symlink("toybox", programs.join(name)).with_context(|| format!("{name} is listed twice"))?;
    }
    for name in BROUGHT {
        symlink(format!("/mnt/vm/{name}"), programs.join(name))?;
    }
    for name in ["iptables", "ip6tables"] {
        for verb in IPTABLES {
            symlink("/mnt/vm/iptables", programs.join(format!("{name}{verb}")))?;
        }
    }
    for (target, name) in LINKS {
        symlink(target, tree.join(name))?;
    }
    let multiarch = if architecture == "amd64" { "x86_64-linux-gnu" } else { "aarch64-linux-gnu" };
    for folder in ["lib", "usr/lib"].map(|lib| debian.join(lib).join(multiarch)) {
        take_libraries(&folder, &libraries)?;
    }
    let extensions = libraries.join("xtables");
    fs::create_dir_all(&extensions)?;
    take_libraries(&debian.join("usr/lib").join(multiarch).join("xtables"), &extensions)?;
    fs::write(tree.join("system/etc/inittab"), INITTAB)?;
    let abi = if architecture == "amd64" { "x86_64" } else { "arm64-v8a" };
    fs::write(tree.join("system/build.prop"), format!("{BUILD_PROPERTIES}ro.product.cpu.abi={abi}\n"))?;
    Ok(())
}

/// Copies all libraries of a folder. Follows links, so that each library has the name that programs request.
fn take_libraries(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).into_iter().flatten() {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains(".so") && path.is_file() {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// A program of the packages, below `/usr` or not, depending on the release.
fn find(debian: &Path, path: &str) -> Result<PathBuf> {
    let places = [debian.join(path), debian.join(path.trim_start_matches("usr/"))];
    let found = places.into_iter().find(|place| place.is_file());
    found.with_context(|| format!("no package contains {path}"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(|_| ()).with_context(|| format!("cannot copy {}", from.display()))
}

/// Labels all files. mke2fs copies extended attributes, and they can be set without SELinux.
fn label(tree: &Path, path: &Path) -> Result<()> {
    let inside = path.strip_prefix(tree)?;
    let kind = LABELS.iter().find(|(start, _)| inside.starts_with(start)).map_or("rootfs", |(_, kind)| kind);
    let context = format!("u:object_r:{kind}:s0\0");
    lsetxattr(path, "security.selinux", context.as_bytes(), XattrFlags::empty())
        .with_context(|| format!("cannot label {}", path.display()))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            label(tree, &entry?.path())?;
        }
    }
    Ok(())
}
