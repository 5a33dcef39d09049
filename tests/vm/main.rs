//! Containers on kernels other than this machine's: the built binary runs in virtual machines.
//!
//! Needs root and what `cargo xtask test` prepares: `$DS_BIN` (the static binary), `$DS_VM` (kernel, system disk, root
//! file systems of containers as images) and, for phones, `$DS_MODULE` (the module's zip). Every test has a
//! [`machine::Machine`] of its own with disks of its own. The processors are emulated where the machine of the test has no
//! KVM, so nothing here is timed, and two tests at a time are enough. A machine that does not answer is ended after minutes
//! and its console is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test may panic")]
#![allow(missing_docs, clippy::absolute_paths, reason = "tests are their own documentation")]

mod agent;
mod chance;
mod disk;
mod initramfs;
mod machine;
mod nbd;
mod outside;
mod platform;
#[path = "../web/mod.rs"]
#[allow(dead_code, reason = "servers that misbehave are of the suite `root`")]
mod web;

mod boot;
mod f2fs;
mod phone;
mod power;
mod selinux;

use std::env;
use std::path::PathBuf;

/// A path that `cargo xtask test` hands over.
fn given(name: &str) -> PathBuf {
    if let Some(reason) = env::var_os("DS_VM_ERROR") {
        panic!("there is nothing to boot: {}", reason.display());
    }
    let path = env::var_os(name).unwrap_or_else(|| panic!("${name} is not set; run 'cargo xtask test'"));
    std::fs::canonicalize(&path).unwrap_or_else(|error| panic!("${name}: {}: {error}", path.display()))
}
