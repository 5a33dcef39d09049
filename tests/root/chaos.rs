//! Chaos with a seed: random verbs at once, random processes killed, stopped, frozen, clients interrupted. After each
//! round every command has ended, nothing is left, and the next start works.
//!
//! `$DS_CHAOS_SEED` repeats a failed sandbox, `$DS_CHAOS_ROUNDS` is the total number of rounds.

use crate::images;
use crate::sandbox::{Sandbox, files_below};
use crate::strikes::{Chance, Story, Strikes};
use crate::wait_for;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The containers: two with directories, one with an image.
const NAMES: [&str; 3] = ["one", "two", "image"];
/// The names of containers that jobs create.
const MADE: [&str; 2] = ["copied", "renamed"];
/// Command lines for a container; `NAME` is replaced by its name.
const VERBS: [&[&str]; 20] = [
    &["start", "NAME"],
    &["start", "NAME"],
    &["start", "NAME", "--wait=1"],
    &["start", "--all"],
    &["stop", "NAME", "--timeout", "1"],
    &["stop", "NAME", "--kill"],
    &["restart", "NAME"],
    &["run", "NAME", "--", "/bin/sleep", "0.05"],
    &["run", "NAME", "--", "/bin/sleep", "0.05"],
    &["freeze", "NAME"],
    &["thaw", "NAME"],
    &["info", "NAME"],
    &["list", "--json"],
    &["set", "NAME", "priority=3"],
    &["copy", "NAME", "copied"],
    &["rename", "copied", "renamed"],
    &["start", "renamed"],
    &["rm", "copied", "--force"],
    &["rm", "renamed", "--force"],
    &["export", "NAME", "--output", "EXPORT"],
];
/// The number of parallel sandboxes, because most of a round is waiting.
const SANDBOXES: u64 = 4;
/// The timeout for a command whose peers are stopped or frozen.
const LONGEST: Duration = Duration::from_secs(150);

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

fn round(sandbox: &Sandbox, chance: &mut Chance, story: &mut Story) {
    let begun = Instant::now();
    let mut strikes = Strikes::new(sandbox);
    let export = sandbox.path("export.ds");
    let (mut clients, mut lasting) = (Vec::new(), Vec::new());
    for _ in 0..=chance.below(3) {
        let name = NAMES[chance.below(NAMES.len())];
        let in_place = |word: &&'static str| match *word {
            "NAME" => name,
            "EXPORT" => export.to_str().unwrap(),
            word => word,
        };
        let words: Vec<&str> = VERBS[chance.below(VERBS.len())].iter().map(in_place).collect();
        if ["run", "start", "restart"].contains(&words[0]) {
            lasting.push(name);
        }
        story.add(format_args!("ds {}", words.join(" ")));
        clients.push(sandbox.spawn_ds(&words));
    }
    for _ in 0..chance.below(4) {
        thread::sleep(Duration::from_millis(u64::try_from(chance.below(40)).unwrap()));
        strikes.strike(chance, &clients, story);
    }
    // In most rounds, the strikes end here; in the others, commands must end by themselves.
    if chance.below(10) != 0 {
        thread::sleep(Duration::from_millis(u64::try_from(chance.below(20)).unwrap()));
        strikes.undo_ours();
    }
    strikes.continue_clients(&clients);
    // A command takes as long as its processes are frozen, and a start up to its limit of a minute.
    if !lasting.is_empty() {
        strikes.undo_all();
    }
    for name in lasting {
        sandbox.ds(&["thaw", name]);
    }
    clients.iter_mut().for_each(await_end);
    // A frozen worker keeps the output of its client open after the client was killed.
    strikes.undo_ours();
    for client in clients {
        let output = client.wait_with_output().expect("wait");
        let errors = String::from_utf8_lossy(&output.stderr);
        story.add(format_args!("{:?} {}", output.status.code(), errors.trim()));
        assert!(!errors.contains("panicked"), "{errors}");
        // The code of a client that had to be killed.
        assert!(output.status.code() != Some(124), "a command that does not end");
    }
    assert!(begun.elapsed() < LONGEST, "commands that took {:?}", begun.elapsed());
    strikes.undo_ours();
    story.add("the end of the round");
    sandbox.ds(&["stop", "--all", "--kill"]).succeeds();
    drop(strikes);
    sandbox.assert_no_containers();
    await_tidiness(sandbox, story);
    let _ = std::fs::remove_file(export);
    for name in MADE {
        if sandbox.data(&format!("containers/{name}")).exists() && chance.below(3) == 0 {
            sandbox.ds(&["start", name]).succeeds();
            sandbox.ds(&["rm", name, "--force"]).succeeds();
        }
    }
    // It is running in the next round.
    let name = NAMES[chance.below(NAMES.len())];
    sandbox.ds(&["start", name]).succeeds();
    // It has completed what an interrupted start was writing in its tree.
    let left = files_below(&sandbox.path(name), &is_unfinished);
    assert!(left.is_empty(), "{left:?}");
}

fn await_end(client: &mut Child) {
    while client.try_wait().expect("wait").is_none() {
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until no unfinished files exist; records them.
fn await_tidiness(sandbox: &Sandbox, story: &mut Story) {
    wait_for("the end of unfinished files", || {
        let left = unfinished(sandbox);
        if !left.is_empty() {
            story.add(format_args!("{left:?}"));
        }
        left.is_empty().then_some(())
    });
}

/// The files of unfinished jobs, deletions and writes, outside the trees of containers.
fn unfinished(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["data", "run", "own"]
        .iter()
        .flat_map(|top| files_below(&sandbox.root().join(top), &is_unfinished))
        .collect();
    found.retain(|path| !NAMES.iter().any(|name| path.starts_with(sandbox.path(name))));
    found
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".ds-", ".new-", ".trash-"].iter().any(|prefix| name.starts_with(prefix)) || name.ends_with(".tmp")
}

/// The rounds of one sandbox.
fn rounds(seed: u64, number: u64) {
    let sandbox = Sandbox::new();
    for name in &NAMES[..2] {
        sandbox.container(name, &[]);
    }
    images::container(&sandbox, NAMES[2], &[]);
    let mut chance = Chance::new(seed);
    for number in 0..number {
        let mut story = Story::default();
        let begun = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| round(&sandbox, &mut chance, &mut story)));
        if env::var_os("DS_CHAOS_TIMES").is_some() {
            eprintln!("{seed} {number}: {:?}: {}", begun.elapsed(), story.0.join("; "));
        }
        if let Err(error) = done {
            eprintln!("DS_CHAOS_SEED={seed}, round {number}:\n{}", story.0.join("\n"));
            resume_unwind(error);
        }
    }
}

#[test]
fn after_any_fault_nothing_is_left_and_the_next_start_works() {
    let number = setting("DS_CHAOS_ROUNDS").unwrap_or(200);
    if let Some(seed) = setting("DS_CHAOS_SEED") {
        return rounds(seed, number);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the time").as_secs();
    let share = number.div_ceil(SANDBOXES);
    let all: Vec<_> =
        (0..SANDBOXES).map(|count| thread::spawn(move || rounds(now * 10 + count, share))).collect();
    for one in all {
        if let Err(error) = one.join() {
            resume_unwind(error);
        }
    }
}
