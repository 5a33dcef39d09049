//! The flashable module, installed as Magisk, KernelSU and APatch install it.
//!
//! Needs root and the preparations of `cargo xtask test`: `$DS_MODULE` (the zip for this machine's processor) and
//! `$DS_PROBE` (which makes the namespaces). Every case runs with each manager's contract, as implemented by
//! `installer.sh`, and again with a manager's own installer if `$MAGISK_UTIL`, `$KSU_INSTALLER` or `$AP_INSTALLER` is
//! set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test may panic")]
#![allow(missing_docs, clippy::absolute_paths, reason = "tests are their own documentation")]

mod cases;
mod device;
mod zip;

use device::{Installer, Manager};
use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// A path from an environment variable of `cargo xtask test`.
fn given(name: &str) -> PathBuf {
    let path = env::var_os(name).unwrap_or_else(|| panic!("${name} is not set; run 'cargo xtask test'"));
    std::fs::canonicalize(&path).unwrap_or_else(|error| panic!("${name}: {}: {error}", path.display()))
}

/// Runs a case with the contract of each manager.
fn with_contracts(case: fn(&Installer)) {
    for manager in Manager::ALL {
        eprintln!("{manager:?}");
        case(&Installer { manager, own_script: None });
    }
}

/// Runs all cases with a manager's own installer, if there is one.
fn with_own_installer(manager: Manager, test: &str) {
    let variable = manager.variable();
    if env::var_os(variable).is_none() {
        let reason = format!("${variable} is not set");
        eprintln!("skipped: {test}: {reason}");
        if let Some(log) = env::var_os("DS_SKIP_LOG") {
            let mut log = OpenOptions::new().create(true).append(true).open(log).expect("the skip log");
            writeln!(log, "{test}: {reason}").expect("write the skip log");
        }
        return;
    }
    let installer = Installer { manager, own_script: Some(given(variable)) };
    for (name, case) in cases::ALL {
        eprintln!("{name}");
        case(&installer);
    }
}

#[test]
fn magisk_itself() {
    with_own_installer(Manager::Magisk, "magisk_itself");
}

#[test]
fn kernelsu_itself() {
    with_own_installer(Manager::KernelSu, "kernelsu_itself");
}

#[test]
fn apatch_itself() {
    with_own_installer(Manager::APatch, "apatch_itself");
}
