//! `ds convert`: converts a root file system between a directory and an image. `storage::convert` does the work.

use anyhow::Result;
use serde_json::json;

use super::progress::Progress;
use super::state::existing;
use crate::cli;
use crate::exit::ExitCode;
use crate::storage::convert::{Converted, convert};
use crate::worker::Env;

/// Converts the root file system of a stopped container.
///
/// # Errors
/// If the conversion fails; the root file system is then unchanged.
pub fn run(arguments: &cli::Convert, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let mut progress = Progress::new(arguments.json);
    let (form, size) = (arguments.form, arguments.size);
    let done = convert(env, &name, form, size, &mut |event| progress.show(event))?;
    let (kind, article) = match form {
        cli::Form::Image => ("image", "an image"),
        cli::Form::Directory => ("directory", "a directory"),
    };
    let (size, text) = match done {
        Converted::Already => (None, format!("{name} is already {article}\n")),
        Converted::Done { size, left, .. } => {
            if let Some(left) = left {
                progress.note(&format!("{} was used in place and is kept", left.display()));
            }
            (size, format!("{name} is {article} now\n"))
        }
    };
    progress.done(&json!({ "event": "converted", "name": name, "kind": kind, "size": size }), &text)
}
