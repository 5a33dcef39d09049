//! The page of the module: built with Node from the sources in `webroot/`.
//!
//! Owns the calls of npm(1) and the installed packages. The registry is the one in npm's configuration; the lock file
//! has a checksum of every package and no address.

use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{packages, process, terminal};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Browsers that the tests can drive, in order of preference.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// Builds the page and returns its directory.
///
/// # Errors
/// If Node or a package is not available, or the build fails.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    prepare(workspace)?;
    let page = workspace.target("webroot");
    let mut build = npm(workspace);
    build.args(["run", "build"]).env("DS_PAGE", &page);
    process::run_quietly(&mut build).context("cannot build the page")?;
    Ok(page)
}

/// Installs Node and the packages of the lock file, if they are missing.
fn prepare(workspace: &Workspace) -> Result<()> {
    if !(packages::find_program("node") && packages::find_program("npm")) {
        packages::ensure(packages::Verb::Page)?;
    }
    let stamp = workspace.source("webroot/node_modules/.installed");
    let lock =
        fs::read(workspace.source("webroot/package-lock.json")).context("cannot read the lock file")?;
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    terminal::line("downloading the dependencies of the page");
    process::run_quietly(npm(workspace).args(["ci", "--ignore-scripts"]))
        .context("cannot download the dependencies of the page")?;
    fs::write(&stamp, lock).context("cannot write the stamp of the installation")
}

fn npm(workspace: &Workspace) -> Command {
    let mut command = process::nice("npm");
    command.current_dir(workspace.source("webroot")).env("CI", "1");
    command
}

/// Runs the page's linters or unit tests.
///
/// Without Node and its packages, they fail with the reason.
pub fn check(workspace: &Workspace, script: &str, tally: &mut Tally) {
    let name = format!("page::{script}");
    match prepare(workspace).and_then(|()| process::run_quietly(npm(workspace).args(["run", script]))) {
        Ok(_) => tally.pass(name),
        Err(error) => {
            terminal::line(format_args!("{name}: {error:#}"));
            tally.fail(name);
        }
    }
}

/// Runs the tests with a real browser and a real ds.
///
/// # Errors
/// If there is no browser, or the tests cannot be started.
pub fn browse(
    workspace: &Workspace,
    filter: Option<&str>,
    environment: &[(&'static str, PathBuf)],
    tally: &mut Tally,
) -> Result<()> {
    let browser = browser()?;
    let report = workspace.target("page-tests.json");
    let _ = fs::remove_file(&report);
    let mut tests = npm(workspace);
    tests.args(["run", "browser", "--", "--reporter=verbose", "--reporter=json"]);
    tests.arg(format!("--outputFile.json={}", report.display()));
    if let Some(filter) = filter {
        tests.arg(format!("--testNamePattern={filter}"));
    }
    tests.env("DS_BROWSER", browser).env("DS_PAGE", workspace.target("webroot"));
    tests.envs(environment.iter().map(|(name, path)| (name, path)));
    let ended = process::run(&mut tests);
    if let Err(error) = &ended {
        terminal::line(format_args!("{error:#}"));
    }
    let Ok(text) = fs::read_to_string(&report) else {
        tally.fail("web::did_not_finish".to_owned());
        return Ok(());
    };
    count(&serde_json::from_str(&text).context("the report of the tests")?, tally);
    if ended.is_err() {
        // Or a file of tests could not begin.
        tally.explain_failure("web");
    }
    Ok(())
}

/// Measures the page with a real browser, and returns the numbers by name.
///
/// # Errors
/// If the page cannot be built, or the measurement fails.
pub fn measure(
    workspace: &Workspace,
    program: &Path,
    fixtures: &Path,
    report: &Path,
    rounds: u32,
) -> Result<Value> {
    let page = build(workspace)?;
    // Not at a low priority: this is a measurement.
    let mut bench = Command::new("npm");
    bench.current_dir(workspace.source("webroot")).env("CI", "1");
    bench.args(["run", "browser", "--", "tests/bench.test.ts"]);
    bench.env("DS_BROWSER", browser()?).env("DS_PAGE", page).env("DS_BENCH", report);
    bench.env("DS_BIN", program).env("DS_FIXTURES", fixtures).env("DS_BENCH_ROUNDS", rounds.to_string());
    process::run_quietly(&mut bench).context("cannot measure the page")?;
    let text = fs::read_to_string(report).context("the measurement left no report")?;
    serde_json::from_str(&text).context("the report of the measurement")
}

/// A browser that the tests can drive.
fn browser() -> Result<&'static str> {
    let find = || BROWSERS.into_iter().find(|name| packages::find_program(name));
    if find().is_none() {
        packages::ensure(packages::Verb::Browser)?;
    }
    find().context("no browser was found")
}

/// Counts the results in the report of vitest.
fn count(report: &Value, tally: &mut Tally) {
    let files = report["testResults"].as_array().into_iter().flatten();
    for file in files {
        let tests: Vec<&Value> = file["assertionResults"].as_array().into_iter().flatten().collect();
        if tests.is_empty() && file["status"] == "failed" {
            tally.fail(format!("web::{}", file["name"].as_str().unwrap_or("file")));
        }
        for test in tests {
            let name = format!("web::{}", test["fullName"].as_str().unwrap_or("test"));
            match test["status"].as_str() {
                Some("passed") => tally.pass(name),
                Some("skipped" | "pending" | "todo") => {}
                _ => tally.fail(name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::count;
    use crate::tally::Tally;
    use serde_json::json;

    #[test]
    fn a_report_is_counted() {
        let mut tally = Tally::default();
        let test = |name: &str, status: &str| json!({ "fullName": name, "status": status });
        count(
            &json!({ "testResults": [
                { "status": "failed", "assertionResults": [test("a", "passed"), test("b", "failed"), test("c", "skipped")] },
                { "status": "failed", "name": "broken", "assertionResults": [] },
            ] }),
            &mut tally,
        );
        assert_eq!(tally.failed().collect::<Vec<_>>(), ["web::b", "web::broken"]);
        assert!(tally.summary().starts_with("1 passed, 2 failed"), "{}", tally.summary());
    }
}
