//! What a root file system contains: its init system and what it calls itself.
//!
//! Everything is read through [`Root`], with limits; nothing here is trusted for more than choosing defaults.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Result, bail};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};

use super::root::{Root, file_type, read_regular};
use crate::call;

/// Bytes of an init program that are searched for its name.
const SEARCHED: u64 = 512 * 1024;

/// Kinds of program that run as PID 1. Each has its own way to be told to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstProcess {
    /// systemd(1)
    Systemd,
    /// sysvinit's init(8)
    Sysvinit,
    /// openrc-init(8)
    OpenrcInit,
    /// runit(8)
    Runit,
    /// s6-svscan(1), or s6-linux-init
    S6,
    /// BusyBox init
    Busybox,
    /// OpenWrt's procd
    Procd,
    /// Anything else
    Other,
}

/// What was found in a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Kind of PID 1.
    pub first: FirstProcess,
    /// OpenRC runs the services, whatever PID 1 is.
    pub openrc: bool,
    /// Version of systemd, when it is there and tells.
    pub systemd_version: Option<u32>,
}

impl fmt::Display for Guest {
    /// The word of the contract for the init system.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.first {
            FirstProcess::Systemd => "systemd",
            FirstProcess::OpenrcInit => "openrc",
            FirstProcess::Sysvinit | FirstProcess::Busybox | FirstProcess::Other if self.openrc => "openrc",
            FirstProcess::Sysvinit => "sysvinit",
            FirstProcess::Runit => "runit",
            FirstProcess::S6 => "s6",
            FirstProcess::Busybox => "busybox",
            FirstProcess::Procd => "procd",
            FirstProcess::Other => "other",
        })
    }
}

impl Guest {
    /// Looks into a root file system whose PID 1 is to be `init`.
    ///
    /// # Errors
    /// When `init`, resolved inside, is missing or cannot be executed.
    pub fn inspect(root: &Root, init: &Path) -> Result<Self> {
        let program = match root.resolve(init) {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR) => bail!(
                "the root file system has no {}; install an init system or set 'init' to its path",
                init.display()
            ),
            Err(errno) => {
                bail!("{} in the root file system: {}", init.display(), crate::sys::describe(errno))
            }
        };
        let status = call!(fstat(&program), "fstat({})", init.display())?;
        if file_type(&status) != SFlag::S_IFREG || status.st_mode & 0o111 == 0 {
            bail!("{} in the root file system is not an executable file; set 'init' to one", init.display());
        }
        let link = std::fs::read_link(format!("/proc/self/fd/{}", program.as_raw_fd())).unwrap_or_default();
        let content = read_regular(program.as_fd(), SEARCHED).unwrap_or_default();
        let first = recognise(link.file_name().unwrap_or_default(), &content);
        let openrc = ["/sbin/openrc", "/usr/sbin/openrc", "/usr/bin/openrc"]
            .iter()
            .any(|path| root.resolve(Path::new(path)).is_ok());
        let systemd_version = if first == FirstProcess::Systemd { systemd_version(root) } else { None };
        Ok(Self { first, openrc, systemd_version })
    }
}

fn recognise(file_name: &OsStr, content: &[u8]) -> FirstProcess {
    let has = |needle: &str| content.windows(needle.len()).any(|window| window == needle.as_bytes());
    match file_name.to_string_lossy().as_ref() {
        "systemd" => FirstProcess::Systemd,
        "openrc-init" => FirstProcess::OpenrcInit,
        "runit" | "runit-init" => FirstProcess::Runit,
        "s6-svscan" | "s6-linux-init" => FirstProcess::S6,
        "procd" => FirstProcess::Procd,
        name if name.starts_with("busybox") => FirstProcess::Busybox,
        _ if content.starts_with(b"#!") && has("systemd") => FirstProcess::Systemd,
        _ if content.starts_with(b"#!") && has("s6-") => FirstProcess::S6,
        _ if has("openrc-init") => FirstProcess::OpenrcInit,
        _ if has("/etc/runit/") => FirstProcess::Runit,
        _ if has("BusyBox v") => FirstProcess::Busybox,
        _ if has("/run/initctl") || has("/dev/initctl") => FirstProcess::Sysvinit,
        _ => FirstProcess::Other,
    }
}

/// systemd's version, from the name of its private library `libsystemd-shared-VERSION.so`.
fn systemd_version(root: &Root) -> Option<u32> {
    let fixed = ["/usr/lib/systemd", "/usr/lib64/systemd", "/lib/systemd"].map(str::to_owned);
    let by_machine = names(root, "/usr/lib").into_iter().map(|name| format!("/usr/lib/{name}/systemd"));
    fixed.into_iter().chain(by_machine.filter(|path| path.contains("-linux-"))).find_map(|directory| {
        names(root, &directory).into_iter().find_map(|name| {
            let version = name.strip_prefix("libsystemd-shared-")?;
            let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
    })
}

fn names(root: &Root, directory: &str) -> Vec<String> {
    let Ok(found) = root.resolve(Path::new(directory)) else { return Vec::new() };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(mut listing) = Dir::openat(&found, ".", flags, Mode::empty()) else { return Vec::new() };
    listing
        .iter()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The value of a key in os-release(5), such as `PRETTY_NAME`.
#[must_use]
pub fn os_release(root: &Root, key: &str) -> Option<String> {
    let content = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| root.read(Path::new(path), 16 * 1024).ok())?;
    let text = String::from_utf8_lossy(&content);
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    let value = value.trim().trim_matches(|c| c == '"' || c == '\'');
    Some(value.chars().filter(|c| !c.is_control()).take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_recognised_by_name_then_by_content() {
        let by_name = |name: &str| recognise(OsStr::new(name), b"\x7fELF");
        assert_eq!(by_name("systemd"), FirstProcess::Systemd);
        assert_eq!(by_name("busybox-static"), FirstProcess::Busybox);
        assert_eq!(by_name("runit-init"), FirstProcess::Runit);
        assert_eq!(by_name("init"), FirstProcess::Other);
        assert_eq!(recognise(OsStr::new("init"), b"\x7fELF /run/initctl"), FirstProcess::Sysvinit);
        assert_eq!(recognise(OsStr::new("init"), b"#!/bin/sh\nexec s6-svscan"), FirstProcess::S6);
    }
}
