//! Root in a booted container who attacks: how it gets there, and what docs/threat-model.md says of it.

use crate::root_fs::Tree;
use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;

const PAGE: &str = include_str!("../../docs/threat-model.md");

/// A container that has booted.
pub fn boot(setting: Setting, settings: &[&str]) -> (Sandbox, Tree) {
    let sandbox = Sandbox::with(setting);
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    (sandbox, tree)
}

/// Runs a script as root inside; its output and its errors.
pub fn inside(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", &format!("( {script} ) 2>&1")]).text()
}

fn tables() -> (&'static str, &'static str) {
    PAGE.split_once("## What ds does not prevent").expect("the section")
}

/// The page says that this is refused.
#[track_caller]
pub fn is_refused(row: &str) {
    let (_, refused) = tables().0.split_once("## Refused").expect("the section");
    assert!(refused.contains(row), "docs/threat-model.md does not list as refused: {row}");
}

/// The page says that root inside can do this.
#[track_caller]
pub fn is_listed(row: &str) {
    assert!(tables().1.contains(row), "docs/threat-model.md does not list as possible: {row}");
}
