//! Every filter, run as the kernel would, for native and 32-bit programs of each machine.

use super::*;
use crate::privilege::abi;
use proptest::prelude::*;

const ALL: [Filter; 7] = [
    Filter::Machine,
    Filter::KernelLog,
    Filter::Keyring,
    Filter::Namespaces,
    Filter::UserNamespaces,
    Filter::Devices,
    Filter::Processes,
];
/// Represents an answer of another process, in place of an error number.
const PASSED_ON: i32 = -1;
const MACHINES: [&str; 5] = ["aarch64", "arm", "x86_64", "x86", "riscv64"];

const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// Interprets a program as the kernel does: `Ok` if the call is permitted, else the error number. Every jump must stay
/// in the program.
fn run(program: &[sock_filter], architecture: u32, number: u32, first: u64) -> Result<(), i32> {
    run_with(program, architecture, number, [first, 0, 0])
}

fn run_with(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 3]) -> Result<(), i32> {
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
                    THIRD_ARGUMENT => low(arguments[2]),
                    _ => panic!("load from {k}"),
                };
                continue;
            }
            RETURN if k == ALLOW => return Ok(()),
            RETURN if k == PASS_ON => return Err(PASSED_ON),
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
        let run = |request| run_with(&program, architecture, ioctl, [0, request, 0]);
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
fn swap_and_events_of_whole_file_systems_are_refused() {
    let table = [
        ("aarch64", AARCH64, [224, 225, 263]),
        ("aarch64", ARM, [87, 115, 368]),
        ("x86_64", X86_64, [167, 168, 301]),
        ("x86_64", I386, [87, 115, 339]),
    ];
    for (machine, architecture, [swapon, swapoff, mark]) in table {
        let program = program(machine, &[Filter::Machine]);
        for number in [swapon, swapoff] {
            assert_eq!(run(&program, architecture, number, 1), REFUSED, "{architecture:#x} {number}");
        }
        let mark = |flags| run_with(&program, architecture, mark, [3, flags, 0x20]);
        assert_eq!(mark(0x101), REFUSED, "FAN_MARK_FILESYSTEM");
        assert_eq!(mark(0x111), REFUSED, "FAN_MARK_MNTNS");
        assert_eq!(mark(0x11), Ok(()), "FAN_MARK_MOUNT");
        assert_eq!(mark(0x1), Ok(()), "an inode");
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
                assert_eq!(run(&shield, architecture, call, flag), REFUSED, "{architecture:#x} {flag:#x}");
                let expected = if is_user { REFUSED } else { Ok(()) };
                assert_eq!(run(&users, architecture, call, flag), expected, "{architecture:#x} {flag:#x}");
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
fn device_nodes_are_refused_to_native_and_32_bit_programs() {
    let table = [
        ("aarch64", AARCH64, None, 33),
        ("aarch64", ARM, Some(14), 324),
        ("x86_64", X86_64, Some(133), 259),
        ("x86_64", I386, Some(14), 297),
    ];
    for (machine, architecture, older, newer) in table {
        let program = program(machine, &[Filter::Devices]);
        for (mode, expected) in [
            (libc::S_IFBLK, REFUSED),
            (libc::S_IFCHR, REFUSED),
            (libc::S_IFIFO, Ok(())),
            (libc::S_IFSOCK, Ok(())),
            (libc::S_IFREG, Ok(())),
            (0, Ok(())),
        ] {
            let mode = u64::from(mode | 0o666);
            assert_eq!(run_with(&program, architecture, newer, [3, 0, mode]), expected, "{mode:o}");
            if let Some(older) = older {
                assert_eq!(run_with(&program, architecture, older, [0, mode, 0]), expected, "{mode:o}");
            }
        }
    }
}

#[test]
fn no_interface_is_a_way_round() {
    let program = program("x86_64", &[Filter::Machine]);
    assert_eq!(run(&program, X86_64, X32 | 39, 0), ABSENT, "x32");
    assert_eq!(run(&program, X86_64, X32 | 175, 0), ABSENT, "x32");
    assert_eq!(run(&program, X86_64, SKIPPED, 0), Ok(()), "a call that a debugger cancels is not refused");
    assert_eq!(run(&program, AARCH64, 172, 0), ABSENT, "another machine's programs");
    assert_eq!(run(&program, 0, 0, 0), ABSENT);
    assert!(assemble(&[Filter::Machine], abi::of("vax")).is_err());
}

/// The same decision by a linear search.
fn plainly(filters: &[Filter], interface: &Abi, number: u32, arguments: [u64; 3]) -> Result<(), i32> {
    let [first, second, third] = arguments.map(|argument| u32::try_from(argument & 0xffff_ffff).unwrap());
    let holds = |when: When| match when {
        When::Always => true,
        When::Any(bits) => first & bits != 0,
        When::Is(value) => first == value,
        When::IsNot(value) => first != value,
        When::SecondIs(value) => second == value,
        When::SecondIsNot(value) => second != value,
        When::SecondAny(bits) => second & bits != 0,
        When::ThirdIs(value) => third == value,
        When::ThirdAny(bits) => third & bits != 0,
    };
    let mut rules = filters.iter().flat_map(|filter| rules(*filter, interface));
    rules.find(|rule| rule.0 == number && holds(rule.1)).map_or(Ok(()), |rule| match rule.2 {
        Then::Refuse(errno) => Err(errno),
        Then::PassOn => Err(PASSED_ON),
    })
}

#[test]
fn no_call_takes_many_steps() {
    for machine in MACHINES {
        assert!(program(machine, &ALL).len() < 320, "{machine}");
    }
}

proptest! {
    /// The binary search has the same results as the list of rules.
    #[test]
    fn a_program_decides_as_its_rules_do(
        chosen in prop::sample::subsequence(ALL.to_vec(), 0..=7),
        number in prop_oneof![0_u32..512, 170_u32..180, 435_u32..436, 16_u32..17],
        second in prop_oneof![any::<u64>(), Just(0x5412), Just(0x541c), Just(0x541d)],
        third in prop_oneof![any::<u64>(), Just(0o020_666), Just(0o010_666)],
        first in prop_oneof![any::<u64>(), Just(0xdead_beef), Just(38), Just(0x1000_0000)],
        machine in 0..MACHINES.len(),
    ) {
        let interfaces = abi::of(MACHINES[machine]);
        let program = assemble(&chosen, interfaces).unwrap();
        for interface in interfaces {
            let expected = plainly(&chosen, interface, number, [first, second, third]);
            prop_assert_eq!(run_with(&program, interface.audit, number, [first, second, third]), expected);
        }
    }

    /// Every path through the program ends in an answer, and only the numbers of rules are ever refused.
    #[test]
    fn other_calls_are_untouched(number in 0_u32..1024, first: u64, machine in 0..MACHINES.len()) {
        let interfaces = abi::of(MACHINES[machine]);
        let program = assemble(&ALL, interfaces).unwrap();
        for interface in interfaces {
            let named = ALL.iter().flat_map(|filter| rules(*filter, interface)).any(|rule| rule.0 == number);
            let allowed = run(&program, interface.audit, number, first).is_ok();
            prop_assert!(named || allowed);
        }
    }
}
