//! Tests with real containers: the built binary boots them, in namespaces of each test.
//!
//! Needs root and the preparations of `cargo xtask test`: `$DS_BIN` (the static binary), `$DS_PROBE` (the program that
//! the tests boot and run), `$DS_FIXTURES` (root file systems of real distributions). Every test has its own
//! [`Sandbox`], so they run in parallel and do not change the machine; the sandbox checks at its end that `ds` left
//! nothing behind. A test that cannot run calls [`skip`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test may panic")]
#![allow(missing_docs, clippy::absolute_paths, reason = "tests are their own documentation")]

mod attacker;
mod done;
mod frames;
mod handset;
mod phone;
mod process;
mod root_fs;
mod sandbox;
mod strikes;
mod terminal;
#[path = "../web/mod.rs"]
mod web;
mod world;

mod android;
mod archives;
mod attacks;
mod catalogue;
mod catalogue_boots;
mod cgroups;
mod chaos;
mod clients;
mod clocks;
mod console;
mod device_policy;
mod devices;
mod engines;
mod exec;
mod fallbacks;
mod foreign;
mod frozen;
mod gateways;
mod guest_files;
mod handover;
mod hardware;
mod hidden_groups;
mod hostile;
mod hostile_links;
mod hostile_servers;
mod identity;
mod images;
mod images_killed;
mod inherit;
mod init_systems;
mod instances;
mod kernel_calls;
mod leaks;
mod lifecycle;
mod limits;
mod login;
mod mount_options;
mod mounts;
mod nat;
mod network;
mod network_managers;
mod networks_beside;
mod own_program;
mod partitions;
mod privileges;
mod programs;
mod pty;
mod reach;
mod recovery;
mod rpc;
mod seeding;
mod services;
mod silence;
mod stock;
mod stock_32_bit;
mod stock_end;
mod stock_engines;
mod stock_races;
mod stock_waits;
mod stop;
mod storage;
mod storage_faults;
mod storage_moving;
mod supervisor;
mod swarm;
mod switching;
mod translators;
mod udev;
mod unit_options;
mod uplinks;
mod verbs;
mod volatile;

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A path from an environment variable of `cargo xtask test`.
fn given(name: &str) -> PathBuf {
    let path = env::var_os(name).unwrap_or_else(|| panic!("${name} is not set; run 'cargo xtask test'"));
    std::fs::canonicalize(&path).unwrap_or_else(|error| panic!("${name}: {}: {error}", path.display()))
}

/// The number of rounds of a race: `$DS_ROUNDS`, or a number that takes seconds.
fn rounds(quick: usize) -> usize {
    env::var("DS_ROUNDS").map_or(quick, |number| number.parse().expect("a number of rounds"))
}

/// Reports that a test cannot run on this machine. The test must then return.
fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    if let Some(log) = env::var_os("DS_SKIP_LOG") {
        let mut log = OpenOptions::new().create(true).append(true).open(log).expect("the skip log");
        writeln!(log, "{test}: {reason}").expect("write the skip log");
    }
}

/// The time after which a test gives up. It means that the awaited event never occurs, also on a slow or busy machine.
const LONGEST_WAIT: Duration = Duration::from_secs(180);

/// Waits for a value; panics after a generous timeout.
#[track_caller]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LONGEST_WAIT, "timeout: {what}");
        sleep(Duration::from_millis(5));
    }
}
