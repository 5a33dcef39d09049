//! The kinds of words on a command line, from which each completion script derives its candidates. Changes nothing.

use crate::cli::table::{Arity, Placeholder};
use crate::config::{Key, SCHEMA};

/// The kind of word that a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The name of an existing container.
    Containers,
    /// A verb of `ds`.
    Verbs,
    /// A path of this machine.
    Files,
    /// A directory of this machine.
    Directories,
    /// One of a few words.
    Words(Vec<&'static str>),
    /// A key of container.ini.
    Keys,
    /// A key of container.ini followed by `=`.
    Settings,
    /// A word without candidates: a new name, a number, a command in a container.
    Anything,
}

impl Kind {
    pub(super) fn of(placeholder: Placeholder) -> Self {
        let choices = placeholder.choices();
        if !choices.is_empty() {
            return Self::Words(choices);
        }
        match placeholder.0 {
            "NAME" => Self::Containers,
            "VERB" => Self::Verbs,
            // A tarball, or the name of a system.
            "FILE" | "SRC" => Self::Files,
            "DIR" => Self::Directories,
            "KEY" => Self::Keys,
            "KEY=VALUE" => Self::Settings,
            _ => Self::Anything,
        }
    }
}

/// The keys of container.ini in their shortest form.
pub(super) fn keys() -> Vec<String> {
    let name = |key: &Key| if key.section == SCHEMA.main { key.name.to_owned() } else { key.full_name() };
    SCHEMA.keys.iter().map(name).collect()
}

/// Whether the words of this operand extend to the end of the command line.
pub(super) const fn is_last(arity: Arity) -> bool {
    matches!(arity, Arity::Many | Arity::Command | Arity::OptionalCommand)
}

/// Text in single quotes, for a shell in which `'\''` stands for a quote.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
