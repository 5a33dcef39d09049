//! `probe deny WHAT[,WHAT…] -- CMD…`: runs a program on a kernel that seems to lack some system calls.
//!
//! With `visible` among them, the filter is not hidden. A filter answers as an older kernel, one built without an option, or an app's sandbox would. It is hidden from
//! /proc/PID/status, because `ds supervise` rightly refuses to start under one, and here it is to be tried under one.
//! seccomp(2), Documentation/userspace-api/seccomp_filter.rst of the kernel.

use crate::{sandbox, sys};
use anyhow::{Context, Result, bail};
use libc::sock_filter;
use nix::mount::{MsFlags, mount};
use nix::unistd::execvp;
use std::ffi::CString;
use std::fs;
use std::path::Path;

/// What is denied, and how.
#[derive(Debug, Clone, Copy)]
struct Rule {
    call: libc::c_long,
    when: When,
    answer: Answer,
}

/// For which calls a rule holds.
#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    /// The low half of this argument has this bit.
    Bit(u32, u32),
    /// The low half of this argument is this.
    Equal(u32, u32),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Errno(i32),
    /// SIGSYS, as Android's sandbox of apps.
    Kill,
}

/// The word for a filter that is not hidden.
const VISIBLE: &str = "visible";

/// TIOCGPTPEER of ioctl_tty(2).
const GET_PEER: u32 = 0x5441;

/// LOOP_CONFIGURE of linux/loop.h; a kernel without it has no such request.
const LOOP_CONFIGURE: u32 = 0x4C0A;

/// What newer kernels brought, by the word for it.
const CALLS: &[(&str, &[libc::c_long])] = &[
    ("openat2", &[libc::SYS_openat2]),
    ("clone3", &[libc::SYS_clone3]),
    ("close_range", &[libc::SYS_close_range]),
    ("mount_setattr", &[libc::SYS_mount_setattr]),
    ("pidfd", &[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal]),
    ("memfd_create", &[libc::SYS_memfd_create]),
    (
        "new_mount",
        &[
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
        ],
    ),
    ("faccessat2", &[libc::SYS_faccessat2]),
    ("statx", &[libc::SYS_statx]),
    ("rseq", &[libc::SYS_rseq]),
    ("bpf", &[libc::SYS_bpf]),
];

/// Namespaces that the kernel may have been built without.
const NAMESPACES: &[(&str, i32)] = &[
    ("newns", libc::CLONE_NEWNS),
    ("newpid", libc::CLONE_NEWPID),
    ("newuts", libc::CLONE_NEWUTS),
    ("newipc", libc::CLONE_NEWIPC),
    ("newcgroup", libc::CLONE_NEWCGROUP),
    ("newnet", libc::CLONE_NEWNET),
    ("newtime", 0x80),
];

/// Runs the program.
pub fn run(words: &[&str]) -> Result<u8> {
    let [what, "--", command @ ..] = words else { bail!("deny WHAT[,WHAT…] -- CMD…") };
    let mut rules = Vec::new();
    let words: Vec<&str> = what.split(',').collect();
    for word in words.iter().filter(|word| **word != VISIBLE) {
        rules.extend(rules_of(word)?);
    }
    if !words.contains(&VISIBLE) {
        hide()?;
    }
    sys::install_filter(&compile(&rules)?)?;
    let words: Vec<CString> = command.iter().map(|word| Ok(CString::new(*word)?)).collect::<Result<_>>()?;
    execvp(words.first().context("no command")?, &words).context("exec")?;
    Ok(127)
}

/// The program that is executed has the same number, and so the same file in /proc.
fn hide() -> Result<()> {
    if nix::unistd::gethostname()? != sandbox::HOST_NAME {
        bail!("this mounts over a part of /proc; it is for sandboxes only");
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let shown: String =
        status.lines().filter(|line| !line.starts_with("Seccomp")).map(|line| format!("{line}\n")).collect();
    // Sandboxes share /tmp, and each counts its processes from one.
    let root = std::env::var("DS_ROOT").context("DS_ROOT")?;
    let copy = format!("{root}/probe-status-{}", std::process::id());
    fs::write(&copy, shown)?;
    let target = format!("/proc/{}/status", std::process::id());
    let none = None::<&Path>;
    mount(Some(copy.as_str()), target.as_str(), none, MsFlags::MS_BIND, none)
        .with_context(|| format!("bind {target}"))?;
    fs::remove_file(&copy)?;
    Ok(())
}

fn rules_of(word: &str) -> Result<Vec<Rule>> {
    let (word, answer) = match word.strip_prefix("kill:") {
        Some(word) => (word, Answer::Kill),
        None => (word, Answer::Errno(libc::ENOSYS)),
    };
    if word == "old" {
        let mut rules = Vec::new();
        for name in CALLS.iter().map(|(name, _)| *name).chain(["get_peer", "loop_configure"]) {
            rules.extend(rules_of(name)?);
        }
        return Ok(rules);
    }
    if word == "get_peer" {
        let answer = Answer::Errno(libc::ENOTTY);
        return Ok(vec![Rule { call: libc::SYS_ioctl, when: When::Equal(1, GET_PEER), answer }]);
    }
    if word == "tmpfile" {
        // The bit of O_TMPFILE that it does not share with O_DIRECTORY.
        let bit = libc::O_TMPFILE.unsigned_abs() & !libc::O_DIRECTORY.unsigned_abs();
        let answer = Answer::Errno(libc::EOPNOTSUPP);
        return Ok(vec![Rule { call: libc::SYS_openat, when: When::Bit(2, bit), answer }]);
    }
    if word == "loop_configure" {
        let answer = Answer::Errno(libc::EINVAL);
        return Ok(vec![Rule { call: libc::SYS_ioctl, when: When::Equal(1, LOOP_CONFIGURE), answer }]);
    }
    if let Some((_, calls)) = CALLS.iter().find(|(name, _)| *name == word) {
        return Ok(calls.iter().map(|call| Rule { call: *call, when: When::Always, answer }).collect());
    }
    let Some((_, flag)) = NAMESPACES.iter().find(|(name, _)| *name == word) else { bail!("deny: {word}?") };
    let answer = if matches!(answer, Answer::Kill) { answer } else { Answer::Errno(libc::EINVAL) };
    let bit = When::Bit(0, flag.unsigned_abs());
    let mut rules: Vec<Rule> =
        [libc::SYS_unshare, libc::SYS_clone].map(|call| Rule { call, when: bit, answer }).into();
    // Its flags are in memory, where no filter can see them.
    rules.push(Rule { call: libc::SYS_clone3, when: When::Always, answer: Answer::Errno(libc::ENOSYS) });
    Ok(rules)
}

/// One block for each rule: it answers, or falls through to the next.
fn compile(rules: &[Rule]) -> Result<Vec<sock_filter>> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    const KILL: u32 = 0x8000_0000;
    /// Offsets in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const ARGUMENTS: u32 = 16;
    let step = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let jump = |code, k, otherwise| sock_filter { code, jt: 0, jf: otherwise, k };
    let mut program = Vec::new();
    for rule in rules {
        let answer = match rule.answer {
            Answer::Errno(number) => ERRNO | number.unsigned_abs(),
            Answer::Kill => KILL,
        };
        program.push(step(LOAD, NUMBER));
        let number = u32::try_from(rule.call)?;
        match rule.when {
            When::Always => program.push(jump(JUMP_EQUAL, number, 1)),
            When::Bit(argument, bit) => {
                program.push(jump(JUMP_EQUAL, number, 3));
                program.push(step(LOAD, ARGUMENTS + 8 * argument));
                program.push(jump(JUMP_ANY_BIT, bit, 1));
            }
            When::Equal(argument, value) => {
                program.push(jump(JUMP_EQUAL, number, 3));
                program.push(step(LOAD, ARGUMENTS + 8 * argument));
                program.push(jump(JUMP_EQUAL, value, 1));
            }
        }
        program.push(step(RETURN, answer));
    }
    program.push(step(RETURN, ALLOW));
    Ok(program)
}
