//! Why the kernel did not execute a file of the container. For example, execve(2) reports ENOENT for a script whose
//! interpreter is missing, and for a script with Windows line endings.
//!
//! Runs in the container. The file may be of any kind: only regular files are read, and only their beginning.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;

use anyhow::{Error, anyhow};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::rootfs::root::file_type;
use crate::sys::describe;

/// The part of a script's first line that the kernel reads, BINPRM_BUF_SIZE.
const FIRST_LINE: u64 = 256;

/// The error for a file, in one line.
#[must_use]
pub fn explain(file: &CStr, errno: Errno) -> Error {
    let shown = file.to_string_lossy();
    let front = front(file);
    let script = front.as_deref().and_then(|front| front.strip_prefix(b"#!"));
    match (errno, script) {
        (Errno::ENOENT | Errno::EACCES | Errno::ENOTDIR, Some(rest))
            if rest_of_line(rest).ends_with(b"\r") =>
        {
            anyhow!(
                "{shown}: it has Windows line endings (CRLF), so its interpreter is not found; convert it with dos2unix"
            )
        }
        (Errno::ENOENT | Errno::ENOTDIR, Some(rest)) => {
            let line = rest_of_line(rest).trim_ascii();
            let interpreter = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
            let interpreter = String::from_utf8_lossy(interpreter);
            anyhow!(
                "{shown}: its interpreter {} or the loader of that does not exist in the container",
                interpreter.escape_debug()
            )
        }
        (Errno::ENOENT, _) => anyhow!("{shown}: its interpreter or loader does not exist in the container"),
        (Errno::ENOEXEC, _) if front.as_deref().is_some_and(|front| front.starts_with(b"\x7FELF")) => {
            anyhow!("{shown}: it is for another processor architecture")
        }
        (Errno::ENOEXEC, _) => {
            anyhow!("{shown}: it is neither a program for this processor architecture nor a script with '#!'")
        }
        (errno, _) => anyhow!("{shown}: it cannot be executed: {}", describe(errno)),
    }
}

fn rest_of_line(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// The first bytes of a regular file.
fn front(file: &CStr) -> Option<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(file, flags, Mode::empty()).ok()?;
    if file_type(&fstat(&opened).ok()?) != SFlag::S_IFREG {
        return None;
    }
    let mut front = Vec::new();
    File::from(opened).take(FIRST_LINE).read_to_end(&mut front).ok()?;
    Some(front)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn the_refusal_of_a_file_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init");
        let file = CString::new(path.as_os_str().as_bytes()).unwrap();
        for (content, errno, told) in [
            ("#!/bin/sh\r\necho\r\n", Errno::ENOENT, "(CRLF)"),
            ("#!/bin/sh\r", Errno::ENOENT, "(CRLF)"),
            ("#! /bin/none -x\necho\r\n", Errno::ENOENT, "its interpreter /bin/none or"),
            ("#!/bin/\u{1b}[2J\n", Errno::ENOENT, "its interpreter /bin/\\u{1b}[2J or"),
            ("\x7FELF", Errno::ENOENT, "its interpreter or loader"),
            ("\x7FELF", Errno::ENOEXEC, "another processor"),
            ("echo", Errno::ENOEXEC, "neither a program"),
            ("#!/bin/sh\n", Errno::EACCES, "EACCES"),
        ] {
            fs::write(&path, content).unwrap();
            let text = explain(&file, errno).to_string();
            assert!(text.contains(told) && text.starts_with(path.to_str().unwrap()), "{text}");
        }
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
        assert!(explain(&file, Errno::ENOENT).to_string().contains("interpreter or loader"));
    }
}
