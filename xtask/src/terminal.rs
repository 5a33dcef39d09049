//! The output for users and CI: plain lines on stdout.
//!
//! Owns the only writes to the terminal. Knows nothing of what the lines mean. A reader that went away (a closed pipe)
//! is no reason to stop a build half-way, so write errors are dropped here.

use std::fmt::Display;
use std::io::{Write, stdout};

/// Prints one line.
pub fn line(text: impl Display) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Prints text that has its own line ends, as a command printed it.
pub fn raw(text: &[u8]) {
    let mut out = stdout().lock();
    let _ = out.write_all(text);
    let _ = out.flush();
}
