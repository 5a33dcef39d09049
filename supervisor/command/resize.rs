//! `ds resize`: resizes a container's image. `storage::resize` does the work.

use anyhow::Result;
use serde_json::json;

use super::progress::Progress;
use super::state::existing;
use crate::cli;
use crate::exit::ExitCode;
use crate::storage::resize::resize;
use crate::units;
use crate::worker::Env;

/// Resizes the image of a stopped container.
///
/// # Errors
/// If the resize fails; the image is then unchanged.
pub fn run(arguments: &cli::Resize, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let mut progress = Progress::new(arguments.json);
    let done = resize(env, &name, arguments.size, &mut |event| progress.show(event))?;
    let event = json!({ "event": "resized", "name": name, "before": done.before, "size": done.after });
    let text = match done.before == done.after {
        true => format!("{name} already has that size\n"),
        false => {
            format!("{name} resized from {} to {}\n", units::size(done.before), units::size(done.after))
        }
    };
    progress.done(&event, &text)
}
