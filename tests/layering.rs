//! The structure of the sources: permitted imports between modules and between files, and the form of a file.
//!
//! Reads the sources as text. [`LAYERS`] is the diagram of ARCHITECTURE.md: a module uses those in layers below its own
//! and no other. In a module, imports between files have no cycle. The compiler ensures that `unsafe` stays in `sys`
//! (`unsafe_code` in Cargo.toml).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From top to bottom.
const LAYERS: &[&[&str]] = &[
    &["command"],
    &["client"],
    &["daemon"],
    &["session", "storage"],
    &["container"],
    &["worker"],
    &["monitor"],
    &["child"],
    &["answer", "catalogue"],
    &["cgroup", "network", "privilege"],
    &["plan"],
    &["android", "host"],
    &["archive", "cli", "log", "mount", "paths", "pty", "seed"],
    &["config", "confined", "rootfs"],
    &["tool"],
    &[
        "clock",
        "durable",
        "exit",
        "fault",
        "nearest",
        "netlink",
        "peer",
        "platform",
        "poll",
        "proc_stat",
        "screen",
        "signals",
        "socket",
        "subprocess",
        "units",
    ],
    &["sys"],
];

/// Everything that `plan` may import: the settings, the facts of the machine, and its own vocabulary.
const OF_PLAN: &[&str] = &["config", "host", "mount::op", "plan", "rootfs::files", "rootfs::guest"];

/// The folders of sources.
const PROGRAM: &str = "supervisor";
const XTASK: &str = "xtask/src";
/// Names that do not describe the content.
const NO_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];
/// The maximum number of lines of a file.
const LONGEST: usize = 500;

/// One source file, without its tests.
struct SourceFile {
    path: PathBuf,
    text: String,
}

impl SourceFile {
    /// Its path as a module: `["monitor", "boot"]`; empty for the crate's root.
    fn module(&self) -> Vec<String> {
        let below = [PROGRAM, XTASK].iter().find_map(|folder| self.path.strip_prefix(folder).ok());
        let below = below.expect("below a folder of sources").with_extension("");
        let mut parts: Vec<String> =
            below.iter().map(|part| part.to_str().expect("UTF-8").to_owned()).collect();
        let root = if self.path.starts_with(XTASK) { "main" } else { "lib" };
        if parts.last().is_some_and(|last| last == "mod" || last == root) {
            parts.pop();
        }
        parts
    }

    /// The module at the top of the crate that it belongs to.
    fn room(&self) -> Option<String> {
        self.module().into_iter().next().filter(|room| room != "main")
    }

    /// All paths of the crate in its imports and its code, from the crate's root on.
    fn uses(&self) -> BTreeSet<Vec<String>> {
        let own = self.module();
        let mut found = BTreeSet::new();
        let code: String = self
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        for statement in imports(&code) {
            for path in leaves(&statement) {
                found.extend(absolute(&own, &path));
            }
        }
        for path in code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            // A path that ends in `::` is the prefix of a group in an import.
            if path.ends_with("::") {
                continue;
            }
            let path: Vec<String> =
                path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            if path.len() > 1 {
                found.extend(absolute(&own, &path));
            }
        }
        found
    }
}

/// The texts between `use` and `;`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        if before.is_empty() || before.starts_with("pub") {
            found.extend(code[at + 4..].split_once(';').map(|(text, _)| text.to_owned()));
        }
    }
    found
}

/// One path for each imported name.
fn leaves(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let (prefix, group) = match tree.split_once('{') {
        Some((prefix, rest)) => (prefix, rest.rsplit_once('}').map_or(rest, |(group, _)| group)),
        None => {
            let path = tree.split(" as ").next().unwrap_or_default();
            return vec![
                path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
            ];
        }
    };
    let prefix: Vec<String> =
        prefix.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let (mut depth, mut from, mut found) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let inner = group[from..at].trim();
                from = at + 1;
                if !inner.is_empty() {
                    found.extend(leaves(inner).into_iter().map(|leaf| [prefix.clone(), leaf].concat()));
                }
            }
            _ => {}
        }
    }
    found
}

/// The path from the crate's root of a path in the module `own`; `None` if it is in another crate.
fn absolute(own: &[String], path: &[String]) -> Option<Vec<String>> {
    let up = path.iter().take_while(|part| *part == "super").count();
    let rest = path[up.max(usize::from(["crate", "self"].contains(&path.first()?.as_str())))..].iter();
    let rest = rest.filter(|part| *part != "self" && *part != "*").cloned();
    match path.first()?.as_str() {
        "crate" => Some(rest.collect()),
        "self" => Some(own.iter().cloned().chain(rest).collect()),
        "super" => Some(own[..own.len().checked_sub(up)?].iter().cloned().chain(rest).collect()),
        // A child's name, or the name of another crate.
        _ => Some(own.iter().cloned().chain(rest).collect()),
    }
}

/// The files that each file uses, as indices into `sources`.
fn arrows(sources: &[SourceFile]) -> Vec<BTreeSet<usize>> {
    let places: BTreeMap<Vec<String>, usize> =
        sources.iter().enumerate().map(|(index, source)| (source.module(), index)).collect();
    let target =
        |path: &Vec<String>| (1..=path.len()).rev().find_map(|length| places.get(&path[..length]).copied());
    let of = |(index, source): (usize, &SourceFile)| {
        source.uses().iter().filter_map(target).filter(|used| *used != index).collect()
    };
    sources.iter().enumerate().map(of).collect()
}

/// A cycle of imports, if there is one.
fn circle(arrows: &[BTreeSet<usize>]) -> Option<Vec<usize>> {
    fn visit(
        at: usize,
        arrows: &[BTreeSet<usize>],
        way: &mut Vec<usize>,
        done: &mut BTreeSet<usize>,
    ) -> bool {
        if let Some(from) = way.iter().position(|visited| *visited == at) {
            way.drain(..from);
            return true;
        }
        if done.contains(&at) {
            return false;
        }
        way.push(at);
        if arrows[at].iter().any(|next| visit(*next, arrows, way, done)) {
            return true;
        }
        way.pop();
        done.insert(at);
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    (0..arrows.len()).any(|from| visit(from, arrows, &mut way, &mut done)).then_some(way)
}

fn sources() -> Vec<SourceFile> {
    sources_in(PROGRAM)
}

fn sources_in(folder: &str) -> Vec<SourceFile> {
    let mut found = Vec::new();
    collect(Path::new(folder), &mut found);
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn collect(folder: &Path, found: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        if path.is_dir() {
            collect(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("source");
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            found.push(SourceFile { path, text });
        }
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn modules_use_what_is_below_them() {
    for source in sources() {
        let Some(module) = source.room() else { continue };
        let own = layer(&module).unwrap_or_else(|| panic!("{module} has no layer; give it one in LAYERS"));
        for path in source.uses() {
            let Some(used) = path.first().filter(|used| **used != module) else { continue };
            // A macro or an item at the top of the crate has no layer.
            let below = layer(used).is_none_or(|used| used > own);
            assert!(below, "{}: {used} is not below {module}", source.path.display());
        }
    }
}

#[test]
fn files_import_each_other_in_no_circle() {
    for sources in [PROGRAM, XTASK].map(sources_in) {
        if let Some(way) = circle(&arrows(&sources)) {
            let names: Vec<String> =
                way.iter().map(|index| sources[*index].path.display().to_string()).collect();
            panic!("these files import each other in a circle: {}", names.join(" -> "));
        }
    }
}

#[test]
fn modules_with_files_have_a_mod_rs() {
    for source in sources() {
        let folder = source.path.with_extension("");
        assert!(!folder.is_dir(), "{}: move it to {}/mod.rs", source.path.display(), folder.display());
    }
}

#[test]
fn a_plan_depends_only_on_facts_and_settings() {
    for source in sources().iter().filter(|source| source.room().as_deref() == Some("plan")) {
        for path in source.uses() {
            let path = path.join("::");
            let outside = layer(path.split("::").next().unwrap_or_default()).is_some();
            let known = OF_PLAN.iter().any(|known| path.starts_with(known));
            assert!(known || !outside, "{}: plan must not use {path}", source.path.display());
        }
        for forbidden in ["std::fs", "std::process", "libc::syscall", "nix::unistd", "nix::fcntl"] {
            assert!(!source.text.contains(forbidden), "{}: {forbidden}", source.path.display());
        }
    }
}

#[test]
fn files_begin_with_documentation_and_are_not_long() {
    for source in sources() {
        let (path, shown) = (&source.path, source.path.display());
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8");
        assert!(!NO_NAMES.contains(&stem), "{shown}: the name does not describe the content");
        assert!(source.text.starts_with("//! "), "{shown}: it does not begin with module documentation");
        let lines = fs::read_to_string(path).expect("source").lines().count();
        assert!(lines <= LONGEST, "{shown}: {lines} lines");
    }
}

#[test]
fn uses_are_found_in_every_form() {
    let text = "use crate::paths;\nuse crate::{call, plan::{self, seed}, sys};\npub use self::b::B;\nuse super::c;\n\
                // use crate::not;\nlet x = crate::nearest::nearest(a);\n";
    let source = SourceFile { path: "supervisor/x/mod.rs".into(), text: text.into() };
    let found: BTreeSet<String> = source.uses().into_iter().map(|path| path.join("::")).collect();
    for expected in ["paths", "call", "plan", "plan::seed", "sys", "x::b::B", "c", "nearest::nearest"] {
        assert!(found.contains(expected), "{expected} is not in {found:?}");
    }
    assert!(!found.contains("not"));
}

#[test]
fn a_circle_is_found_and_a_diamond_is_none() {
    let to = |indices: &[usize]| indices.iter().copied().collect();
    assert_eq!(circle(&[to(&[1, 2]), to(&[3]), to(&[3]), to(&[])]), None);
    assert_eq!(circle(&[to(&[1]), to(&[2]), to(&[1])]), Some(vec![1, 2]));
}
