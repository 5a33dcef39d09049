//! The static `ds` for one processor, linked with musl.
//!
//! Owns the choice between the two methods, and the compiler's flags. If rustup's target for musl is installed, it is
//! used. Otherwise, a distribution's rustc builds the standard library from source, and `linker` provides the other
//! files of rustup's target. Both methods remove this machine's paths.

use super::architecture::Architecture;
use super::linker;
use crate::packages::{self, Verb};
use crate::workspace::Workspace;
use crate::{process, terminal};
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The distribution's compiler. Its sources of the standard library only work with it.
const COMPILER: &str = "/usr/bin/rustc";

/// The distribution's directory with those sources.
const LIBRARY_SOURCES: &str = "/usr/lib/rustlib/src";

/// How `ds` is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With the target that rustup installed.
    Rustup,
    /// With the distribution's compiler and the standard library from source.
    Distribution,
}

/// For both methods: fixed addresses, no libraries, and no unwind tables, because a panic ends the program.
const FLAGS: [&str; 3] =
    ["-Ctarget-feature=+crt-static", "-Crelocation-model=static", "-Cforce-unwind-tables=no"];

/// With the standard library from source, its messages are also shortened: a panic message has the line without the
/// file. The last option searches for repeated sequences of instructions more often.
const FLAGS_OF_DISTRIBUTION: [&str; 4] = [
    "-Clinker-flavor=gcc",
    "-Clink-self-contained=no",
    "-Zlocation-detail=line",
    "-Cllvm-args=--machine-outliner-reruns=3",
];

/// Compiles and links `ds`, checks that it runs, and returns its path.
///
/// # Errors
/// If a build dependency is not available, or the compiler fails.
pub fn compile(workspace: &Workspace, architecture: &Architecture) -> Result<PathBuf> {
    let way = choose(workspace, architecture)?;
    terminal::line(format_args!(
        "{}: {}",
        architecture.target,
        match way {
            Way::Rustup => "with rustup's target",
            Way::Distribution => "with the distribution's compiler, and the standard library from source",
        }
    ));
    // Of its own: cargo builds one thing at a time in a folder.
    let folder = workspace.target("package/build").join(architecture.name);
    let mut command = workspace.cargo();
    command.args(["build", "--quiet", "--release", "--package", "ds", "--bin", "ds"]);
    command.args(["--target", architecture.target]).arg("--target-dir").arg(&folder);
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z").env_remove("RUSTFLAGS");
    let mut flags: Vec<String> =
        FLAGS.iter().chain(architecture.flags).map(|flag| (*flag).to_owned()).collect();
    if way == Way::Distribution {
        let linker = linker::prepare(&workspace.target("package/link"), architecture)?;
        command.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
        command.env("RUSTC", COMPILER).env("RUSTC_BOOTSTRAP", "1");
        command.env(variable("CARGO_TARGET", "LINKER", architecture), linker);
        flags.extend(FLAGS_OF_DISTRIBUTION.map(str::to_owned));
    } else {
        command.env(variable("CARGO_TARGET", "LINKER", architecture), "rust-lld");
    }
    let hidden = hidden_paths(workspace)?;
    flags.extend(hidden.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    for (name, value) in linker::compiler_of_c(architecture, &hidden)? {
        command.env(name, value);
    }
    process::run(&mut command)?;
    let program = folder.join(architecture.target).join("release/ds");
    try_out(&program, architecture)?;
    Ok(program)
}

/// Paths of this machine that compilers would write into the program, and their replacements.
fn hidden_paths(workspace: &Workspace) -> Result<[(PathBuf, &'static str); 3]> {
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => {
            PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo")
        }
    };
    Ok([(workspace.source(""), "/ds"), (cargo_home, "/cargo"), (LIBRARY_SOURCES.into(), "/rust")])
}

/// A variable of cargo's for one target.
fn variable(before: &str, after: &str, architecture: &Architecture) -> String {
    format!("{before}_{}_{after}", architecture.target.to_uppercase().replace('-', "_"))
}

/// rustup's target if it is installed; installs the packages for the selected method.
fn choose(workspace: &Workspace, architecture: &Architecture) -> Result<Way> {
    if architecture.is_own() {
        packages::ensure(Verb::LinkFor("own"))?;
    } else {
        packages::allow_architecture(architecture.debian)?;
        packages::ensure(Verb::LinkFor(architecture.debian))?;
    }
    if has_rustup_target(workspace, architecture) {
        return Ok(Way::Rustup);
    }
    packages::ensure(Verb::CompileForMusl).with_context(|| {
        format!("rustup can replace the distribution's compiler: rustup target add {}", architecture.target)
    })?;
    Ok(Way::Distribution)
}

fn has_rustup_target(workspace: &Workspace, architecture: &Architecture) -> bool {
    let mut command = Command::new(workspace.rustc());
    command.args(["--print", "target-libdir", "--target", architecture.target]).stderr(Stdio::null());
    process::read(&mut command).is_ok_and(|folder| {
        let entries = fs::read_dir(folder.trim()).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

/// Runs the program, because an incorrectly linked one often crashes before `main`.
fn try_out(program: &Path, architecture: &Architecture) -> Result<()> {
    for verb in ["version", "help"] {
        let mut command = if architecture.is_own() {
            Command::new(program)
        } else {
            let mut emulated = Command::new(architecture.emulator);
            emulated.arg(program);
            emulated
        };
        let said = process::read(command.arg(verb)).context("the built program does not run")?;
        if !said.contains("ds ") {
            bail!("the built program prints nothing for {verb}");
        }
    }
    Ok(())
}
