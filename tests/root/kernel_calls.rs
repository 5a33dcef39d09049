//! Attacks by system calls that no shell has: Debian's perl makes them, as root in a booted container.
//!
//! What the kernel or the filter refuses is refused in any case; what docs/threat-model.md lists as possible has the same
//! result as for root of the machine.

use crate::attacker::{is_listed, is_refused};
use crate::sandbox::{Sandbox, Setting};

/// A call: name, numbers on x86-64 and arm64, arguments in perl, a row of the threat model.
type Call = (&'static str, [u32; 2], &'static str, &'static str);

const REFUSED: &[Call] = &[
    ("kexec_load", [246, 104], "0, 0, 0, 0", "execute another kernel"),
    ("kexec_file_load", [320, 294], "-1, -1, 0, 0, 0", "execute another kernel"),
    ("init_module", [175, 105], "0, 0, ''", "load a kernel module"),
    ("finit_module", [313, 273], "-1, '', 0", "load a kernel module"),
    ("delete_module", [176, 106], "'loop', 0", "load a kernel module"),
    ("clock_settime", [227, 112], "0, pack('qq', 1, 0)", "set the clock"),
    ("settimeofday", [164, 170], "pack('qq', 1, 0), 0", "set the clock"),
    ("adjtimex", [159, 171], "pack('I x204', 1)", "set the clock"),
    ("clock_adjtime", [305, 266], "0, pack('I x204', 1)", "set the clock"),
    ("acct", [163, 89], "0", "process accounting"),
    ("syslog", [103, 116], "5, 0, 0", "read or clear the kernel log"),
    ("swapon", [167, 224], "'/root/swap', 0", "swap areas"),
    ("swapoff", [168, 225], "'/root/swap'", "swap areas"),
    (
        "fanotify_mark",
        [301, 263],
        "syscall(FANOTIFY_INIT, 0, 0), 0x101, 0x20, -100, '/'",
        "events of the whole file system",
    ),
    ("socket of ciphers", [41, 198], "38, 5, 0", "ciphers of the kernel"),
];

const POSSIBLE: &[Call] = &[
    ("bpf", [321, 280], "0, pack('IIIII x108', 2, 4, 4, 1, 0), 128", "bpf(2)"),
    ("perf_event_open", [298, 241], "pack('IIQ x112', 1, 128, 0), 0, -1, -1, 0", "perf_event_open(2)"),
    ("userfaultfd", [323, 282], "0x80000", "userfaultfd(2)"),
    ("io_uring_setup", [425, 425], "1, pack('x120')", "io_uring"),
    ("keyctl", [250, 219], "0, -4, 0", "keys of user 0"),
];

/// Looks for every program of the kernel, and detaches those that decide about devices from every group in reach. Then
/// opens a disk.
const DETACH: &str = r#"
    my $bpf = BPF;
    my ($found, $detached, $id) = (0, 0, 0);
    my @groups;
    for my $path (glob("/sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/*")) {
        open(my $group, "<", $path) and push @groups, $group;
    }
    while (1) {
        my $next = pack("III x116", $id, 0, 0);
        last if syscall($bpf, 11, $next, 128) < 0;
        $id = (unpack("II", $next))[1];
        my $program = syscall($bpf, 13, pack("III x116", $id, 0, 0), 128);
        next if $program < 0;
        $found++;
        for my $group (@groups) {
            $detached++ if syscall($bpf, 9, pack("IIII x112", fileno($group), $program, 6, 0), 128) == 0;
        }
    }
    system("mknod", "/root/disk", "b", 7, 0);
    print open(my $disk, "<", "/root/disk") ? "opened" : "refused: $!", ", $detached detached, ", scalar(@groups) ? "" : "no ",
        "groups in reach\n";
"#;

fn number(call: &Call) -> u32 {
    call.1[usize::from(cfg!(target_arch = "aarch64"))]
}

/// Makes each call; a line for each: its name and the error, or `done`.
fn script(calls: &[Call]) -> String {
    let lines = calls.iter().map(|call| {
        let (name, _, arguments, _) = call;
        // A variable for each argument: perl passes no constant text to the kernel.
        let number = number(call);
        let arguments =
            arguments.replace("FANOTIFY_INIT", if cfg!(target_arch = "aarch64") { "262" } else { "300" });
        format!("@a = ({arguments}); print '{name}: ', syscall({number}, @a) < 0 ? $! : 'done', \"\\n\";\n")
    });
    lines.collect()
}

fn start(setting: Setting) -> Sandbox {
    let mut sandbox = Sandbox::with(setting);
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=110"]).succeeds();
    sandbox
}

fn perl(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/usr/bin/perl", "-e", script]).succeeds()
}

#[test]
fn system_calls_that_reach_the_machine_are_refused() {
    for denied in [None, Some("old")] {
        let sandbox = start(Setting { denied, ..Setting::default() });
        for (line, call) in perl(&sandbox, &script(REFUSED)).lines().zip(REFUSED) {
            assert_eq!(line, format!("{}: Operation not permitted", call.0), "{denied:?}");
            is_refused(call.3);
        }
        sandbox.ds(&["stop", "web"]).succeeds();
    }
}

#[test]
fn system_calls_that_are_possible_have_the_results_of_the_machine() {
    let sandbox = start(Setting::default());
    POSSIBLE.iter().for_each(|call| is_listed(call.3));
    let script = script(POSSIBLE);
    let of_the_machine = sandbox.run(&["perl", "-e", &script]);
    assert_eq!(perl(&sandbox, &script), of_the_machine.succeeds());
    let detach = DETACH.replace("BPF", &number(&POSSIBLE[0]).to_string());
    let said = perl(&sandbox, &detach);
    assert_eq!(said, "refused: Operation not permitted, 0 detached, groups in reach\n");
    sandbox.ds(&["stop", "web"]).succeeds();
}
