//! Command lines of older tools, for the multi-call names `droidspaces`, `nspawn` and `getroot`.
//!
//! Each is translated into the words of the `ds` command line that means the same, and read from there on like any
//! other, so the same rules and the same errors hold. What `ds` cannot do yet is refused in one line, never ignored.
//! The grammar of the options is `cli::normalise`'s; only their names and meanings are here.

mod droidspaces;
mod getroot;
mod grammar;
mod nspawn;

pub use grammar::Tool;

use self::grammar::Refusal;
use crate::cli::usage::Usage;

/// Translates the words after the name of `tool` into words to put after `ds`.
///
/// # Errors
/// The tool's help text if it was asked for, or one line saying what is wrong or not there yet.
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
