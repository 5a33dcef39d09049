//! System call filters as BPF programs: seccomp(2), "Filters"; Documentation/userspace-api/seccomp_filter.rst.
//!
//! Owns the compiler. It makes one program for all filters of a container, because each installed program slows down
//! every system call. The program first determines the interface of the call and then compares with the numbers of that
//! interface, so that the same rules apply to 32-bit programs. A call through an interface without a table (none is
//! known on the supported machines) returns ENOSYS, as if the kernel lacked it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use seccompiler::{BpfProgram, sock_filter};

use super::abi::{Abi, Calls};
use super::answered;
use super::condition::When;
use crate::plan::privileges::Filter;

/// All flags of unshare(2) and clone(2) that create a namespace.
const NAMESPACES: u32 = 0x7e02_0080;
/// `CLONE_NEWUSER`.
const NEW_USER: u32 = 0x1000_0000;
/// KernelSU treats any call with this first argument as a request: reboot(2), and prctl(2) in its older versions. No
/// other use of the two has this value.
const KERNELSU: u32 = 0xdead_beef;
/// `AF_ALG`: ciphers of the kernel, with a history of vulnerabilities that any user can reach; programs have their own.
const CIPHERS: u32 = 38;

/// Requests of ioctl_tty(2) with effects beyond the caller's own terminal session. TIOCSTI and the paste function of
/// TIOCLINUX insert input: a command on the terminal of a shell outside could make that shell execute anything
/// (CVE-2017-5226). TIOCCONS redirects the output of the machine's console to the caller.
const TERMINALS: [u32; 3] = [0x5412, 0x541c, 0x541d];

/// FIFREEZE, FITHAW, and the shutdown of ext4, XFS and F2FS, which is one number. Any open file is enough to stop the
/// whole file system, and a container has open files of the host, for example its root directory.
const FILE_SYSTEMS: [u32; 3] = [0xc004_5877, 0xc004_5878, 0x8004_587d];

/// `FAN_MARK_FILESYSTEM`, also a part of `FAN_MARK_MNTNS`: fanotify_mark(2) would report, with an open descriptor, what
/// any process of the machine does to a file on the file system of the tree. Marks of files and of mounts remain.
const WHOLE_FILE_SYSTEM: u32 = 0x100;

/// A bit that the mode of device nodes has and the mode of FIFOs, sockets and regular files does not: inode(7).
const DEVICE: u32 = 0o020_000;

/// The action for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It fails with this error number.
    Refuse(libc::c_int),
    /// The process with the listener answers it: seccomp_unotify(2).
    PassOn,
}

/// One rule: number of the call, condition, action.
type Rule = (u32, When, Then);

fn rules(filter: Filter, interface: &Abi) -> Vec<Rule> {
    let calls = interface.calls;
    if filter == Filter::Processes {
        let refused =
            answered::refused(interface).map(|(number, when)| (number, when, Then::Refuse(libc::EPERM)));
        let passed_on = answered::passed_on(interface).map(|(number, when)| (number, when, Then::PassOn));
        return refused.chain(passed_on).collect();
    }
    let rules = refusals(filter, calls).into_iter();
    rules.map(|(number, when, errno)| (number, when, Then::Refuse(errno))).collect()
}

/// The rules of filters that only refuse.
fn refusals(filter: Filter, calls: &Calls) -> Vec<(u32, When, libc::c_int)> {
    let always = |numbers: &[u32], errno| -> Vec<(u32, When, libc::c_int)> {
        numbers.iter().map(|number| (*number, When::Always, errno)).collect()
    };
    // The flags of clone3(2) are in memory, which a filter cannot read; C libraries fall back to clone(2).
    let new = |flags| -> Vec<(u32, When, libc::c_int)> {
        vec![
            (calls.unshare, When::Any(flags), libc::EPERM),
            (calls.clone, When::Any(flags), libc::EPERM),
            (calls.clone3, When::Always, libc::ENOSYS),
        ]
    };
    match filter {
        Filter::Machine => {
            let kexec = calls.kexec_file_load.into_iter().chain([calls.kexec_load]);
            let modules = [calls.init_module, calls.finit_module, calls.delete_module];
            let swap = [calls.swapon, calls.swapoff];
            let mut rules = always(&kexec.chain(modules).chain(swap).collect::<Vec<_>>(), libc::EPERM);
            rules.push((calls.fanotify_mark, When::SecondAny(WHOLE_FILE_SYSTEM), libc::EPERM));
            rules.push((calls.reboot, When::Is(KERNELSU), libc::EPERM));
            rules.push((calls.prctl, When::Is(KERNELSU), libc::EPERM));
            rules.push((calls.socket, When::Is(CIPHERS), libc::EPERM));
            let requests = TERMINALS.into_iter().chain(FILE_SYSTEMS);
            rules.extend(requests.map(|request| (calls.ioctl, When::SecondIs(request), libc::EPERM)));
            rules
        }
        Filter::KernelLog => always(&[calls.syslog], libc::EPERM),
        Filter::Keyring => always(&[calls.keyctl, calls.add_key, calls.request_key], libc::ENOSYS),
        Filter::Namespaces => [new(NAMESPACES), always(&[calls.setns], libc::EPERM)].concat(),
        Filter::UserNamespaces => new(NEW_USER),
        Filter::Devices => {
            let older = calls.mknod.map(|number| (number, When::SecondAny(DEVICE), libc::EPERM));
            let newer = (calls.mknodat, When::ThirdAny(DEVICE), libc::EPERM);
            older.into_iter().chain([newer]).collect()
        }
        Filter::Processes => Vec::new(),
    }
}

// linux/bpf_common.h: class, size and mode, or operation and source.
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// struct seccomp_data of linux/seccomp.h. All supported machines are little-endian: the lower half of an argument is
// first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;

/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_USER_NOTIF`.
const PASS_ON: u32 = 0x7fc0_0000;
/// `SECCOMP_RET_ERRNO`; the error number is added.
const ERRNO: u32 = 0x0005_0000;

/// Bit of an x32 call, `__X32_SYSCALL_BIT`.
const X32: u32 = 0x4000_0000;
/// The number with which a debugger cancels a call: ptrace(2), "Syscall-stops".
const SKIPPED: u32 = u32::MAX;

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: offset }
}

const fn answer(action: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}

const fn refuse(errno: libc::c_int) -> sock_filter {
    answer(ERRNO | errno.unsigned_abs())
}

const TOO_LONG: &str = "the system call filter is too long";

/// The program that enforces `filters` on each of the interfaces.
///
/// # Errors
/// If there is no interface, or the program is too long.
pub fn assemble(filters: &[Filter], interfaces: &[Abi]) -> Result<BpfProgram> {
    ensure!(!interfaces.is_empty(), "no system call filter for {}", std::env::consts::ARCH);
    let mut program = vec![load(ARCHITECTURE)];
    for interface in interfaces {
        let section = section(filters, interface)?;
        let length = u8::try_from(section.len()).context(TOO_LONG)?;
        program.push(sock_filter { code: JUMP_EQUAL, jt: 0, jf: length, k: interface.audit });
        program.extend(section);
    }
    program.push(refuse(libc::ENOSYS));
    Ok(program)
}

/// The target of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// Skip this number of instructions.
    Skip(usize),
    /// Allow the call.
    Allow,
    /// Fail, or be answered by another process.
    Do(Then),
}

const NEXT: To = To::Skip(0);

/// An instruction with symbolic jump targets; the answers follow the last instruction, each once.
#[derive(Debug, Clone, Copy)]
enum Step {
    Load(u32),
    Compare { code: u16, value: u32, holds: To, fails: To },
}

const fn compare(code: u16, value: u32, holds: To, fails: To) -> Step {
    Step::Compare { code, value, holds, fails }
}

/// The rules of a call; the first matching condition decides.
type Conditions = Vec<(When, Then)>;

/// The rules of one interface.
fn section(filters: &[Filter], interface: &Abi) -> Result<BpfProgram> {
    let mut steps = vec![Step::Load(NUMBER)];
    if interface.x32 {
        steps.push(compare(JUMP_GREATER_OR_EQUAL, X32, NEXT, To::Skip(1)));
        steps.push(compare(JUMP_EQUAL, SKIPPED, To::Allow, To::Do(Then::Refuse(libc::ENOSYS))));
    }
    let mut calls: BTreeMap<u32, Conditions> = BTreeMap::new();
    for (number, when, then) in filters.iter().flat_map(|filter| rules(*filter, interface)) {
        calls.entry(number).or_default().push((when, then));
    }
    steps.extend(search(&calls.into_iter().collect::<Vec<_>>()));
    resolve(&steps)
}

/// A binary search for a number in a sorted table. The kernel evaluates every number when a filter is installed, so
/// speed matters: a linear search would take longer than the rest of a start.
fn search(calls: &[(u32, Conditions)]) -> Vec<Step> {
    if calls.len() > 3 {
        let (low, high) = calls.split_at(calls.len() / 2);
        let below = search(low);
        let pivot = compare(JUMP_GREATER_OR_EQUAL, high[0].0, To::Skip(below.len()), NEXT);
        return [vec![pivot], below, search(high)].concat();
    }
    let mut steps = Vec::new();
    for (index, (number, conditions)) in calls.iter().enumerate() {
        let (found, further) = examine(conditions);
        let other = if index + 1 == calls.len() { To::Allow } else { To::Skip(further.len()) };
        steps.push(compare(JUMP_EQUAL, *number, found, other));
        steps.extend(further);
    }
    steps
}

/// The target for a found call, and the instructions that check its argument.
fn examine(conditions: &[(When, Then)]) -> (To, Vec<Step>) {
    let always = conditions.iter().position(|(when, _)| *when == When::Always);
    let (conditional, end) = match always {
        Some(index) => (&conditions[..index], To::Do(conditions[index].1)),
        None => (conditions, To::Allow),
    };
    if conditional.is_empty() {
        return (end, Vec::new());
    }
    let (mut steps, mut loaded) = (Vec::new(), None);
    for (index, (when, then)) in conditional.iter().enumerate() {
        let (argument, code, value, holds) = match when {
            When::Any(bits) => (FIRST_ARGUMENT, JUMP_ANY_BIT, *bits, true),
            When::Is(value) => (FIRST_ARGUMENT, JUMP_EQUAL, *value, true),
            When::IsNot(value) => (FIRST_ARGUMENT, JUMP_EQUAL, *value, false),
            When::SecondIs(value) => (SECOND_ARGUMENT, JUMP_EQUAL, *value, true),
            When::SecondIsNot(value) => (SECOND_ARGUMENT, JUMP_EQUAL, *value, false),
            When::SecondAny(bits) => (SECOND_ARGUMENT, JUMP_ANY_BIT, *bits, true),
            When::ThirdIs(value) => (THIRD_ARGUMENT, JUMP_EQUAL, *value, true),
            When::ThirdAny(bits) => (THIRD_ARGUMENT, JUMP_ANY_BIT, *bits, true),
            When::Always => continue,
        };
        if loaded.replace(argument) != Some(argument) {
            steps.push(Step::Load(argument));
        }
        let other = if index + 1 == conditional.len() { end } else { NEXT };
        let (equal, unequal) = if holds { (To::Do(*then), other) } else { (other, To::Do(*then)) };
        steps.push(compare(code, value, equal, unequal));
    }
    (NEXT, steps)
}

/// Appends the answers and resolves the jump targets.
fn resolve(steps: &[Step]) -> Result<BpfProgram> {
    let mut answers = vec![To::Allow];
    let mut program = Vec::with_capacity(steps.len() + 3);
    for (index, step) in steps.iter().enumerate() {
        let mut distance = |to: To| match to {
            To::Skip(count) => u8::try_from(count).context(TOO_LONG),
            answer => {
                let known = answers.iter().position(|known| *known == answer).unwrap_or(answers.len());
                if known == answers.len() {
                    answers.push(answer);
                }
                u8::try_from(steps.len() - index - 1 + known).context(TOO_LONG)
            }
        };
        program.push(match *step {
            Step::Load(offset) => load(offset),
            Step::Compare { code, value, holds, fails } => {
                sock_filter { code, jt: distance(holds)?, jf: distance(fails)?, k: value }
            }
        });
    }
    program.extend(answers.into_iter().map(|answered| match answered {
        To::Do(Then::Refuse(errno)) => refuse(errno),
        To::Do(Then::PassOn) => answer(PASS_ON),
        To::Allow | To::Skip(_) => answer(ALLOW),
    }));
    Ok(program)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
