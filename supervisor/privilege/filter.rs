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

/// The condition of a rule. Arguments are compared by their lower half: each one here is an `int`, or flags below bit
/// 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// The first argument contains any of these bits.
    Any(u32),
    /// The first argument has this value.
    Is(u32),
    /// The second argument has this value.
    SecondIs(u32),
}

/// One rule: number of the call, condition, error number.
type Rule = (u32, When, libc::c_int);

fn rules(filter: Filter, calls: &Calls) -> Vec<Rule> {
    let always = |numbers: &[u32], errno| -> Vec<Rule> {
        numbers.iter().map(|number| (*number, When::Always, errno)).collect()
    };
    // The flags of clone3(2) are in memory, which a filter cannot read; C libraries fall back to clone(2).
    let new = |flags| -> Vec<Rule> {
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
            let mut rules = always(&kexec.chain(modules).collect::<Vec<_>>(), libc::EPERM);
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

/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;
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
    /// This number of instructions further.
    Skip(usize),
    /// Allow the call.
    Allow,
    /// Fail with this error number.
    Refuse(libc::c_int),
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
type Conditions = Vec<(When, libc::c_int)>;

/// The rules of one interface.
fn section(filters: &[Filter], interface: &Abi) -> Result<BpfProgram> {
    let mut steps = vec![Step::Load(NUMBER)];
    if interface.x32 {
        steps.push(compare(JUMP_GREATER_OR_EQUAL, X32, NEXT, To::Skip(1)));
        steps.push(compare(JUMP_EQUAL, SKIPPED, To::Allow, To::Refuse(libc::ENOSYS)));
    }
    let mut calls: BTreeMap<u32, Conditions> = BTreeMap::new();
    for (number, when, errno) in filters.iter().flat_map(|filter| rules(*filter, interface.calls)) {
        calls.entry(number).or_default().push((when, errno));
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
fn examine(conditions: &[(When, libc::c_int)]) -> (To, Vec<Step>) {
    let always = conditions.iter().position(|(when, _)| *when == When::Always);
    let (conditional, end) = match always {
        Some(index) => (&conditions[..index], To::Refuse(conditions[index].1)),
        None => (conditions, To::Allow),
    };
    if conditional.is_empty() {
        return (end, Vec::new());
    }
    let (mut steps, mut loaded) = (Vec::new(), None);
    for (index, (when, errno)) in conditional.iter().enumerate() {
        let (argument, code, value) = match when {
            When::Any(bits) => (FIRST_ARGUMENT, JUMP_ANY_BIT, *bits),
            When::Is(value) => (FIRST_ARGUMENT, JUMP_EQUAL, *value),
            When::SecondIs(value) => (SECOND_ARGUMENT, JUMP_EQUAL, *value),
            When::Always => continue,
        };
        if loaded.replace(argument) != Some(argument) {
            steps.push(Step::Load(argument));
        }
        let fails = if index + 1 == conditional.len() { end } else { NEXT };
        steps.push(compare(code, value, To::Refuse(*errno), fails));
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
        To::Refuse(errno) => refuse(errno),
        To::Allow | To::Skip(_) => answer(ALLOW),
    }));
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::super::abi;
    use super::*;
    use proptest::prelude::*;

    const ALL: [Filter; 5] =
        [Filter::Machine, Filter::KernelLog, Filter::Keyring, Filter::Namespaces, Filter::UserNamespaces];
    const MACHINES: [&str; 5] = ["aarch64", "arm", "x86_64", "x86", "riscv64"];

    const AARCH64: u32 = 0xc000_00b7;
    const ARM: u32 = 0x4000_0028;
    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    /// The kernel's evaluation of a program: `Ok` for allowed, else the error number. Jumps must stay inside the
    /// program.
    fn run(program: &[sock_filter], architecture: u32, number: u32, first: u64) -> Result<(), i32> {
        run_with(program, architecture, number, [first, 0])
    }

    fn run_with(
        program: &[sock_filter],
        architecture: u32,
        number: u32,
        arguments: [u64; 2],
    ) -> Result<(), i32> {
        let low = |argument: u64| u32::try_from(argument & 0xffff_ffff).unwrap();
        let (mut accumulator, mut at) = (0_u32, 0_usize);
        loop {
            let instruction = &program[at];
            at += 1;
            let k = instruction.k;
            let holds = match instruction.code {
                LOAD_WORD => {
                    accumulator = match k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => low(arguments[0]),
                        SECOND_ARGUMENT => low(arguments[1]),
                        _ => panic!("load from {k}"),
                    };
                    continue;
                }
                RETURN if k == ALLOW => return Ok(()),
                RETURN if k & 0xffff_0000 == ERRNO => return Err(i32::try_from(k & 0xffff).unwrap()),
                JUMP_EQUAL => accumulator == k,
                JUMP_GREATER_OR_EQUAL => accumulator >= k,
                JUMP_ANY_BIT => accumulator & k != 0,
                code => panic!("instruction {code:#x} with {k:#x}"),
            };
            at += usize::from(if holds { instruction.jt } else { instruction.jf });
        }
    }

    fn program(machine: &str, filters: &[Filter]) -> BpfProgram {
        assemble(filters, abi::of(machine)).unwrap()
    }

    const REFUSED: Result<(), i32> = Err(libc::EPERM);
    const ABSENT: Result<(), i32> = Err(libc::ENOSYS);

    #[test]
    fn a_machine_is_protected_from_native_and_32_bit_programs() {
        // Machine, architecture, then the number of: init_module, kexec_load, reboot, prctl, socket, getpid.
        let table = [
            ("aarch64", AARCH64, [105, 104, 142, 167, 198, 172]),
            ("aarch64", ARM, [128, 347, 88, 172, 281, 20]),
            ("arm", ARM, [128, 347, 88, 172, 281, 20]),
            ("x86_64", X86_64, [175, 246, 169, 157, 41, 39]),
            ("x86_64", I386, [128, 283, 88, 172, 359, 20]),
        ];
        for (machine, architecture, [module, kexec, reboot, prctl, socket, getpid]) in table {
            let program = program(machine, &[Filter::Machine]);
            let run = |number, first| run(&program, architecture, number, first);
            assert_eq!(run(module, 0), REFUSED, "{machine} {architecture:#x}");
            assert_eq!(run(kexec, 0), REFUSED);
            assert_eq!(run(reboot, 0xdead_beef), REFUSED);
            assert_eq!(run(reboot, 0xfee1_dead), Ok(()), "a container may reboot itself");
            assert_eq!(run(prctl, 0xdead_beef), REFUSED);
            assert_eq!(run(prctl, 38), Ok(()), "PR_SET_NO_NEW_PRIVS is not a socket family");
            assert_eq!(run(socket, 38), REFUSED);
            assert_eq!(run(socket, 0xffff_ffff_0000_0026), REFUSED, "the kernel reads an int");
            assert_eq!(run(socket, 1), Ok(()));
            assert_eq!(run(getpid, 0), Ok(()));
        }
    }

    #[test]
    fn requests_that_reach_other_terminals_are_refused() {
        for (machine, architecture, ioctl) in
            [("aarch64", AARCH64, 29), ("aarch64", ARM, 54), ("x86_64", X86_64, 16), ("x86_64", I386, 54)]
        {
            let program = program(machine, &[Filter::Machine]);
            let run = |request| run_with(&program, architecture, ioctl, [0, request]);
            assert_eq!(run(0x5412), REFUSED, "TIOCSTI");
            assert_eq!(run(0x1_0000_5412), REFUSED, "the kernel reads an int (CVE-2019-10063)");
            assert_eq!(run(0x541c), REFUSED, "TIOCLINUX");
            assert_eq!(run(0x541d), REFUSED, "TIOCCONS");
            assert_eq!(run(0x5413), Ok(()), "TIOCGWINSZ");
            assert_eq!(run(0xc004_5877), REFUSED, "FIFREEZE");
            assert_eq!(run(0x8004_587d), REFUSED, "EXT4_IOC_SHUTDOWN");
            assert_eq!(run(0xc018_5879), Ok(()), "FITRIM");
        }
    }

    #[test]
    fn the_kernel_log_is_refused_to_native_and_32_bit_programs() {
        for (machine, architecture, syslog) in
            [("aarch64", AARCH64, 116), ("aarch64", ARM, 103), ("x86_64", X86_64, 103), ("x86_64", I386, 103)]
        {
            let program = program(machine, &[Filter::KernelLog]);
            for action in 0..=10 {
                assert_eq!(run(&program, architecture, syslog, action), REFUSED, "{architecture:#x}");
            }
        }
    }

    #[test]
    fn namespaces_are_refused_to_native_and_32_bit_programs() {
        // unshare, clone, clone3, setns
        let table = [
            ("aarch64", AARCH64, [97, 220, 435, 268]),
            ("aarch64", ARM, [337, 120, 435, 375]),
            ("x86_64", X86_64, [272, 56, 435, 308]),
            ("x86_64", I386, [310, 120, 435, 346]),
        ];
        for (machine, architecture, [unshare, clone, clone3, setns]) in table {
            let shield = program(machine, &[Filter::Namespaces]);
            let users = program(machine, &[Filter::UserNamespaces]);
            for flag in [libc::CLONE_NEWNS, libc::CLONE_NEWPID, libc::CLONE_NEWUSER, 0x80] {
                let flag = u64::from(flag.unsigned_abs());
                let is_user = flag == u64::from(NEW_USER);
                for call in [unshare, clone] {
                    assert_eq!(
                        run(&shield, architecture, call, flag),
                        REFUSED,
                        "{architecture:#x} {flag:#x}"
                    );
                    let expected = if is_user { REFUSED } else { Ok(()) };
                    assert_eq!(
                        run(&users, architecture, call, flag),
                        expected,
                        "{architecture:#x} {flag:#x}"
                    );
                }
            }
            let thread = u64::from((libc::CLONE_VM | libc::CLONE_THREAD | libc::SIGCHLD).unsigned_abs());
            for program in [&shield, &users] {
                assert_eq!(run(program, architecture, clone, thread), Ok(()), "threads and fork are allowed");
                assert_eq!(run(program, architecture, clone3, 0), ABSENT);
            }
            assert_eq!(run(&shield, architecture, setns, 0), REFUSED);
            assert_eq!(run(&users, architecture, setns, 0), Ok(()));
        }
    }

    #[test]
    fn keyrings_are_absent_for_native_and_32_bit_programs() {
        let table = [
            ("aarch64", AARCH64, [219, 217, 218]),
            ("aarch64", ARM, [311, 309, 310]),
            ("x86_64", X86_64, [250, 248, 249]),
            ("x86_64", I386, [288, 286, 287]),
        ];
        for (machine, architecture, numbers) in table {
            let program = program(machine, &[Filter::Keyring]);
            for number in numbers {
                assert_eq!(run(&program, architecture, number, 0), ABSENT, "{architecture:#x} {number}");
            }
        }
    }

    #[test]
    fn no_interface_is_a_way_round() {
        let program = program("x86_64", &[Filter::Machine]);
        assert_eq!(run(&program, X86_64, X32 | 39, 0), ABSENT, "x32");
        assert_eq!(run(&program, X86_64, X32 | 175, 0), ABSENT, "x32");
        assert_eq!(run(&program, X86_64, SKIPPED, 0), Ok(()), "what a debugger skips is no call");
        assert_eq!(run(&program, AARCH64, 172, 0), ABSENT, "another machine's programs");
        assert_eq!(run(&program, 0, 0, 0), ABSENT);
        assert!(assemble(&[Filter::Machine], abi::of("vax")).is_err());
    }

    /// The same decision, computed directly.
    fn plainly(filters: &[Filter], calls: &Calls, number: u32, arguments: [u64; 2]) -> Result<(), i32> {
        let [first, second] = arguments.map(|argument| u32::try_from(argument & 0xffff_ffff).unwrap());
        let holds = |when: When| match when {
            When::Always => true,
            When::Any(bits) => first & bits != 0,
            When::Is(value) => first == value,
            When::SecondIs(value) => second == value,
        };
        let mut rules = filters.iter().flat_map(|filter| rules(*filter, calls));
        rules.find(|rule| rule.0 == number && holds(rule.1)).map_or(Ok(()), |rule| Err(rule.2))
    }

    #[test]
    fn no_call_takes_many_steps() {
        for machine in MACHINES {
            assert!(program(machine, &ALL).len() < 100, "{machine}");
        }
    }

    proptest! {
        /// The binary search does not change the decisions.
        #[test]
        fn a_program_decides_as_its_rules_do(
            chosen in prop::sample::subsequence(ALL.to_vec(), 0..=5),
            number in prop_oneof![0_u32..512, 170_u32..180, 435_u32..436, 16_u32..17],
            second in prop_oneof![any::<u64>(), Just(0x5412), Just(0x541c), Just(0x541d)],
            first in prop_oneof![any::<u64>(), Just(0xdead_beef), Just(38), Just(0x1000_0000)],
            machine in 0..MACHINES.len(),
        ) {
            let interfaces = abi::of(MACHINES[machine]);
            let program = assemble(&chosen, interfaces).unwrap();
            for interface in interfaces {
                let expected = plainly(&chosen, interface.calls, number, [first, second]);
                prop_assert_eq!(run_with(&program, interface.audit, number, [first, second]), expected);
            }
        }

        /// Every path through the program ends in an answer, and only calls with rules are denied.
        #[test]
        fn other_calls_are_untouched(number in 0_u32..1024, first: u64, machine in 0..MACHINES.len()) {
            let interfaces = abi::of(MACHINES[machine]);
            let program = assemble(&ALL, interfaces).unwrap();
            for interface in interfaces {
                let named = ALL.iter().flat_map(|filter| rules(*filter, interface.calls)).any(|rule| rule.0 == number);
                let allowed = run(&program, interface.audit, number, first).is_ok();
                prop_assert!(named || allowed);
            }
        }
    }
}
