//! System call filters as BPF programs: seccomp(2), "Filters"; Documentation/userspace-api/seccomp_filter.rst.
//!
//! One program for all filters of a container, because each installed one costs every system call. It asks first which
//! interface the call came by and then compares with that interface's own numbers, so that 32-bit programs live under
//! the same rules as all others. A call by an interface without a table (none is known on the machines we build for)
//! is answered with ENOSYS: it is as if the kernel did not have it.

use anyhow::{Context, Result, ensure};
use seccompiler::{BpfProgram, sock_filter};

use super::abi::{Abi, Calls};
use crate::plan::privileges::Filter;

/// All flags of unshare(2) and clone(2) that make a namespace.
const NAMESPACES: u32 = 0x7e02_0080;
/// `CLONE_NEWUSER`.
const NEW_USER: u32 = 0x1000_0000;
/// KernelSU takes any call with this first argument for a request: reboot(2), and prctl(2) in its older versions. No
/// other use of the two has it.
const KERNELSU: u32 = 0xdead_beef;
/// `AF_ALG`: ciphers of the kernel, with a history of faults that any user can reach; programs have their own.
const CIPHERS: u32 = 38;

/// When a rule applies. Arguments are compared by their lower half: each one here is an `int`, or flags below bit 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// The first argument has any of these bits.
    Any(u32),
    /// The first argument is this.
    Is(u32),
}

/// One refusal: number of the call, condition, error number.
type Rule = (u32, When, libc::c_int);

fn rules(filter: Filter, calls: &Calls) -> Vec<Rule> {
    let always = |numbers: &[u32], errno| -> Vec<Rule> {
        numbers.iter().map(|number| (*number, When::Always, errno)).collect()
    };
    // The flags of clone3(2) are in memory, out of a filter's sight; C libraries fall back to clone(2).
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
            rules
        }
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

// struct seccomp_data of linux/seccomp.h. All our machines are little-endian: the lower half of an argument comes first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO`; the error number is added.
const ERRNO: u32 = 0x0005_0000;

/// Bit of an x32 call, `__X32_SYSCALL_BIT`.
const X32: u32 = 0x4000_0000;
/// A number that a debugger sets to have no call made at all: ptrace(2), "Syscall-stops".
const SKIPPED: u32 = u32::MAX;

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: offset }
}

/// Goes on with the next instruction if the comparison holds, else `otherwise` instructions further.
const fn unless(code: u16, value: u32, otherwise: u8) -> sock_filter {
    sock_filter { code, jt: 0, jf: otherwise, k: value }
}

const fn answer(action: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}

const fn refuse(errno: libc::c_int) -> sock_filter {
    answer(ERRNO | errno.unsigned_abs())
}

/// The program that enforces `filters` on each of the interfaces.
///
/// # Errors
/// Without any interface, or when the program comes out too long.
pub fn assemble(filters: &[Filter], interfaces: &[Abi]) -> Result<BpfProgram> {
    ensure!(!interfaces.is_empty(), "no system call filter for {}", std::env::consts::ARCH);
    let mut program = vec![load(ARCHITECTURE)];
    for interface in interfaces {
        let section = section(filters, interface);
        let length = u8::try_from(section.len()).context("the system call filter is too long")?;
        program.push(unless(JUMP_EQUAL, interface.audit, length));
        program.extend(section);
    }
    program.push(refuse(libc::ENOSYS));
    Ok(program)
}

/// What happens to the calls of one interface.
fn section(filters: &[Filter], interface: &Abi) -> BpfProgram {
    let mut section = vec![load(NUMBER)];
    if interface.x32 {
        section.push(unless(JUMP_GREATER_OR_EQUAL, X32, 3));
        section.push(unless(JUMP_EQUAL, SKIPPED, 1));
        section.push(answer(ALLOW));
        section.push(refuse(libc::ENOSYS));
    }
    for (number, when, errno) in filters.iter().flat_map(|filter| rules(*filter, interface.calls)) {
        let (code, value) = match when {
            When::Always => {
                section.extend([unless(JUMP_EQUAL, number, 1), refuse(errno)]);
                continue;
            }
            When::Any(bits) => (JUMP_ANY_BIT, bits),
            When::Is(value) => (JUMP_EQUAL, value),
        };
        section.extend([
            unless(JUMP_EQUAL, number, 4),
            load(FIRST_ARGUMENT),
            unless(code, value, 1),
            refuse(errno),
            load(NUMBER),
        ]);
    }
    section.push(answer(ALLOW));
    section
}

#[cfg(test)]
mod tests {
    use super::super::abi;
    use super::*;
    use proptest::prelude::*;

    const ALL: [Filter; 4] = [Filter::Machine, Filter::Keyring, Filter::Namespaces, Filter::UserNamespaces];
    const MACHINES: [&str; 5] = ["aarch64", "arm", "x86_64", "x86", "riscv64"];

    const AARCH64: u32 = 0xc000_00b7;
    const ARM: u32 = 0x4000_0028;
    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    /// What the kernel does with a program: `Ok` for allowed, else the error number. Every jump must stay inside.
    fn run(program: &[sock_filter], architecture: u32, number: u32, first: u64) -> Result<(), i32> {
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
                        FIRST_ARGUMENT => u32::try_from(first & 0xffff_ffff).unwrap(),
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

    proptest! {
        /// Every path through the program ends in an answer, and only the numbers of rules are ever refused.
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
