//! Command lines of older tools, for the multi-call names `droidspaces`, `nspawn` and `getroot`.
//!
//! Owns the names of their options and what they mean for `ds`. Each command line is translated into the equivalent
//! words of `ds`, which are then parsed as usual, with the same rules and errors. Features that `ds` does not have yet
//! are refused in one line and never ignored. The grammar of options is that of `cli::normalise`.

mod droidspaces;
mod getroot;
mod grammar;
mod nspawn;

pub use grammar::Tool;

use self::grammar::Refusal;
use crate::cli::usage::Usage;

/// Translates the words after the name of `tool` into the words after `ds`.
///
/// # Errors
/// The help of the tool, if it was requested, or one line about a mistake or a missing feature.
pub fn translate(tool: Tool, words: &[String]) -> Result<Vec<String>, Usage> {
    let translated = match tool {
        Tool::Droidspaces => droidspaces::translate(words),
        Tool::Nspawn => nspawn::translate(words),
        Tool::Getroot => getroot::translate(words),
    };
    translated.map_err(|refusal| match refusal {
        Refusal::Help(text) => Usage::help(text),
        Refusal::Mistake(what) => Usage::mistake(tool.name(), &what),
    })
}

#[cfg(test)]
mod tests;
