//! The supervisor for real: the built binary with a private `$DS_ROOT`, and monitors that only pretend.
//!
//! Needs root, but no root file system and no namespaces of the kernel's. Every test has a [`Machine`] of its own; the
//! host's containers and control groups are never touched. `$DS_BIN` chooses another binary than the one cargo built.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test may panic")]
#![allow(missing_docs, clippy::absolute_paths, reason = "tests are their own documentation")]

mod catalogue;
mod machine;
mod monitor;

mod clients;
mod containers;
mod data;
mod rpc;
mod supervisor;
mod types;
