//! Tests of the supervisor: the built binary with a private `$DS_ROOT`, and simulated monitors.
//!
//! Needs root, but no root file system and no namespaces. Every test has its own [`Machine`] and does not affect the
//! host's containers and control groups. `$DS_BIN` selects another binary than the one that cargo built.

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
