//! `cargo xtask package`: creates the zip for root managers.
//!
//! Owns the steps: a static `ds` for each processor, the module's files, checksums, the zip. The build is reproducible
//! from any directory; `--verify` builds everything twice and compares.

mod architecture;
mod archive;
mod compile;
mod contents;
mod linker;

use crate::page;
use crate::process;
use crate::terminal;
use crate::vm;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use architecture::{ALL, Architecture};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// The options of the zip.
#[derive(Debug, Default)]
pub struct Options {
    /// Names of processors; all if empty.
    pub architectures: Vec<String>,
    /// Build everything a second time, from a copy of the sources in another directory, and compare.
    pub verify: bool,
}

impl Options {
    /// A zip for this machine's own processor, and for those of the phones that tests boot.
    ///
    /// # Errors
    /// If the module is not built for this machine's processor.
    pub fn for_tests(phones: bool) -> Result<Self> {
        if phones {
            return Ok(Self { architectures: vm::PHONES.map(str::to_owned).to_vec(), verify: false });
        }
        Ok(Self { architectures: vec![own()?.name.to_owned()], verify: false })
    }
}

/// Creates the zip and returns its path.
///
/// # Errors
/// If something cannot be built, or the second zip differs from the first.
pub fn run(workspace: &Workspace, options: &Options) -> Result<PathBuf> {
    let chosen = choose(&options.architectures)?;
    let zip = make(workspace, &chosen)?;
    if options.verify {
        verify(workspace, &chosen, &zip)?;
    }
    Ok(zip)
}

/// Builds the zip's program for this machine's processor, and returns its path.
///
/// # Errors
/// If it cannot be built.
pub fn own_program(workspace: &Workspace) -> Result<PathBuf> {
    compile::compile(workspace, own()?)
}

fn own() -> Result<&'static Architecture> {
    let own = ALL.iter().find(|architecture| architecture.is_own());
    own.context("the module is not built for this machine's processor")
}

fn choose(names: &[String]) -> Result<Vec<&'static Architecture>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let architecture = Architecture::named(name)?;
        if !chosen.contains(&architecture) {
            chosen.push(architecture);
        }
    }
    Ok(chosen)
}

fn make(workspace: &Workspace, chosen: &[&'static Architecture]) -> Result<PathBuf> {
    let programs = compile_all(workspace, chosen)?;
    let folder = workspace.target("package");
    let page = page::build(workspace)?;
    let members = contents::collect(workspace, &programs, &page, &folder.join("contents"))?;
    let names: Vec<_> = chosen.iter().map(|architecture| format!("-{}", architecture.name)).collect();
    let suffix = if chosen.len() == ALL.len() { String::new() } else { names.concat() };
    let (id, version) = (contents::property(workspace, "id")?, contents::property(workspace, "version")?);
    let zip = folder.join(format!("{id}-{version}{suffix}.zip"));
    fs::write(&zip, archive::write(&members)?).with_context(|| format!("cannot write {}", zip.display()))?;
    let sum = process::read(Command::new("sha256sum").arg("--").arg(&zip))?;
    terminal::line(sum.trim_end());
    Ok(zip)
}

/// At the same time, because most of a build is one link, which uses one processor.
fn compile_all(
    workspace: &Workspace,
    chosen: &[&'static Architecture],
) -> Result<Vec<(&'static Architecture, PathBuf)>> {
    let compile = |architecture: &'static Architecture| {
        let program = compile::compile(workspace, architecture)?;
        let size = fs::metadata(&program)?.len();
        terminal::line(format_args!("{}: {size} bytes ({} KiB)", architecture.target, size.div_ceil(1024)));
        Ok((architecture, program))
    };
    thread::scope(|scope| {
        let builds: Vec<_> =
            chosen.iter().map(|architecture| scope.spawn(move || compile(architecture))).collect();
        builds.into_iter().map(|build| build.join().unwrap_or_else(|_| bail!("a build panicked"))).collect()
    })
}

/// Copies the sources to another path, builds them there, and compares the two zips.
fn verify(workspace: &Workspace, chosen: &[&'static Architecture], zip: &Path) -> Result<()> {
    let place = workspace.target("package/verify");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    let copy = place.join("the-same-sources-elsewhere");
    fs::create_dir_all(&copy)?;
    for entry in fs::read_dir(workspace.source(""))? {
        let entry = entry?;
        if entry.file_name() != "target" && entry.file_name() != ".git" {
            process::run(Command::new("cp").arg("-a").arg(entry.path()).arg(&copy))?;
        }
    }
    terminal::line("second build, from a copy of the sources:");
    let second = make(&workspace.elsewhere(copy, place.join("target")), chosen)?;
    if fs::read(zip)? != fs::read(&second)? {
        bail!("{} and {} differ", zip.display(), second.display());
    }
    terminal::line("both zips are identical");
    fs::remove_dir_all(&place).context("cannot remove the copy")
}

#[cfg(test)]
mod tests {
    use super::{ALL, choose};

    #[test]
    fn all_are_built_unless_some_are_named() {
        assert_eq!(choose(&[]).unwrap().len(), ALL.len());
        let chosen = choose(&["x86_64".into(), "arm64".into(), "x64".into()]).unwrap();
        assert_eq!(chosen.iter().map(|chosen| chosen.name).collect::<Vec<_>>(), ["x64", "arm64"]);
        assert!(choose(&["mips".into()]).is_err());
    }
}
