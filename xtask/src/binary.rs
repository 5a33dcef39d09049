//! The static `ds` and the static in-container probe, built for this machine.
//!
//! Owns the compiler flags and the check for a static C library. `--target` is always given: without it, the flags
//! would also apply to build scripts and procedural macros, which cannot be static.

use crate::terminal;
use crate::workspace::Workspace;
use crate::{packages, process};
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program without interpreter and libraries, at fixed addresses: it starts in a root file system that has neither.
const STATIC_FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// The optimisation of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The released program.
    Release,
    /// Fast to build, with the fault injection for tests.
    Debug,
}

impl Profile {
    const fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }
}

/// Builds `ds` and returns its path.
///
/// # Errors
/// If a build dependency is missing, or cargo fails.
pub fn build(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let path = compile(workspace, profile, "ds")?;
    describe(&path)?;
    Ok(path)
}

/// Builds the program that tests use as `/sbin/init`, and returns its path.
///
/// # Errors
/// As for [`build`].
pub fn build_probe(workspace: &Workspace) -> Result<PathBuf> {
    compile(workspace, Profile::Release, "probe")
}

fn compile(workspace: &Workspace, profile: Profile, package: &str) -> Result<PathBuf> {
    packages::ensure(packages::Verb::Build)?;
    check_static_library()?;
    let host = workspace.host();
    let mut command = workspace.cargo();
    command.args(["build", "--quiet", "--package", package, "--bin", package, "--target", host]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let given = env::var("RUSTFLAGS").unwrap_or_default();
    command
        .env("RUSTFLAGS", format!("{given} {STATIC_FLAGS}").trim_start())
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut command)?;
    Ok(workspace.target(&format!("{host}/{}/{package}", profile.folder())))
}

/// Static linking needs `libc.a`, which most distributions have in a separate package; without it, the linker prints
/// pages of errors.
fn check_static_library() -> Result<()> {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let answer = process::read(Command::new(compiler).arg("-print-file-name=libc.a"))
        .context("no C compiler for linking; install gcc")?;
    // A compiler that does not find the file prints only its name.
    if !Path::new(answer.trim()).is_absolute() {
        bail!("no static C library (libc.a): install libc6-dev (Debian, Ubuntu) or glibc-static (Fedora)");
    }
    Ok(())
}

fn describe(path: &Path) -> Result<()> {
    let size = fs::metadata(path).with_context(|| format!("cargo built no {}", path.display()))?.len();
    terminal::line(format_args!("{} ({} KiB, static)", path.display(), size.div_ceil(1024)));
    Ok(())
}
