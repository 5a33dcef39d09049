//! `probe deny WHAT[,WHAT…] -- CMD…`: runs a program as on a kernel that lacks some system calls.
//!
//! The filter returns the errors of an older kernel, of one without an option, or of an app's sandbox. It is hidden
//! from /proc/PID/status, because `ds supervise` refuses to start under a filter; `visible` in the list leaves it
//! visible. seccomp(2), Documentation/userspace-api/seccomp_filter.rst of the kernel.

use crate::{sandbox, sys};
use anyhow::{Context, Result, bail};
use libc::sock_filter;
use nix::mount::{MsFlags, mount};
use nix::unistd::execvp;
use std::ffi::CString;
use std::fs;
use std::path::Path;

/// A denied call, and its error.
#[derive(Debug, Clone, Copy)]
struct Rule {
    call: libc::c_long,
    when: When,
    answer: Answer,
}

/// The condition of a rule.
#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    /// The lower half of this argument has this bit.
    Bit(u32, u32),
    /// The lower half of this argument has this value.
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

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
const WAIT_KILLABLE: u32 = 32;

/// Calls of newer kernels, by their words.
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
    ("process_vm_readv", &[libc::SYS_process_vm_readv]),
];

/// Optional namespaces.
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

/// The executed program keeps its process id, and thus the same file in /proc.
fn hide() -> Result<()> {
    if nix::unistd::gethostname()? != sandbox::HOST_NAME {
        bail!("this mounts over a part of /proc; use it only in a sandbox");
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
    if word == "inotify" {
        // The user has no instance left.
        let answer = Answer::Errno(libc::EMFILE);
        return Ok(vec![Rule { call: libc::SYS_inotify_init1, when: When::Always, answer }]);
    }
    if word == "tmpfile" {
        // The bit of O_TMPFILE that it does not share with O_DIRECTORY.
        let bit = libc::O_TMPFILE.unsigned_abs() & !libc::O_DIRECTORY.unsigned_abs();
        let answer = Answer::Errno(libc::EOPNOTSUPP);
        return Ok(vec![Rule { call: libc::SYS_openat, when: When::Bit(2, bit), answer }]);
    }
    if word == "wait_killable" {
        // A flag of seccomp(2), 5.19.
        let answer = Answer::Errno(libc::EINVAL);
        return Ok(vec![Rule { call: libc::SYS_seccomp, when: When::Bit(1, WAIT_KILLABLE), answer }]);
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

/// One block for each rule: it returns the error, or continues with the next one.
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
