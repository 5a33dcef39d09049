//! Command lines of older tools, for the multi-call names `droidspaces`, `nspawn` and `getroot`.
//!
//! Each is translated into the words of the `ds` command line that means the same, and read from there on like any
//! other, so the same rules and the same errors hold. What `ds` cannot do yet is refused in one line, never ignored.
//! The grammar of the options is `cli::normalise`'s; only their names and meanings are here.

mod droidspaces;
mod getroot;
mod nspawn;

use crate::cli::{
    Usage,
    normalise::{Normalised, normalise},
    table::{Arity, Flag, FlagValue, Operand, Placeholder, Verb},
};

/// A tool whose command lines are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Droidspaces: containers with an init system.
    Droidspaces,
    /// nspawn.sh: a shell in a throw-away container.
    Nspawn,
    /// getroot, of nspawn.sh: fetches root file systems.
    Getroot,
}

impl Tool {
    /// The tool of this program name, if it is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Droidspaces, Self::Nspawn, Self::Getroot].into_iter().find(|tool| tool.name() == name)
    }

    /// The name it is called by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Droidspaces => "droidspaces",
            Self::Nspawn => "nspawn",
            Self::Getroot => "getroot",
        }
    }
}

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

/// Why there is no translation.
enum Refusal {
    /// Help was asked for; this is it.
    Help(&'static str),
    /// What is wrong, in one line.
    Mistake(String),
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self::Mistake(what)
    }
}

/// One option of an older tool.
struct OldOption<Meaning: 'static> {
    long: &'static str,
    short: Option<char>,
    /// What its value is called; `None` for a switch.
    value: Option<&'static str>,
    repeats: bool,
    meaning: Meaning,
}

impl<Meaning> OldOption<Meaning> {
    const fn switch(long: &'static str, short: Option<char>, meaning: Meaning) -> Self {
        Self { long, short, value: None, repeats: true, meaning }
    }

    const fn valued(long: &'static str, short: Option<char>, value: &'static str, meaning: Meaning) -> Self {
        Self { long, short, value: Some(value), repeats: false, meaning }
    }

    const fn repeated(
        long: &'static str,
        short: Option<char>,
        value: &'static str,
        meaning: Meaning,
    ) -> Self {
        Self { long, short, value: Some(value), repeats: true, meaning }
    }
}

/// An older command line, taken apart.
struct OldLine<Meaning: 'static> {
    /// Options in the order given, each with its value (empty for a switch).
    options: Vec<(&'static OldOption<Meaning>, String)>,
    operands: Vec<String>,
}

/// Takes a command line apart. Knows `--help` by itself, and `-h` where the tool gives it no other meaning.
fn read<Meaning>(
    tool: Tool,
    help: &'static str,
    known: &'static [OldOption<Meaning>],
    operands: Vec<Operand>,
    words: &[String],
) -> Result<OldLine<Meaning>, Refusal> {
    let flags = known.iter().map(|option| Flag {
        short: option.short,
        value: option.value.map_or(FlagValue::None, |name| FlagValue::Required(Placeholder(name))),
        repeats: option.repeats,
        ..Flag::switch(option.long)
    });
    let letter = known.iter().all(|option| option.short != Some('h')).then_some('h');
    let grammar = Verb {
        name: tool.name(),
        description: "",
        examples: &[],
        notes: &[],
        options: flags.chain([Flag { short: letter, ..Flag::switch("help") }]).collect(),
        operands,
        help_command: format!("{} --help", tool.name()),
    };
    let Normalised::Words(words) = normalise(&grammar, words)? else {
        return Err(Refusal::Help(help));
    };
    let mut words = words.into_iter();
    let mut options = Vec::new();
    while let Some(word) = words.next().filter(|word| word != "--") {
        if let Some(option) = known.iter().find(|option| word.strip_prefix("--") == Some(option.long)) {
            let value = if option.value.is_some() { words.next() } else { None };
            options.push((option, value.unwrap_or_default()));
        }
    }
    Ok(OldLine { options, operands: words.collect() })
}

/// An operand of an older tool.
const fn operand(name: &'static str, arity: Arity) -> Operand {
    Operand { placeholder: Placeholder(name), arity, description: "" }
}

fn not_there_yet(what: &str) -> Refusal {
    Refusal::Mistake(format!("{what} is not there yet"))
}

/// Words from string slices.
fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests;
