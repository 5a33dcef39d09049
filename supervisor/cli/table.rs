//! The grammar of every verb, derived from the argument structs.
//!
//! Owns the one table from which the parser, the help texts and the completions are made, so that they always agree. It
//! is derived from argh's `ArgsInfo`. An `arg_name` carries what argh cannot express: `[=X]` is an optional value,
//! attached with `=`; `[X]` is an optional trailing command; `a|b` is a choice of fixed words.

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, PositionalInfo, SubCommand};

/// One verb.
#[derive(Debug, Clone)]
pub struct Verb {
    /// The word on the command line.
    pub name: &'static str,
    /// What it does, in one or two sentences.
    pub description: &'static str,
    /// Example command lines.
    pub examples: &'static [&'static str],
    /// Further paragraphs of the help text.
    pub notes: &'static [&'static str],
    /// Options in the order of the help text; `--help` is the last.
    pub options: Vec<Flag>,
    /// Operands in order.
    pub operands: Vec<Operand>,
    /// The command line that explains it.
    pub help_command: String,
}

/// One option.
#[derive(Debug, Clone)]
pub struct Flag {
    /// Long name without its dashes.
    pub long: &'static str,
    /// One-letter name.
    pub short: Option<char>,
    /// Its value.
    pub value: FlagValue,
    /// Whether it may be given more than once.
    pub repeats: bool,
    /// What it does.
    pub description: &'static str,
}

/// The value of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagValue {
    /// Nothing: a switch.
    None,
    /// A value, attached or as the next word.
    Required(Placeholder),
    /// A value attached with `=`, or nothing.
    Optional(Placeholder),
}

/// The number of words of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// One or more; none if the verb has `--all` and the user gives it.
    Many,
    /// A command of at least one word, never read as options.
    Command,
    /// The same, but optional.
    OptionalCommand,
}

/// One operand.
#[derive(Debug, Clone)]
pub struct Operand {
    /// Its name in usage lines and errors.
    pub placeholder: Placeholder,
    /// The number of its words.
    pub arity: Arity,
    /// Its purpose.
    pub description: &'static str,
}

/// The name of a value in usage lines. It also determines the completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder(pub &'static str);

impl Placeholder {
    /// The fixed words to choose from; empty if any word is valid.
    #[must_use]
    pub fn choices(self) -> Vec<&'static str> {
        if self.0.contains('|') { self.0.split('|').collect() } else { Vec::new() }
    }
}

/// The source of a verb's description.
type Describe = fn() -> CommandInfoWithArgs;

/// Names and descriptions of verbs. They allow the parser to describe one verb instead of all.
macro_rules! described {
    ($($verb:ident),+ $(,)?) => {
        [$((<super::$verb as SubCommand>::COMMAND.name, <super::$verb as ArgsInfo>::get_args_info as Describe)),+]
    };
}

/// All verbs, in the order of the overview.
const VERBS: [(&str, Describe); 36] = described![
    Create,
    Start,
    Stop,
    Restart,
    Freeze,
    Thaw,
    List,
    Info,
    Stats,
    Get,
    Set,
    Run,
    Enter,
    Shell,
    Console,
    Logs,
    Remove,
    Rename,
    Copy,
    Export,
    Import,
    Resize,
    Convert,
    Seed,
    Images,
    Pull,
    Cache,
    Check,
    Doctor,
    Supervise,
    Supervisor,
    Rpc,
    Web,
    Version,
    Completions,
    Help,
];

/// Verbs for scripts: not in the overview or the completions, but with a help text.
const HIDDEN: [(&str, Describe); 1] = described![Module];

/// All verbs for users, in the order of the overview.
#[must_use]
pub fn verbs() -> Vec<Verb> {
    VERBS.iter().map(|(_, describe)| Verb::from_info(&describe())).collect()
}

/// The verb of this name, hidden or not.
#[must_use]
pub fn verb(name: &str) -> Option<Verb> {
    let (_, describe) = VERBS.iter().chain(&HIDDEN).find(|(verb, _)| *verb == name)?;
    Some(Verb::from_info(&describe()))
}

impl Verb {
    fn from_info(info: &CommandInfoWithArgs) -> Self {
        let own = info.flags.iter().filter(|flag| flag.long != "--help").map(Flag::from_info);
        let help = Flag { short: Some('h'), description: "show this help", ..Flag::switch("help") };
        Self {
            name: info.name,
            description: info.description,
            examples: info.examples,
            notes: info.notes,
            options: own.chain([help]).collect(),
            operands: info.positionals.iter().map(Operand::from_info).collect(),
            help_command: format!("ds help {}", info.name),
        }
    }

    /// The first sentence of its description, without the full stop.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.description.split_once(". ").map_or(self.description, |(first, _)| first).trim_end_matches('.')
    }

    /// The option with this long name.
    #[must_use]
    pub fn long(&self, name: &str) -> Option<&Flag> {
        self.options.iter().find(|option| option.long == name)
    }

    /// The option with this one-letter name.
    #[must_use]
    pub fn short(&self, letter: char) -> Option<&Flag> {
        self.options.iter().find(|option| option.short == Some(letter))
    }

    /// The number of operands before the trailing command; `None` if the verb takes no command.
    #[must_use]
    pub fn before_command(&self) -> Option<usize> {
        self.operands
            .iter()
            .position(|operand| matches!(operand.arity, Arity::Command | Arity::OptionalCommand))
    }
}

impl Flag {
    /// A switch without a one-letter name and without a description.
    #[must_use]
    pub const fn switch(long: &'static str) -> Self {
        Self { long, short: None, value: FlagValue::None, repeats: false, description: "" }
    }

    fn from_info(info: &FlagInfo<'static>) -> Self {
        let value = match info.kind {
            FlagInfoKind::Switch => FlagValue::None,
            FlagInfoKind::Option { arg_name } => {
                match arg_name.strip_prefix("[=").and_then(|name| name.strip_suffix(']')) {
                    Some(name) => FlagValue::Optional(Placeholder(name)),
                    None => FlagValue::Required(Placeholder(arg_name)),
                }
            }
        };
        Self {
            long: info.long.trim_start_matches('-'),
            short: info.short,
            value,
            repeats: info.optionality == Optionality::Repeating,
            description: info.description,
        }
    }
}

impl Operand {
    fn from_info(info: &PositionalInfo<'static>) -> Self {
        let optional_command = info.name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let arity = match info.optionality {
            Optionality::Required => Arity::One,
            Optionality::Optional => Arity::Optional,
            Optionality::Repeating => Arity::Many,
            Optionality::Greedy if optional_command.is_some() => Arity::OptionalCommand,
            Optionality::Greedy => Arity::Command,
        };
        Self {
            placeholder: Placeholder(optional_command.unwrap_or(info.name)),
            arity,
            description: info.description,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_verb_of_the_contract_is_there() {
        let expected = "create start stop restart freeze thaw list info stats get set run enter shell console logs rm rename \
                        copy export import resize convert seed images pull cache check doctor supervise supervisor rpc web version \
                        completions help";
        let names: Vec<&str> = verbs().iter().map(|verb| verb.name).collect();
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn the_table_has_the_verbs_of_the_enum() {
        let commands = super::super::Command::get_args_info().commands;
        let names: Vec<&str> = commands.iter().map(|command| command.name).collect();
        let known: Vec<&str> = VERBS.iter().chain(&HIDDEN).map(|(name, _)| *name).collect();
        assert_eq!(names, known);
    }

    #[test]
    fn option_names_are_unique_within_a_verb() {
        for verb in verbs() {
            let mut seen = HashSet::new();
            for option in &verb.options {
                assert!(seen.insert(option.long.to_owned()), "{} --{}", verb.name, option.long);
                if let Some(letter) = option.short {
                    assert!(seen.insert(letter.to_string()), "{} -{letter}", verb.name);
                }
            }
        }
    }

    #[test]
    fn every_verb_and_argument_says_what_it_is_for() {
        for verb in verbs() {
            assert!(!verb.examples.is_empty(), "{} has no example", verb.name);
            assert!(verb.description.ends_with('.'), "{}", verb.name);
            let texts = verb.options.iter().map(|option| option.description);
            for text in texts.chain(verb.operands.iter().map(|operand| operand.description)) {
                assert!(!text.is_empty() && !text.ends_with('.'), "{}: {text:?}", verb.name);
            }
        }
    }

    #[test]
    fn argument_names_say_more_than_argh_can() {
        let start = verb("start").expect("start is a verb");
        let wait = start.long("wait").expect("start has --wait");
        assert_eq!(wait.value, FlagValue::Optional(Placeholder("SECONDS")));
        assert_eq!(start.operands[0].arity, Arity::Many);

        let shell = verb("shell").expect("shell is a verb");
        assert_eq!(shell.operands[1].arity, Arity::OptionalCommand);
        assert_eq!(shell.operands[1].placeholder, Placeholder("CMD"));
        assert_eq!(shell.before_command(), Some(1));

        let convert = verb("convert").expect("convert is a verb");
        assert_eq!(convert.operands[1].placeholder.choices(), ["image", "dir"]);
        assert_eq!(convert.before_command(), None);
    }
}
