//! `cargo xtask test`: runs all checks and prints the totals.
//!
//! Owns the list of suites, their dependencies and their command lines. `cargo test` is the runner; individual tests
//! are not known here. The last line is always `N passed, N failed, N skipped`.

use crate::binary::{self, Profile};
use crate::tally::{self, Tally};
use crate::terminal;
use crate::workspace::Workspace;
use crate::{fixture, packages, page, process, vm, zip};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread::{self, available_parallelism};
use std::time::Instant;

/// One group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suite {
    name: &'static str,
    /// Arguments of `cargo test`; none for checks that only read the sources.
    cargo: &'static [&'static str],
    threads: Threads,
    needs: Needs,
}

/// The dependencies of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Sources,
    Binary,
    /// Root, the binary, the probe and the root file systems.
    Machine,
    /// Root, the probe, and the module's zip.
    Module,
    /// Those of `Machine`, the page, and a browser.
    Page,
    /// Those of `Machine`, the content of virtual machines, and the module's zip for all of them.
    VirtualMachine,
}

/// The number of tests that run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threads {
    OnePerProcessor,
    /// Most of the time of these tests is spent waiting: for containers, and for timeouts.
    ThreePerProcessor,
    /// Each machine is emulated on a processor of its own.
    Two,
}

impl Threads {
    fn number(self) -> usize {
        let processors = available_parallelism().map_or(1, NonZero::get);
        match self {
            Self::OnePerProcessor => processors,
            Self::ThreePerProcessor => 3 * processors,
            Self::Two => 2,
        }
    }
}

impl Needs {
    const fn root(self) -> bool {
        matches!(self, Self::Machine | Self::Module | Self::Page | Self::VirtualMachine)
    }
}

const SUITES: &[Suite] = &[
    Suite { name: "lint", cargo: &[], threads: Threads::OnePerProcessor, needs: Needs::Sources },
    Suite {
        name: "unit",
        cargo: &["--package", "ds", "--lib"],
        threads: Threads::OnePerProcessor,
        needs: Needs::Sources,
    },
    Suite {
        name: "xtask",
        cargo: &["--package", "xtask", "--bins"],
        threads: Threads::OnePerProcessor,
        needs: Needs::Sources,
    },
    Suite {
        name: "layering",
        cargo: &["--package", "ds", "--test", "layering"],
        threads: Threads::OnePerProcessor,
        needs: Needs::Sources,
    },
    Suite {
        name: "docs",
        cargo: &["--package", "ds", "--test", "docs"],
        threads: Threads::OnePerProcessor,
        needs: Needs::Sources,
    },
    Suite {
        name: "fuzz",
        cargo: &["--package", "ds", "--test", "fuzz"],
        threads: Threads::OnePerProcessor,
        needs: Needs::Sources,
    },
    Suite {
        name: "cli",
        cargo: &["--package", "ds", "--test", "cli"],
        threads: Threads::OnePerProcessor,
        needs: Needs::Binary,
    },
    Suite {
        name: "daemon",
        cargo: &["--package", "ds", "--test", "daemon"],
        threads: Threads::OnePerProcessor,
        needs: Needs::Binary,
    },
    Suite {
        name: "root",
        cargo: &["--package", "ds", "--test", "root"],
        threads: Threads::ThreePerProcessor,
        needs: Needs::Machine,
    },
    Suite {
        name: "module",
        cargo: &["--package", "ds", "--test", "module"],
        threads: Threads::OnePerProcessor,
        needs: Needs::Module,
    },
    Suite { name: "web", cargo: &[], threads: Threads::OnePerProcessor, needs: Needs::Page },
    Suite {
        name: "vm",
        cargo: &["--package", "ds", "--test", "vm"],
        threads: Threads::Two,
        needs: Needs::VirtualMachine,
    },
];

/// Runs the named suites (all if none is named), and of each only the tests whose name contains `filter`. `stock` is the
/// kernel of the phone that has a stock kernel.
///
/// # Errors
/// If a dependency is not available. A failed test is not an error but a failed exit code.
pub fn run(
    workspace: &Workspace,
    names: &[String],
    filter: Option<&str>,
    stock: &vm::Kernel,
) -> Result<ExitCode> {
    let suites = choose(names, filter.is_some())?;
    let started = Instant::now();
    let environment = prepare(workspace, &suites, stock)?;
    terminal::line(format_args!("dependencies: {} s", started.elapsed().as_secs()));
    let mut tally = Tally::default();
    for suite in &suites {
        terminal::line(format_args!("\n== {} ==", suite.name));
        let started = Instant::now();
        match suite.name {
            "lint" => {
                lint(workspace, &mut tally)?;
                page::check(workspace, "lint", &mut tally);
            }
            "web" => {
                page::check(workspace, "test", &mut tally);
                page::browse(workspace, filter, &environment, &mut tally)?;
            }
            _ => cargo_test(workspace, suite, filter, &environment, &mut tally)?,
        }
        terminal::line(format_args!("{}: {} s", suite.name, started.elapsed().as_secs()));
    }
    try_alone(workspace, &suites, &environment, &mut tally)?;
    conclude(workspace, &tally)
}

fn choose(names: &[String], filtered: bool) -> Result<Vec<Suite>> {
    if names.is_empty() {
        // A filter selects tests, and the lint suite has none.
        return Ok(SUITES.iter().copied().filter(|suite| !filtered || suite.name != "lint").collect());
    }
    let known = || SUITES.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| SUITES.iter().copied().find(|suite| suite.name == *name);
    names
        .iter()
        .map(|name| find(name).with_context(|| format!("no suite {name}; use one of {}", known())))
        .collect()
}

/// The environment variables for the tests.
type Environment = Vec<(&'static str, PathBuf)>;

/// Makes what the suites depend on. A linker uses one processor, and the download of packages none, so that independent
/// parts are made at the same time.
fn prepare(workspace: &Workspace, suites: &[Suite], stock: &vm::Kernel) -> Result<Environment> {
    if suites.iter().any(|suite| suite.needs.root()) && !rustix::process::geteuid().is_root() {
        bail!(
            "the suites root, module, web and vm boot containers and need root; without it: --suite lint --suite unit --suite cli"
        );
    }
    if suites.iter().any(|suite| matches!(suite.name, "unit" | "root")) {
        packages::ensure(packages::Verb::Tests)?;
    }
    let needed = |needs: &[Needs]| suites.iter().any(|suite| needs.contains(&suite.needs));
    let programs = || programs(workspace, needed);
    let module = || module(workspace, needed);
    let machines = || machines(workspace, needed, stock);
    let tests = || compile(workspace, suites);
    thread::scope(|scope| {
        let parts = [scope.spawn(programs), scope.spawn(module), scope.spawn(machines), scope.spawn(tests)];
        let mut environment = Environment::new();
        for part in parts {
            environment.extend(part.join().unwrap_or_else(|_| bail!("a thread panicked"))?);
        }
        Ok(environment)
    })
}

/// Compiles the tests of `ds` together, beside the other parts: one after the other, they use one processor.
fn compile(workspace: &Workspace, suites: &[Suite]) -> Result<Environment> {
    let package = ["--package", "ds"];
    let targets = suites.iter().filter_map(|suite| suite.cargo.strip_prefix(&package));
    let targets: Vec<&str> = targets.flatten().copied().collect();
    if !targets.is_empty() {
        let mut cargo = workspace.cargo();
        process::run(cargo.args(["test", "--quiet", "--no-run"]).args(package).args(targets))?;
    }
    Ok(Environment::new())
}

fn programs(workspace: &Workspace, needed: impl Fn(&[Needs]) -> bool) -> Result<Environment> {
    let mut environment = Environment::new();
    if needed(&[Needs::Binary, Needs::Machine, Needs::Page, Needs::VirtualMachine]) {
        environment.push(("DS_BIN", binary::build(workspace, Profile::Release)?));
    }
    if needed(&[Needs::Machine, Needs::Module, Needs::VirtualMachine]) {
        environment.push(("DS_PROBE", binary::build_probe(workspace)?));
    }
    Ok(environment)
}

/// The module's zip, which contains the page; or the page alone.
fn module(workspace: &Workspace, needed: impl Fn(&[Needs]) -> bool) -> Result<Environment> {
    if needed(&[Needs::Module]) {
        packages::ensure(packages::Verb::Module)?;
    }
    if needed(&[Needs::Module, Needs::VirtualMachine]) {
        let phones = needed(&[Needs::VirtualMachine]);
        return Ok(vec![("DS_MODULE", zip::run(workspace, &zip::Options::for_tests(phones)?)?)]);
    }
    if needed(&[Needs::Page]) {
        page::build(workspace)?;
    }
    Ok(Environment::new())
}

/// The root file systems of containers, and the parts of virtual machines.
fn machines(
    workspace: &Workspace,
    needed: impl Fn(&[Needs]) -> bool,
    stock: &vm::Kernel,
) -> Result<Environment> {
    let mut environment = Environment::new();
    if needed(&[Needs::Machine, Needs::Page, Needs::VirtualMachine]) {
        fixture::ensure(workspace, &[])?;
        environment.push(("DS_FIXTURES", workspace.fixtures()));
    }
    if needed(&[Needs::VirtualMachine]) {
        // QEMU may be missing without a network: the other suites run nevertheless, and the tests of this one fail with
        // the reason.
        environment.push(("DS_STOCK_KERNEL", stock.folder.into()));
        environment.push(match vm::ensure(workspace, stock) {
            Ok(folder) => ("DS_VM", folder),
            Err(error) => ("DS_VM_ERROR", format!("{error:#}").into()),
        });
    }
    Ok(environment)
}

/// Checks the format of the sources, and runs the linter.
fn lint(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    let checks: [(&str, &[&str]); 2] = [
        ("fmt", &["fmt", "--all", "--check"]),
        ("clippy", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    ];
    for (tool, arguments) in checks {
        if let Some(reason) = missing(workspace, tool)? {
            terminal::line(format_args!("not run: {tool}: {reason}"));
            continue;
        }
        let name = format!("lint::{tool}");
        match process::run(workspace.cargo().args(arguments)) {
            Ok(()) => tally.pass(name),
            Err(error) => {
                terminal::line(format_args!("{name}: {error:#}"));
                tally.fail(name);
            }
        }
    }
    Ok(())
}

/// Why a tool of the toolchain cannot be used. A distribution's rustc often lacks them, and a clippy of another rustc
/// cannot read the files that this one compiled.
fn missing(workspace: &Workspace, tool: &str) -> Result<Option<String>> {
    let output = workspace.cargo().args([tool, "--version"]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Ok(Some(format!("`cargo {tool}` is not installed")));
    }
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let fits =
        tool != "clippy" || version.split(' ').nth(1) == Some(&format!("0.{}", workspace.rustc_version()));
    Ok((!fits).then(|| format!("{version} does not belong to rustc {}", workspace.rustc_version())))
}

/// Maximum number of failed tests that are repeated; more failures are not accidental.
const MAX_RETRIED: usize = 5;

/// Runs failed tests once more, alone. If a test then passes, it or the tested code has a race: it is listed and does
/// not fail the run, because load makes such races frequent.
fn try_alone(
    workspace: &Workspace,
    suites: &[Suite],
    environment: &Environment,
    tally: &mut Tally,
) -> Result<()> {
    let failed: Vec<String> = tally.failed().map(str::to_owned).collect();
    if failed.len() > MAX_RETRIED {
        return Ok(());
    }
    for full in failed {
        let Some((suite, test)) = full.split_once("::") else { continue };
        let Some(suite) = suites.iter().find(|known| known.name == suite && !known.cargo.is_empty()) else {
            continue;
        };
        terminal::line(format_args!("\n== {}: {test}, again and alone ==", suite.name));
        let mut command = workspace.cargo();
        command.arg("test").args(suite.cargo).args(["--", "--exact", test]);
        command.envs(environment.iter().map(|(name, path)| (name, path)));
        command.env("DS_SKIP_LOG", workspace.target("skipped").join("retried"));
        let mut passed = false;
        let ended_well = follow(&mut command, |line| passed |= line == format!("test {test} ... ok"))?;
        if ended_well && passed {
            tally.recover(&full);
        }
    }
    Ok(())
}

fn cargo_test(
    workspace: &Workspace,
    suite: &Suite,
    filter: Option<&str>,
    environment: &Environment,
    tally: &mut Tally,
) -> Result<()> {
    let log = workspace.target("skipped").join(suite.name);
    fs::create_dir_all(workspace.target("skipped"))?;
    fs::write(&log, "")?;
    let mut command = workspace.cargo();
    command.arg("test").args(suite.cargo).arg("--no-fail-fast").args(filter).arg("--");
    command.arg(format!("--test-threads={}", suite.threads.number()));
    command.envs(environment.iter().map(|(name, path)| (name, path))).env("DS_SKIP_LOG", &log);
    let passed = follow(&mut command, |line| tally.read_line(suite.name, line))?;
    tally.read_skip_log(suite.name, &fs::read_to_string(&log)?);
    if !passed {
        // Or the build failed, or the test process was killed.
        tally.explain_failure(suite.name);
    }
    Ok(())
}

/// Runs a command, shows its output and passes every line to `each`; returns whether it ended with exit code 0.
fn follow(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo has no stdout")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        terminal::line(&line);
        each(&line);
    }
    Ok(child.wait()?.success())
}

fn conclude(workspace: &Workspace, tally: &Tally) -> Result<ExitCode> {
    let list = workspace.source("tests/skipped.txt");
    let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let surprises = tally.surprises(&tally::expected(&text));
    terminal::line("");
    for (name, reason) in tally.skipped() {
        terminal::line(format_args!("skipped: {name}: {reason}"));
    }
    for name in tally.failed() {
        terminal::line(format_args!("failed: {name}"));
    }
    for name in tally.unsteady() {
        terminal::line(format_args!("unsteady: {name}: failed among others, passed alone"));
    }
    for surprise in &surprises {
        terminal::line(format_args!("tests/skipped.txt: {surprise}"));
    }
    terminal::line(tally.summary());
    Ok(if tally.is_clean() && surprises.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn suites_are_chosen_by_name() {
        let names = |chosen: Vec<super::Suite>| chosen.iter().map(|suite| suite.name).collect::<Vec<_>>();
        assert_eq!(names(choose(&["cli".into(), "unit".into()], true).unwrap()), ["cli", "unit"]);
        assert!(names(choose(&[], false).unwrap()).contains(&"lint"));
        assert!(!names(choose(&[], true).unwrap()).contains(&"lint"));
        let error = choose(&["speed".into()], false).unwrap_err().to_string();
        assert!(error.starts_with("no suite speed; use one of lint, unit,"), "{error}");
    }
}
