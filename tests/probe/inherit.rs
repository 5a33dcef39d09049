//! What a process inherits from the one that started it: `probe odd -- CMD…` sets all attributes to unusual values and
//! executes a program, and `probe inherited` prints the values. Both use the names of the table of `ds`.
//!
//! Attributes that the kernel lacks are skipped and have the same value in both.

use crate::sys;
use anyhow::{Context, Result, bail};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, execvp, setgroups};
use serde_json::{Map, Value};
use std::ffi::CString;
use std::fs;

/// Soft and hard limit for each number of a resource: CPU, FSIZE, DATA, STACK, CORE, RSS, NPROC, NOFILE, MEMLOCK, AS,
/// LOCKS, SIGPENDING, MSGQUEUE, NICE, RTPRIO, RTTIME.
const LIMITS: [u64; 16] = [
    1000,
    1 << 19,
    1 << 29,
    1 << 20,
    4096,
    1 << 29,
    4000,
    20,
    1 << 16,
    1 << 31,
    10,
    100,
    4096,
    1,
    1,
    1_000_000,
];
const BATCH: i32 = 3;
const NICE: i32 = 5;
const BEST_EFFORT_AND_LAST: libc::c_long = (2 << 13) | 7;
const NO_RANDOM_ADDRESSES: libc::c_ulong = 0x004_0000;
const LOCAL: libc::c_long = 4;
const KEEP_IDS_APART: libc::c_ulong = 4;
/// CAP_KILL.
const CAPABILITY: u32 = 5;

/// Becomes the program after `--`.
pub fn odd(words: &[&str]) -> Result<u8> {
    let ["--", command @ ..] = words else { bail!("odd -- CMD…") };
    write("coredump_filter", "0x7f");
    write("loginuid", "1000");
    write("oom_score_adj", "500");
    // The session of the caller keeps its own value.
    if nix::unistd::setsid().is_ok() {
        write("autogroup", &NICE.to_string());
    }
    sys::ignore_anything();
    let groups = [7, 8].map(Gid::from_raw);
    setgroups(&groups).context("setgroups")?;
    umask(Mode::empty());
    sys::inherit_capability(CAPABILITY)?;
    for (number, arguments) in [
        (libc::SYS_keyctl, [1, 0, 0]),
        (libc::SYS_ioprio_set, [1, 0, BEST_EFFORT_AND_LAST]),
        (libc::SYS_set_mempolicy, [LOCAL, 0, 0]),
    ] {
        sys::call(number, arguments);
    }
    sys::set_scheduling(BATCH, NICE);
    sys::run_on_first_processor();
    sys::set_alarm();
    sys::personality(NO_RANDOM_ADDRESSES);
    let options: [(libc::c_int, [libc::c_ulong; 2]); 9] = [
        (1, [libc::SIGCONT.unsigned_abs().into(), 0]),
        (28, [KEEP_IDS_APART, 0]),
        (29, [12345, 0]),
        (33, [1, 1]),
        (41, [1, 0]),
        (53, [0, 4]),
        (57, [1, 0]),
        (62, [1, 0]),
        (67, [1, 0]),
    ];
    for (option, arguments) in options {
        let _ = sys::option(option, arguments);
    }
    for (resource, limit) in (0..).zip(LIMITS) {
        sys::set_limit(resource, limit);
    }
    let words = command.iter().map(|word| CString::new(*word)).collect::<Result<Vec<_>, _>>()?;
    execvp(words.first().context("no command")?, &words)?;
    Ok(0)
}

fn write(file: &str, text: &str) {
    let _ = fs::write(format!("/proc/self/{file}"), text);
}

/// The value of each attribute, by its name.
pub fn collect() -> Map<String, Value> {
    let status = read("status");
    let fields = |names: &[&str]| {
        let value = |name: &&str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        names.iter().map(value).collect::<Vec<_>>().join("|")
    };
    let option = |option, argument| sys::option(option, [argument, 0]).to_string();
    let call = |number, arguments| sys::call(number, arguments).to_string();
    let (scheduling, clamps) = sys::scheduling();
    let autogroup = read("autogroup");
    let nice_of_session = autogroup.split_once(" nice ").map_or("", |(_, nice)| nice);
    [
        ("users and groups", fields(&["Uid", "Gid", "Groups"])),
        ("securebits", option(27, 0)),
        ("inheritable and ambient capabilities", fields(&["CapInh", "CapAmb"])),
        ("bounding capabilities", fields(&["CapBnd"])),
        ("resource limits", sys::limits()),
        ("scheduling", scheduling),
        ("processors", fields(&["Cpus_allowed"])),
        ("processor speed", clamps),
        ("nice value of the session", nice_of_session.to_owned()),
        ("core scheduling", sys::core_cookie()),
        ("input and output class", call(libc::SYS_ioprio_get, [1, 0, 0])),
        ("timer slack", option(30, 0)),
        ("umask", fields(&["Umask"])),
        ("personality", sys::personality(0xffff_ffff).to_string()),
        ("parent-death signal", sys::parent_death_signal().to_string()),
        ("alarms", sys::alarm().to_string()),
        ("signals", fields(&["SigBlk", "SigIgn"])),
        ("memory policy", sys::memory_policy().to_string()),
        ("huge pages", option(42, 0)),
        ("merging of memory", option(68, 0)),
        ("memory errors", option(34, 0)),
        ("speculation", option(52, 0)),
        ("time stamp counter", sys::time_stamp_counter().to_string()),
        ("vector length", option(51, 0)),
        ("flusher of input and output", option(58, 0)),
        ("content of core files", read("coredump_filter")),
        ("login", read("loginuid")),
        ("session keyring", call(libc::SYS_keyctl, [0, -3, 0])),
        ("memory shortage", read("oom_score_adj")),
    ]
    .map(|(name, value)| (name.to_owned(), Value::from(value)))
    .into_iter()
    .collect()
}

fn read(file: &str) -> String {
    fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default().trim_end().to_owned()
}
