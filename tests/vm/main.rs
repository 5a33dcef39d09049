//! Tests the built program on other kernels, in virtual machines.
//!
//! Needs root and the environment that `cargo xtask test` sets: `$DS_BIN` (the static binary), `$DS_VM` (kernel, system
//! disk, root file systems of containers as images) and, for phones, `$DS_MODULE` (the module's zip). Every test has its
//! own [`machine::Machine`] and disks. Without KVM, the processors are emulated; therefore, no test measures time, and two
//! tests run at a time. If a machine does not answer within minutes, the test ends it and prints its console.

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
mod hardware;
mod phone;
mod power;
mod selinux;

use std::env;
use std::path::PathBuf;

/// A path in the environment that `cargo xtask test` sets.
fn given(name: &str) -> PathBuf {
    if let Some(reason) = env::var_os("DS_VM_ERROR") {
        panic!("the parts of virtual machines are missing: {}", reason.display());
    }
    let path = env::var_os(name).unwrap_or_else(|| panic!("${name} is not set; run 'cargo xtask test'"));
    std::fs::canonicalize(&path).unwrap_or_else(|error| panic!("${name}: {}: {error}", path.display()))
}
