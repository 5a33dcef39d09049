//! The calls that the monitor answers on kernels without PID namespaces, and their conditions.
//!
//! Owns their numbers for every interface, and the conditions under which the filter passes a call on. A call that can
//! only affect its caller is not passed on: the kernel executes it. `answer` has the answers.

use super::abi::Abi;
use super::condition::When;

/// An answered call; calls with the same answer are one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// getpid(2).
    GetPid,
    /// getppid(2).
    GetParent,
    /// kill(2).
    Kill,
    /// tkill(2): thread, signal.
    KillThread,
    /// tgkill(2): process, thread, signal.
    KillThreadOf,
    /// rt_sigqueueinfo(2): process, signal, information.
    Queue,
    /// rt_tgsigqueueinfo(2): process, thread, signal, information.
    QueueToThread,
    /// pidfd_open(2): process, flags.
    OpenProcess,
    /// pidfd_send_signal(2): descriptor, signal, information, flags.
    SignalProcess,
    /// ptrace(2) with PTRACE_ATTACH or PTRACE_SEIZE: request, process.
    Trace,
    /// process_vm_readv(2) and process_vm_writev(2): process first.
    Memory,
    /// setpriority(2): kind of target, target.
    SetPriority,
    /// ioprio_set(2): kind of target, target.
    SetIoPriority,
    /// sched_setparam(2), sched_setscheduler(2), sched_setaffinity(2), sched_setattr(2), prlimit(2), migrate_pages(2),
    /// move_pages(2): process first.
    Adjust,
    /// kcmp(2): two processes, kind, two indices.
    Compare,
    /// fcntl(2) with F_SETOWN: descriptor, command, process or group.
    SetOwner,
    /// reboot(2): two magic numbers, command.
    Reboot,
    /// write(2) of two bytes: descriptor, address, length.
    Write,
}

/// `PTRACE_ATTACH` and `PTRACE_SEIZE` of ptrace(2).
const ATTACH: u32 = 16;
const SEIZE: u32 = 0x4206;
/// `PRIO_USER` of setpriority(2), and `IOPRIO_WHO_USER` of ioprio_set(2).
const PRIORITY_OF_USER: u32 = 2;
const IO_PRIORITY_OF_USER: u32 = 3;
/// `F_SETOWN` and `F_SETOWN_EX` of fcntl(2); the target of the second is in memory.
const SET_OWNER: u32 = 8;
const SET_OWNER_EX: u32 = 15;
/// FIOSETOWN and SIOCSPGRP of socket(7): older ways to F_SETOWN, with the target in memory.
const OLD_SET_OWNER: [u32; 2] = [0x8901, 0x8902];

/// One call.
struct Row {
    call: Call,
    /// Its number in each table of [`super::abi::Table`]; `u32::MAX` if it has none.
    numbers: [u32; 4],
    /// Passed on if one of them holds.
    when: &'static [When],
}

const NONE: u32 = u32::MAX;
const ALWAYS: &[When] = &[When::Always];

const fn row(call: Call, numbers: [u32; 4], when: &'static [When]) -> Row {
    Row { call, numbers, when }
}

/// Numbers in the order of [`super::abi::Table`]: generic, arm, 32-bit x86, 64-bit x86.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(Call::GetPid, [172, 20, 20, 39], ALWAYS), // getpid
    row(Call::GetParent, [173, 64, 64, 110], ALWAYS), // getppid
    row(Call::Kill, [129, 37, 37, 62], &[When::IsNot(0)]), // kill
    row(Call::KillThread, [130, 238, 238, 200], ALWAYS), // tkill
    row(Call::KillThreadOf, [131, 268, 270, 234], ALWAYS), // tgkill
    row(Call::Queue, [138, 178, 178, 129], ALWAYS), // rt_sigqueueinfo
    row(Call::QueueToThread, [240, 363, 335, 297], ALWAYS), // rt_tgsigqueueinfo
    row(Call::OpenProcess, [434, 434, 434, 434], ALWAYS), // pidfd_open
    row(Call::SignalProcess, [424, 424, 424, 424], ALWAYS), // pidfd_send_signal
    row(Call::Trace, [117, 26, 26, 101], &[When::Is(ATTACH), When::Is(SEIZE)]), // ptrace
    row(Call::Memory, [270, 376, 347, 310], ALWAYS), // process_vm_readv
    row(Call::Memory, [271, 377, 348, 311], ALWAYS), // process_vm_writev
    row(Call::SetPriority, [140, 97, 97, 141], &[When::Is(PRIORITY_OF_USER), When::SecondIsNot(0)]), // setpriority
    row(Call::SetIoPriority, [30, 314, 289, 251], &[When::Is(IO_PRIORITY_OF_USER), When::SecondIsNot(0)]), // ioprio_set
    row(Call::Adjust, [118, 154, 154, 142], &[When::IsNot(0)]), // sched_setparam
    row(Call::Adjust, [119, 156, 156, 144], &[When::IsNot(0)]), // sched_setscheduler
    row(Call::Adjust, [122, 241, 241, 203], &[When::IsNot(0)]), // sched_setaffinity
    row(Call::Adjust, [274, 380, 351, 314], &[When::IsNot(0)]), // sched_setattr
    row(Call::Adjust, [261, 369, 340, 302], &[When::IsNot(0)]), // prlimit64
    row(Call::Compare, [272, 378, 349, 312], ALWAYS), // kcmp
    row(Call::Adjust, [238, 400, 294, 256], &[When::IsNot(0)]), // migrate_pages
    row(Call::Adjust, [239, 344, 317, 279], &[When::IsNot(0)]), // move_pages
    row(Call::SetOwner, [25, 55, 55, 72], &[When::SecondIs(SET_OWNER)]), // fcntl
    row(Call::SetOwner, [NONE, 221, 221, NONE], &[When::SecondIs(SET_OWNER)]), // fcntl64
    row(Call::Write, [64, 4, 4, 1], &[When::ThirdIs(2)]), // write
    row(Call::Reboot, [142, 88, 88, 169], ALWAYS), // reboot
];

/// The calls of an interface that are passed on, with each condition.
pub(super) fn passed_on(interface: &Abi) -> impl Iterator<Item = (u32, When)> {
    let rows = ROWS.iter().filter_map(|row| Some((number(row, interface)?, row.when)));
    rows.flat_map(|(number, conditions)| conditions.iter().map(move |when| (number, *when)))
}

/// The calls that are refused because their target is in memory, where it could change after the check.
pub(super) fn refused(interface: &Abi) -> impl Iterator<Item = (u32, When)> {
    let fcntl = ROWS.iter().filter(|row| row.call == Call::SetOwner);
    let fcntl =
        fcntl.filter_map(|row| number(row, interface)).map(|number| (number, When::SecondIs(SET_OWNER_EX)));
    let ioctl = interface.calls.ioctl;
    fcntl.chain(OLD_SET_OWNER.map(|request| (ioctl, When::SecondIs(request))))
}

/// The call with this number on an interface, as in a notification.
#[must_use]
pub fn call(audit: u32, found: u32) -> Option<Call> {
    let interface =
        super::abi::of(std::env::consts::ARCH).iter().find(|interface| interface.audit == audit)?;
    ROWS.iter().find(|row| number(row, interface) == Some(found)).map(|row| row.call)
}

fn number(row: &Row, interface: &Abi) -> Option<u32> {
    Some(row.numbers[interface.table as usize]).filter(|number| *number != NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the table with the compiler's headers, if they are installed.
    #[test]
    fn numbers_are_those_of_the_headers() {
        let source = include_str!("answered.rs");
        for (column, file) in [(2, "unistd_32.h"), (3, "unistd_64.h")] {
            let path = format!("/usr/include/x86_64-linux-gnu/asm/{file}");
            let Ok(text) = std::fs::read_to_string(&path) else {
                eprintln!("no {path}: not compared");
                continue;
            };
            let names =
                source.lines().filter_map(|line| line.trim().strip_prefix("row(Call::")?.rsplit_once("// "));
            let mut compared = 0;
            for (row, (_, name)) in ROWS.iter().zip(names) {
                let mark = format!("#define __NR_{name} ");
                let known =
                    text.lines().find_map(|line| line.strip_prefix(&mark)?.trim().parse::<u32>().ok());
                assert_eq!(row.numbers[column], known.unwrap_or(NONE), "{name} in {file}");
                compared += 1;
            }
            assert_eq!(compared, ROWS.len());
        }
    }

    #[test]
    fn every_number_names_its_call() {
        for interface in super::super::abi::of(std::env::consts::ARCH) {
            for row in ROWS {
                if let Some(number) = number(row, interface) {
                    assert_eq!(call(interface.audit, number), Some(row.call), "{number}");
                }
            }
            assert_eq!(call(interface.audit, 0xffff), None);
        }
    }
}
