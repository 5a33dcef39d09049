//! The output for users and CI: plain lines on stdout.
//!
//! Owns all writes to the terminal. Write errors are ignored, so that a closed pipe does not stop a build.

use std::fmt::Display;
use std::io::{Write, stdout};

/// Prints one line.
pub fn line(text: impl Display) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Prints text that already has line endings, such as the output of a command.
pub fn raw(text: &[u8]) {
    let mut out = stdout().lock();
    let _ = out.write_all(text);
    let _ = out.flush();
}
