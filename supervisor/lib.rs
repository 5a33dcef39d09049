//! Droidspaces Supervisor: boots real Linux distributions in containers, beside Android or on any Linux.
//!
//! ```text
//! init (Android's or the host's)
//!  └─ ds supervise            one poll loop; keeps a worker standing by and watch over monitors
//!      ├─ worker              serves one command of one client, with the client's stdin, stdout and stderr
//!      └─ monitor             one for each running container; parent of PID 1
//!          └─ /sbin/init      the container
//! client: `ds …` in a root shell
//! ```
//!
//! ARCHITECTURE.md has the rules; each module says what it owns.

pub mod android;
pub mod answer;
pub mod archive;
pub mod catalogue;
pub mod cgroup;
pub mod child;
pub mod cli;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod confined;
pub mod container;
pub mod daemon;
pub mod durable;
pub mod exit;
pub mod fault;
pub mod host;
pub mod log;
pub mod monitor;
pub mod mount;
pub mod nearest;
pub mod netlink;
pub mod network;
pub mod paths;
pub mod peer;
pub mod plan;
pub mod platform;
pub mod poll;
pub mod privilege;
pub mod proc_stat;
pub mod pty;
pub mod rootfs;
pub mod screen;
pub mod seed;
pub mod session;
pub mod signals;
pub mod socket;
pub mod storage;
pub mod subprocess;
#[expect(unsafe_code, reason = "system calls live here and nowhere else")]
pub mod sys;
pub mod tool;
pub mod units;
pub mod worker;

/// The number of cases of a property test that is slower or quicker than most. `PROPTEST_CASES` determines the number
/// for all of them; proptest itself ignores it where a test gives a number.
#[cfg(test)]
fn cases(usual: u32) -> proptest::test_runner::Config {
    let given = proptest::test_runner::Config::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => given,
        None => proptest::test_runner::Config { cases: usual, ..given },
    }
}
