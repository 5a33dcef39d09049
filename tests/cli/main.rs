//! The command line, tried on the real binary.
//!
//! The `.md` files beside this one are documentation that is run: each `$ ds …` line with the output and the exit code
//! (`? N`) below it. After a wanted change, `TRYCMD=overwrite cargo test --test cli` writes them anew. `$DS_BIN`
//! chooses another binary than the one cargo built. Nothing here needs root, and nothing starts a supervisor.

#![allow(clippy::expect_used, clippy::print_stderr, reason = "helpers of tests are no tests to clippy")]

mod completions;

use ds::cli::table;
use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A data directory that cannot be created, so that a supervisor that is started by mistake ends at once.
const NOWHERE: &str = "/proc/none";

/// The binary under test.
fn binary() -> PathBuf {
    let path = env::var_os("DS_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_ds").into());
    fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}", Path::new(&path).display()))
}

/// A directory in which the binary goes by all its names.
fn names_directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("names-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("directory for the links");
    for name in ["ds", "droidspaces", "nspawn", "getroot"] {
        let link = directory.join(name);
        let _ = fs::remove_file(&link);
        symlink(binary(), link).expect("link to the binary");
    }
    directory
}

fn ds(words: &[&str]) -> Output {
    Command::new(binary()).args(words).env("DS_ROOT", NOWHERE).output().expect("the binary runs")
}

#[test]
fn documentation() {
    let directory = names_directory();
    let cases = trycmd::TestCases::new();
    cases.env("DS_ROOT", NOWHERE);
    for name in ["ds", "droidspaces", "nspawn", "getroot"] {
        cases.register_bin(name, directory.join(name));
    }
    cases.case("tests/cli/*.md");
    cases.run();
    fs::remove_dir_all(directory).expect("the links can be removed");
}

#[test]
fn every_verb_is_in_the_documentation() {
    let page = fs::read_to_string("tests/cli/help.md").expect("help.md");
    for verb in table::verbs() {
        assert!(page.contains(&format!("\n$ ds help {}\n", verb.name)), "{}", verb.name);
    }
}

#[test]
fn all_ways_to_ask_for_help_are_equal() {
    let overview = ds(&[]);
    for words in [&["help"][..], &["--help"], &["-h"]] {
        assert_eq!(ds(words), overview);
    }
    for verb in table::verbs() {
        let help = ds(&["help", verb.name]);
        assert_eq!(help.status.code(), Some(0));
        for words in [[verb.name, "--help"], [verb.name, "-h"], ["--help", verb.name]] {
            assert_eq!(ds(&words), help, "{words:?}");
        }
    }
}

#[test]
fn results_go_to_stdout_and_mistakes_to_stderr() {
    for words in [&["help"][..], &["start", "--help"], &["version"], &["completions", "bash"]] {
        let output = ds(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{words:?}");
    }
    for words in [&["strat"][..], &["start", "--wiat"], &["info"], &["--json", "list"]] {
        let output = ds(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty(), "{words:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).matches('\n').count(), 1, "{words:?}");
    }
}

#[test]
fn words_that_are_not_utf8_are_a_mistake() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let output =
        Command::new(binary()).arg("info").arg(OsStr::from_bytes(b"a\xff")).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "ds: argument 2 is not UTF-8: a\u{fffd}\n");
}

#[test]
fn version_json_is_one_document_with_version_and_protocol() {
    let output = ds(&["version", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert!(document["protocol"].is_u64());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for words in ["help", "help start", "start --help", "completions zsh", "version"] {
        let line = format!("{{ '{}' {words}; echo $? >&2; }} | :", binary().display());
        let output = Command::new("sh").arg("-c").arg(&line).output().expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "0\n", "{words}");
    }
}
