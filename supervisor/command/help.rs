//! `ds help [VERB]`: the overview, or one verb explained.
//!
//! Needs no supervisor, no root and no data directory. The texts themselves are written by `cli::help`, which
//! `ds VERB --help` uses too, so the two never differ.

use crate::{
    cli::{Help, help, table},
    command::print,
    exit::ExitCode,
};
use anyhow::{Result, bail};
use std::io::Write;

/// Prints the help that `arguments` ask for.
///
/// # Errors
/// When `output` cannot be written to, or for a verb that the command line's own check would have refused.
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
