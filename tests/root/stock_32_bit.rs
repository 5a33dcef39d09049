//! 32-bit programs on kernels without PID namespaces: their calls have other numbers, and are answered like all others.

use crate::sandbox::Sandbox;
use crate::stock::{Bystanders, stock};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

/// i386 instructions that perform the system calls which stdin lists, seven words each: the number and six arguments.
/// They write each result, a word, to stdout, and exit at the end of stdin.
///
/// ```text
/// next: mov $3, %eax; xor %ebx, %ebx; mov $0x20000, %ecx; mov $28, %edx; int $0x80; cmp $28, %eax; jne end
///       mov $0x20000, %esp; pop %eax; pop %ebx; pop %ecx; pop %edx; pop %esi; pop %edi; pop %ebp; int $0x80
///       mov $0x20000, %ecx; mov %eax, (%ecx); mov $4, %eax; mov $1, %ebx; mov $4, %edx; int $0x80; jmp next
/// end:  mov $1, %eax; xor %ebx, %ebx; int $0x80
/// ```
#[rustfmt::skip]
const CALLER: &[u8] = &[
    0xb8, 0x03, 0x00, 0x00, 0x00, 0x31, 0xdb, 0xb9, 0x00, 0x00, 0x02, 0x00, 0xba, 0x1c, 0x00, 0x00, 0x00,
    0xcd, 0x80, 0x83, 0xf8, 0x1c, 0x75, 0x28, 0xbc, 0x00, 0x00, 0x02, 0x00, 0x58, 0x5b, 0x59, 0x5a, 0x5e,
    0x5f, 0x5d, 0xcd, 0x80, 0xb9, 0x00, 0x00, 0x02, 0x00, 0x89, 0x01, 0xb8, 0x04, 0x00, 0x00, 0x00, 0xbb,
    0x01, 0x00, 0x00, 0x00, 0xba, 0x04, 0x00, 0x00, 0x00, 0xcd, 0x80, 0xeb, 0xc0, 0xb8, 0x01, 0x00, 0x00,
    0x00, 0x31, 0xdb, 0xcd, 0x80,
];

/// i386 instructions of an init program that exits with the number that getpid(2) returns.
///
/// ```text
/// mov $20, %eax; int $0x80; mov %eax, %ebx; mov $1, %eax; int $0x80
/// ```
const INIT: &[u8] =
    &[0xb8, 0x14, 0x00, 0x00, 0x00, 0xcd, 0x80, 0x89, 0xc3, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xcd, 0x80];

/// The same in a second thread.
///
/// ```text
///        mov $120, %eax; mov $0x10f00, %ebx; xor %ecx, %ecx; int $0x80; test %eax, %eax; je second
/// first: mov $29, %eax; int $0x80; jmp first
/// second: mov $20, %eax; int $0x80; mov %eax, %ebx; mov $252, %eax; int $0x80
/// ```
#[rustfmt::skip]
const INIT_WITH_THREAD: &[u8] = &[
    0xb8, 0x78, 0x00, 0x00, 0x00, 0xbb, 0x00, 0x0f, 0x01, 0x00, 0x31, 0xc9, 0xcd, 0x80, 0x85, 0xc0, 0x74, 0x09,
    0xb8, 0x1d, 0x00, 0x00, 0x00, 0xcd, 0x80, 0xeb, 0xf7,
    0xb8, 0x14, 0x00, 0x00, 0x00, 0xcd, 0x80, 0x89, 0xc3, 0xb8, 0xfc, 0x00, 0x00, 0x00, 0xcd, 0x80,
];

/// Where the program is in memory, and a free place for data.
const BASE: u32 = 0x10000;
const DATA: i32 = 0x20100;

/// A static ELF program of these instructions, elf(5), with memory for data behind them.
fn program(instructions: &[u8]) -> Vec<u8> {
    const HEADERS: u32 = 52 + 32;
    let length = HEADERS + u32::try_from(instructions.len()).unwrap();
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_EXEC, EM_386.
    file.extend([2_u16, 3].iter().flat_map(|half| half.to_le_bytes()));
    file.extend([1, BASE + HEADERS, 52, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()));
    file.extend([52_u16, 32, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    // PT_LOAD: readable, writable and executable.
    let segment = [1, 0, BASE, BASE, length, 0x20000, 7, 0x1000];
    file.extend(segment.iter().flat_map(|word: &u32| word.to_le_bytes()));
    file.extend(instructions);
    file
}

fn install(path: &std::path::Path, instructions: &[u8]) {
    std::fs::write(path, program(instructions)).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

fn words(words: &[i32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A call with these arguments.
fn on(number: i32, arguments: &[i32]) -> [i32; 7] {
    let mut words = [number, 0, 0, 0, 0, 0, 0];
    words[1..=arguments.len()].copy_from_slice(arguments);
    words
}

/// Performs calls in the container, with these bytes at `DATA`; returns their results.
fn perform(sandbox: &Sandbox, calls: &[[i32; 7]], data: &[u8]) -> Vec<i32> {
    // read(0, DATA, length): the data follows its call.
    let mut input = words(&on(3, &[0, DATA, i32::try_from(data.len()).unwrap()]));
    input.extend(data);
    input.extend(words(calls.as_flattened()));
    let done = sandbox.ds_with_input(&["run", "web", "--", "/bin/calls"], &input);
    assert_eq!(done.code, 0, "{done:?}");
    let results = done.output.chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().unwrap()));
    let results: Vec<i32> = results.skip(1).collect();
    assert_eq!(results.len(), calls.len(), "{done:?}");
    results
}

/// Calls that concern a process by its number.
fn calls_on(target: i32) -> Vec<[i32; 7]> {
    vec![
        // kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_open
        on(37, &[target, 9]),
        on(37, &[-target, 9]),
        on(238, &[target, 9]),
        on(270, &[target, target, 9]),
        on(178, &[target, 9, DATA]),
        on(335, &[target, target, 9, DATA]),
        on(434, &[target, 0]),
        // ptrace with PTRACE_ATTACH and PTRACE_SEIZE, process_vm_readv, process_vm_writev
        on(26, &[16, target, 0, 0]),
        on(26, &[0x4206, target, 0, 0]),
        on(347, &[target, DATA, 1, DATA, 1, 0]),
        on(348, &[target, DATA, 1, DATA, 1, 0]),
        // setpriority, ioprio_set, sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr
        on(97, &[0, target, 19]),
        on(97, &[1, target, 19]),
        on(289, &[1, target, 0]),
        on(154, &[target, DATA]),
        on(156, &[target, 3, DATA]),
        on(241, &[target, 4, DATA]),
        on(351, &[target, DATA, 0]),
        // prlimit64, migrate_pages, move_pages, kcmp
        on(340, &[target, 7, DATA, 0]),
        on(294, &[target, 32, DATA, DATA]),
        on(317, &[target, 0, 0, 0, 0, 0]),
        on(349, &[target, target, 0, 1, 1]),
        // fcntl and fcntl64 with F_SETOWN
        on(55, &[0, 8, target]),
        on(221, &[0, 8, target]),
    ]
}

#[test]
#[cfg(target_arch = "x86_64")]
fn no_call_of_a_32_bit_program_reaches_a_process_outside() {
    let sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    let tree = sandbox.container("web", &[]);
    install(&tree.path("bin/calls"), CALLER);
    sandbox.ds(&["start", "web"]).succeeds();

    // siginfo_t of a 32-bit program: signal, error, SI_QUEUE, sender, user, value.
    let info = words(&[9, 0, -1, 1, 0, 0]);
    for target in bystanders.numbers().split(' ') {
        let calls = calls_on(target.parse().unwrap());
        for (call, result) in calls.iter().zip(perform(&sandbox, &calls, &info)) {
            assert_eq!(result, -libc::ESRCH, "{call:?}");
        }
    }
    bystanders.check();

    // getpid, gettid, getppid, kill: its own processes are within reach, and PID 1 is 1.
    let calls = [on(20, &[]), on(224, &[]), on(64, &[]), on(37, &[1, 0]), on(37, &[1, 9])];
    let results = perform(&sandbox, &calls, &info);
    assert_eq!(results[0], results[1], "{results:?}");
    assert!(results[0] > 1, "{results:?}");
    assert_eq!(results[2..], [0, 0, 0], "the first process of a session has no parent inside");
    assert_eq!(sandbox.state("web"), "running", "SIGKILL has no effect on PID 1");
    // reboot with LINUX_REBOOT_CMD_CAD_ON, which exists only for a machine.
    let numbers = [0xfee1_dead_u32, 672_274_793, 0x89ab_cdef].map(u32::cast_signed);
    assert_eq!(perform(&sandbox, &[on(88, &numbers)], &info), [-libc::EINVAL]);
    bystanders.check();
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn each_thread_of_a_32_bit_init_program_is_pid_1() {
    let sandbox = stock();
    let tree = sandbox.container("web", &[]);
    for program in [INIT, INIT_WITH_THREAD] {
        std::fs::remove_file(tree.path("sbin/init")).unwrap();
        install(&tree.path("sbin/init"), program);
        sandbox.ds(&["start", "web"]);
        // An exit code other than 0.
        sandbox.wait_for_state("web", "failed");
        assert_eq!(sandbox.info("web")["last_exit"]["code"], 1, "{}", sandbox.info("web"));
    }
}

/// A 64-bit program can make calls of the x32 interface, which have the same architecture and other numbers.
#[test]
#[cfg(target_arch = "x86_64")]
fn no_x32_call_reaches_a_process_outside() {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    // ENOSYS.
    let script = "for my $pid (@ARGV) { for (62, 200, 234, 434, 129, 297, 524) { \
                  $! = 0; my $result = syscall(0x40000000 | $_, $pid + 0, 9, 9); \
                  print qq($_: $result $!\n) unless $result == -1 && $! == 38 } } print qq(done\n)";
    let numbers = bystanders.numbers();
    let words = ["run", "web", "--", "perl", "-e", script].into_iter().chain(numbers.split(' '));
    assert_eq!(sandbox.ds(&words.collect::<Vec<_>>()).text(), "done\n");
    bystanders.check();
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}
