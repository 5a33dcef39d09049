//! Chaos with a seed: random verbs at once, random processes killed or stopped, clients interrupted. After each round
//! every command has ended, nothing is left, and the next start works.
//!
//! `$DS_CHAOS_SEED` repeats a run that failed, `$DS_CHAOS_ROUNDS` makes it longer: 200 rounds take some two minutes.

use crate::process::below;
use crate::sandbox::Sandbox;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fmt};

/// Containers that take part.
const NAMES: [&str; 2] = ["one", "two"];
/// What is done with a container, `NAME` standing for it.
const VERBS: [&[&str]; 11] = [
    &["start", "NAME"],
    &["start", "NAME", "--wait=5"],
    &["stop", "NAME", "--timeout", "1"],
    &["stop", "NAME", "--kill"],
    &["restart", "NAME"],
    &["run", "NAME", "--", "/bin/sleep", "0.05"],
    &["freeze", "NAME"],
    &["thaw", "NAME"],
    &["info", "NAME"],
    &["list", "--json"],
    &["set", "NAME", "priority=3"],
];

/// xorshift64*: numbers that a seed repeats.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit
    }
}

/// What a round did, for somebody who wonders why it failed.
#[derive(Default)]
struct Story(Vec<String>);

impl Story {
    fn add(&mut self, what: impl fmt::Display) {
        self.0.push(what.to_string());
    }
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

/// It may have ended by itself in the meantime.
fn signal(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Kills a process of ours or of a container, or interrupts a client.
fn strike(sandbox: &Sandbox, chance: &mut Chance, clients: &[Child], story: &mut Story) {
    if chance.below(3) == 0 {
        let client = &clients[chance.below(clients.len())];
        let all = below(i32::try_from(client.id()).unwrap());
        if let Some(process) = all.iter().find(|process| process.name == "ds") {
            story.add(format_args!("SIGINT to the client {}", process.pid));
            signal(process.pid, Signal::SIGINT);
        }
        return;
    }
    let processes = sandbox.processes();
    if processes.is_empty() {
        return;
    }
    let victim = &processes[chance.below(processes.len())];
    story.add(format_args!("SIGKILL to {} ({})", victim.pid, victim.name));
    signal(victim.pid, Signal::SIGKILL);
}

fn round(sandbox: &Sandbox, chance: &mut Chance, story: &mut Story) {
    let mut clients = Vec::new();
    for _ in 0..=chance.below(3) {
        let name = NAMES[chance.below(NAMES.len())];
        let verb = VERBS[chance.below(VERBS.len())];
        let words: Vec<&str> = verb.iter().map(|word| if *word == "NAME" { name } else { *word }).collect();
        story.add(format_args!("ds {}", words.join(" ")));
        clients.push(sandbox.spawn_ds(&words));
    }
    for _ in 0..chance.below(3) {
        sleep(Duration::from_millis(u64::try_from(chance.below(40)).unwrap()));
        strike(sandbox, chance, &clients, story);
    }
    for client in clients {
        let output = client.wait_with_output().expect("wait");
        // A client that had to be killed for its patience would have a code of its own.
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{errors}");
        story.add(format_args!("{:?} {}", output.status.code(), errors.trim()));
    }
    sandbox.ds(&["stop", "--all", "--kill"]).succeeds();
    sandbox.assert_no_containers();
    let name = NAMES[chance.below(NAMES.len())];
    sandbox.ds(&["start", name]).succeeds();
    sandbox.ds(&["stop", name, "--kill"]).succeeds();
}

#[test]
fn whatever_happens_nothing_is_left_and_the_next_start_works() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the time").as_secs();
    let seed = setting("DS_CHAOS_SEED").unwrap_or(now);
    let rounds = setting("DS_CHAOS_ROUNDS").unwrap_or(20);
    let sandbox = Sandbox::new();
    for name in NAMES {
        sandbox.container(name, &[]);
    }
    let mut chance = Chance(seed | 1);
    for number in 0..rounds {
        let mut story = Story::default();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            round(&sandbox, &mut chance, &mut story);
        }));
        if let Err(error) = done {
            eprintln!("DS_CHAOS_SEED={seed}, round {number}:\n{}", story.0.join("\n"));
            std::panic::resume_unwind(error);
        }
    }
}
