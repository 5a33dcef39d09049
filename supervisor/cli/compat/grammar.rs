//! The grammar of older command lines. Owns how their words are split into options and operands; the tables of the
//! tools use it.

use crate::cli::normalise::{Normalised, normalise};
use crate::cli::table::{Arity, Flag, FlagValue, Operand, Placeholder, Verb};

/// A tool with a supported command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Droidspaces: containers with an init system.
    Droidspaces,
    /// nspawn.sh: a shell in a temporary container.
    Nspawn,
    /// getroot, of nspawn.sh: downloads root file systems.
    Getroot,
}

impl Tool {
    /// The tool with this program name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Droidspaces, Self::Nspawn, Self::Getroot].into_iter().find(|tool| tool.name() == name)
    }

    /// Its program name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Droidspaces => "droidspaces",
            Self::Nspawn => "nspawn",
            Self::Getroot => "getroot",
        }
    }
}

/// Why there is no translation.
pub(super) enum Refusal {
    /// The requested help.
    Help(&'static str),
    /// An error message of one line.
    Mistake(String),
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self::Mistake(what)
    }
}

/// One option of an older tool.
pub(super) struct OldOption<Meaning: 'static> {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    /// What its value is called; `None` for a switch.
    value: Option<&'static str>,
    pub(super) repeats: bool,
    pub(super) meaning: Meaning,
}

impl<Meaning> OldOption<Meaning> {
    pub(super) const fn switch(long: &'static str, short: Option<char>, meaning: Meaning) -> Self {
        Self { long, short, value: None, repeats: true, meaning }
    }

    pub(super) const fn valued(
        long: &'static str,
        short: Option<char>,
        value: &'static str,
        meaning: Meaning,
    ) -> Self {
        Self { long, short, value: Some(value), repeats: false, meaning }
    }

    pub(super) const fn repeated(
        long: &'static str,
        short: Option<char>,
        value: &'static str,
        meaning: Meaning,
    ) -> Self {
        Self { long, short, value: Some(value), repeats: true, meaning }
    }
}

/// The parsed words of an older command line.
pub(super) struct OldLine<Meaning: 'static> {
    /// Options in the order given, each with its value (empty for a switch).
    pub(super) options: Vec<(&'static OldOption<Meaning>, String)>,
    pub(super) operands: Vec<String>,
}

/// Splits a command line. Handles `--help`, and `-h` unless the tool gives it another meaning.
pub(super) fn read<Meaning>(
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
pub(super) const fn operand(name: &'static str, arity: Arity) -> Operand {
    Operand { placeholder: Placeholder(name), arity, description: "" }
}

pub(super) fn not_supported_yet(what: &str) -> Refusal {
    Refusal::Mistake(format!("{what} is not supported yet"))
}

/// Words from string slices.
pub(super) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
