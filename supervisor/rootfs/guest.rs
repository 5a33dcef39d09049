//! The content of a root file system: its init system and its name.
//!
//! Owns the detection. Everything is read through [`Root`], with size limits. The guest controls the result, so it only
//! selects defaults.

use std::env::consts::ARCH;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::iter;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Result, bail};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};

use super::files;
use super::root::{Root, file_type, open_regular};
use crate::call;
use crate::sys::descriptor;

/// The part of an init program that is searched, in bytes.
const SEARCHED: u64 = 512 * 1024;

/// Strings that identify a program; the first row found decides.
const MARKS: [(&str, FirstProcess); 5] = [
    ("openrc-init", FirstProcess::OpenrcInit),
    ("/etc/runit/", FirstProcess::Runit),
    ("BusyBox v", FirstProcess::Busybox),
    ("/run/initctl", FirstProcess::Sysvinit),
    ("/dev/initctl", FirstProcess::Sysvinit),
];

/// The same for scripts.
const SCRIPT_MARKS: [(&str, FirstProcess); 2] =
    [("systemd", FirstProcess::Systemd), ("s6-", FirstProcess::S6)];
/// The part of a script that is searched, in bytes.
const SCRIPT: u64 = 16 * 1024;
/// Maximum number of directory entries that are checked.
const LISTED: usize = 100_000;

/// Kinds of PID 1. Each has its own shutdown request.
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

/// The result for a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Kind of PID 1.
    pub first: FirstProcess,
    /// OpenRC manages the services, whatever PID 1 is.
    pub openrc: bool,
    /// runit has its flag files in /run: [`files::RUNIT_STOPIT`].
    pub flags_in_run: bool,
    /// Version of systemd, if it can be determined.
    pub systemd_version: Option<u32>,
}

impl fmt::Display for Guest {
    /// The word for the init system in the JSON output.
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
    /// Inspects a root file system with `init` as PID 1.
    ///
    /// # Errors
    /// If `init`, resolved in the tree, does not exist or is not executable.
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
        let link = std::fs::read_link(descriptor::path(program.as_fd())).unwrap_or_default();
        let first = by_name(link.file_name().unwrap_or_default()).or_else(|| {
            let content = open_regular(program.as_fd()).ok()?;
            by_content(content.take(SEARCHED)).ok()?
        });
        let first = first.unwrap_or(FirstProcess::Other);
        let openrc = [files::OPENRC, files::OPENRC_MERGED, files::OPENRC_BIN]
            .iter()
            .any(|file| root.resolve(file.path()).is_ok());
        let search = |mark| {
            let content = open_regular(program.as_fd()).ok()?;
            search(content.take(SEARCHED), &[mark]).ok()?
        };
        let flags_in_run = first == FirstProcess::Runit && search(files::RUNIT_STOPIT.as_str()).is_some();
        let systemd_version = if first == FirstProcess::Systemd { systemd_version(root) } else { None };
        Ok(Self { first, openrc, flags_in_run, systemd_version })
    }
}

fn by_name(file_name: &OsStr) -> Option<FirstProcess> {
    Some(match file_name.to_string_lossy().as_ref() {
        "systemd" => FirstProcess::Systemd,
        "openrc-init" => FirstProcess::OpenrcInit,
        "runit" | "runit-init" => FirstProcess::Runit,
        "s6-svscan" | "s6-linux-init" => FirstProcess::S6,
        "procd" => FirstProcess::Procd,
        name if name.starts_with("busybox") => FirstProcess::Busybox,
        _ => return None,
    })
}

/// Finds the first string of the table; the first lines of a script name the program that it executes.
fn by_content(mut content: impl Read) -> io::Result<Option<FirstProcess>> {
    let mut beginning = [0; 2];
    if content.read_exact(&mut beginning).is_err() {
        return Ok(None);
    }
    if &beginning == b"#!" {
        let found = search(content.take(SCRIPT), &SCRIPT_MARKS.map(|(mark, _)| mark))?;
        return Ok(found.map(|index| SCRIPT_MARKS[index].1));
    }
    let content = beginning.as_slice().chain(content);
    Ok(search(content, &MARKS.map(|(mark, _)| mark))?.map(|index| MARKS[index].1))
}

/// The first string that is found. Reads in pieces: a large buffer would stay in the monitor's memory.
fn search(mut content: impl Read, marks: &[&str]) -> io::Result<Option<usize>> {
    const PIECE: usize = 16 * 1024;
    const LONGEST_MARK: usize = 20;
    let mut buffer = Vec::with_capacity(PIECE + LONGEST_MARK);
    let mut best = marks.len();
    while content.by_ref().take(PIECE as u64).read_to_end(&mut buffer)? > 0 {
        best = (0..best).find(|index| find(&buffer, marks[*index])).unwrap_or(best);
        // A string may cross the boundary of two pieces.
        buffer.drain(..buffer.len().saturating_sub(LONGEST_MARK));
    }
    Ok((best < marks.len()).then_some(best))
}

fn find(text: &[u8], mark: &str) -> bool {
    let Some((first, rest)) = mark.as_bytes().split_first() else { return true };
    let mut places = text.iter().enumerate().filter(|(_, byte)| *byte == first);
    places.any(|(place, _)| text[place + 1..].starts_with(rest))
}

/// systemd's version, from the name of its private library `libsystemd-shared-VERSION.so`.
fn systemd_version(root: &Root) -> Option<u32> {
    // The directory that Debian has for this machine comes first: it has few files, the others many.
    let own = format!("/usr/lib/{ARCH}-linux-gnu/systemd");
    let fixed = ["/usr/lib/systemd", "/usr/lib64/systemd", "/lib/systemd"].map(str::to_owned);
    let machines = iter::once("/usr/lib").flat_map(|libraries| names(root, libraries));
    let others =
        machines.filter(|name| name.contains("-linux-")).map(|name| format!("/usr/lib/{name}/systemd"));
    iter::once(own).chain(fixed).chain(others).find_map(|directory| {
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
        .take(LISTED)
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The value of a key in os-release(5), such as `PRETTY_NAME`.
#[must_use]
pub fn os_release(root: &Root, key: &str) -> Option<String> {
    let content = [files::OS_RELEASE, files::OS_RELEASE_SHIPPED]
        .iter()
        .find_map(|file| root.read(*file, 16 * 1024).ok())?;
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
        let by_name = |name: &str| by_name(OsStr::new(name));
        assert_eq!(by_name("systemd"), Some(FirstProcess::Systemd));
        assert_eq!(by_name("busybox-static"), Some(FirstProcess::Busybox));
        assert_eq!(by_name("runit-init"), Some(FirstProcess::Runit));
        assert_eq!(by_name("init"), None);
        let by_content = |text: &[u8]| by_content(text).unwrap();
        assert_eq!(by_content(b"\x7fELF"), None);
        assert_eq!(by_content(b"\x7fELF /run/initctl"), Some(FirstProcess::Sysvinit));
        assert_eq!(by_content(b"#!/bin/sh\nexec s6-svscan"), Some(FirstProcess::S6));
        assert_eq!(by_content(b"#!/bin/sh\nexec /lib/systemd/systemd"), Some(FirstProcess::Systemd));
        assert_eq!(by_content(b"#!/bin/sh\n/run/initctl"), None);
        let both = [&b"/run/initctl"[..], &[0; 40_000], b"/etc/runit/"].concat();
        assert_eq!(by_content(&both), Some(FirstProcess::Runit), "the order of the table counts");
    }

    #[test]
    fn a_mark_is_found_wherever_it_lies() {
        for place in (16 * 1024 - 20..16 * 1024 + 5).chain([0, 100, 32 * 1024 - 3]) {
            let text = [&vec![b'/'; place][..], b"/dev/initctl", &[0; 100]].concat();
            assert_eq!(by_content(&text[..]).unwrap(), Some(FirstProcess::Sysvinit), "{place}");
        }
    }
}
