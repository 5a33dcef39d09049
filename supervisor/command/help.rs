//! `ds help [VERB]`: the overview, or the help of one verb.
//!
//! `cli::help` owns the texts; `ds VERB --help` prints the same ones. Needs no supervisor, no root and no data
//! directory.

use crate::{
    cli::{Help, help, table},
    command::print,
    exit::ExitCode,
};
use anyhow::{Result, bail};
use std::io::Write;

/// Prints the help that `arguments` request.
///
/// # Errors
/// If `output` cannot be written, or for a verb that the command line's own check would have refused.
pub fn run(arguments: &Help, output: &mut impl Write) -> Result<ExitCode> {
    let text = match &arguments.verb {
        None => help::overview(),
        Some(name) => match table::verb(name) {
            Some(verb) => help::verb(&verb),
            None => bail!("unknown verb {name}"),
        },
    };
    print(output, &text)
}
