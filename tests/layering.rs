//! The shape of the source: which module may use which, what a file looks like.
//!
//! Reads the sources as text. [`LAYERS`] is the drawing of ARCHITECTURE.md; a module uses those below it and those beside
//! it. That `unsafe` stays in `sys` is the compiler's business (`unsafe_code` in Cargo.toml).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From top to bottom.
const LAYERS: &[&[&str]] = &[
    &["client", "command"],
    &["daemon"],
    &["session", "storage"],
    &["container"],
    &["worker"],
    &["monitor"],
    &["child"],
    &["catalogue"],
    &["cgroup", "privilege"],
    &["plan"],
    &["android", "host", "log", "paths", "seed"],
    &["cli", "compat", "config", "mount", "pty"],
    &["archive", "rootfs", "socket"],
    &["clock", "durable", "exit", "fault", "nearest", "platform", "screen", "signals", "tool"],
    &["sys"],
];

/// All that `plan` may know: what is asked for, what there is, and its own vocabulary.
const OF_PLAN: &[&str] = &["config", "host", "mount::op", "plan", "rootfs::files", "rootfs::guest"];

/// Names that say nothing about what is inside.
const NO_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];
/// Lines that a file has at most.
const LONGEST: usize = 500;

/// One source file, without its tests.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module at the top of the crate that it belongs to.
    fn module(&self) -> String {
        let below = self.path.strip_prefix("supervisor").expect("below supervisor");
        let first = below.iter().next().and_then(|part| part.to_str()).expect("UTF-8");
        first.trim_end_matches(".rs").to_owned()
    }

    /// What comes behind `crate::`, one path for each name of a group.
    fn uses(&self) -> BTreeSet<String> {
        let word = |rest: &str| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next().map(str::to_owned)
        };
        let mut found = BTreeSet::new();
        for rest in self.text.split("crate::").skip(1) {
            match rest.strip_prefix('{').and_then(|rest| rest.split_once("};")) {
                None => found.extend(word(rest)),
                Some((group, _)) => {
                    let mut depth = 0_usize;
                    let mut names = vec![String::new()];
                    for c in group.chars().filter(|c| !c.is_whitespace()) {
                        match c {
                            '{' => depth += 1,
                            '}' => depth -= 1,
                            ',' if depth == 0 => names.push(String::new()),
                            _ if depth == 0 => names.last_mut().expect("a name").push(c),
                            _ => {}
                        }
                    }
                    found.extend(names.iter().filter_map(|name| word(name)));
                }
            }
        }
        found.retain(|name| !name.is_empty());
        found
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(Path::new("supervisor"), &mut found);
    assert!(found.len() > 50, "the sources are somewhere else");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        if path.is_dir() {
            collect(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("source");
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            found.push(Source { path, text });
        }
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn modules_use_what_is_below_or_beside_them() {
    for source in sources() {
        let module = source.module();
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{module} has no layer; give it one in LAYERS"));
        for path in source.uses() {
            let used = path.split("::").next().unwrap_or_default();
            // A macro or an item at the top of the crate has no layer.
            if layer(used).is_some_and(|used| used < own) {
                panic!("{}: {module} is below {used} and must not use it", source.path.display());
            }
        }
    }
}

#[test]
fn a_plan_is_made_of_facts_and_wishes_alone() {
    for source in sources().iter().filter(|source| source.module() == "plan") {
        for path in source.uses() {
            let known = OF_PLAN.iter().any(|known| path.starts_with(known));
            assert!(known, "{}: plan must not use {path}", source.path.display());
        }
        for forbidden in ["std::fs", "std::process", "libc::syscall", "nix::unistd", "nix::fcntl"] {
            assert!(!source.text.contains(forbidden), "{}: {forbidden}", source.path.display());
        }
    }
}

#[test]
fn files_say_what_they_own_and_are_not_long() {
    for source in sources() {
        let (path, shown) = (&source.path, source.path.display());
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8");
        assert!(!NO_NAMES.contains(&stem), "{shown}: the name says nothing");
        assert!(source.text.starts_with("//! "), "{shown}: it does not begin with what it owns");
        let lines = fs::read_to_string(path).expect("source").lines().count();
        assert!(lines <= LONGEST, "{shown}: {lines} lines");
    }
}

#[test]
fn uses_are_found_in_every_form() {
    let text = "use crate::paths;\nuse crate::{call, plan::{self, seed}, sys};\nuse crate::mount::op::Operation;\nlet x = crate::nearest::nearest(a);\n";
    let source = Source { path: "supervisor/x.rs".into(), text: text.into() };
    let found: Vec<_> = source.uses().into_iter().collect();
    assert_eq!(found, ["call", "mount::op::Operation", "nearest::nearest", "paths", "plan::", "sys"]);
}
