//! The grammar in front of argh: what a user writes, turned into the one form argh reads.
//!
//! Owns `--opt=value`, attached and bundled short options, options behind operands, `--`, trailing commands and
//! optional values, and the words of every mistake in them. Which options take values comes from `table` alone. The
//! result is always `--long value … -- operand …`. getopt(3) is the model.

use super::{
    nearest::nearest,
    table::{Arity, Flag, FlagValue, Verb},
};
use std::{borrow::Cow, slice};

/// A command line in argh's form, or a call for help.
#[derive(Debug, PartialEq, Eq)]
pub enum Normalised {
    /// `--help` or `-h` was among the options.
    Help,
    /// Options by their long names with detached values, then `--`, then the operands.
    Words(Vec<String>),
}

/// Reads the words after the verb.
///
/// # Errors
/// What is wrong, without the `ds: VERB: ` in front and without a newline.
pub fn normalise(verb: &Verb, words: &[String]) -> Result<Normalised, String> {
    let mut reader =
        Reader { verb, rest: words.iter(), options: Vec::new(), operands: Vec::new(), given: Vec::new() };
    let command_at = verb.before_command();
    while let Some(word) = reader.rest.next() {
        let help = if word == "--" {
            reader.operands.extend(reader.rest.by_ref().cloned());
            false
        } else if let Some(long) = word.strip_prefix("--") {
            reader.long(long)?
        } else if word.starts_with('-') && word.len() > 1 {
            reader.bundle(&word[1..])?
        } else {
            reader.operands.push(word.clone());
            if command_at.is_some_and(|before| reader.operands.len() > before) {
                reader.operands.extend(reader.rest.by_ref().cloned());
            }
            false
        };
        if help {
            return Ok(Normalised::Help);
        }
    }
    reader.check_operands()?;
    let Reader { mut options, operands, .. } = reader;
    options.push("--".to_owned());
    options.extend(operands);
    Ok(Normalised::Words(options))
}

/// A word as it may stand in a one-line message: control characters and empty words are made visible.
pub fn shown(word: &str) -> Cow<'_, str> {
    if word.is_empty() || word.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        Cow::Owned(format!("{word:?}"))
    } else {
        Cow::Borrowed(word)
    }
}

struct Reader<'a> {
    verb: &'a Verb,
    rest: slice::Iter<'a, String>,
    options: Vec<String>,
    operands: Vec<String>,
    /// Long names of the options so far.
    given: Vec<&'static str>,
}

impl Reader<'_> {
    /// Reads the option word `--NAME` or `--NAME=VALUE`. True if it asks for help.
    fn long(&mut self, body: &str) -> Result<bool, String> {
        let (name, attached) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let option = self.verb.long(name).ok_or_else(|| self.unknown_long(name))?;
        self.take(option, &format!("--{name}"), attached)
    }

    /// Reads `-a`, `-abc`, `-nVALUE` or `-n VALUE`, given without the dash. True if it asks for help.
    fn bundle(&mut self, letters: &str) -> Result<bool, String> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let option = self.verb.short(letter).ok_or_else(|| self.unknown_short(letter, letters))?;
            let attached = match option.value {
                FlagValue::None => None,
                // Unlike getopt(3), `-n=5` means what it looks like.
                FlagValue::Required(_) | FlagValue::Optional(_) => {
                    let value = rest.as_str();
                    rest = "".chars();
                    (!value.is_empty()).then(|| value.strip_prefix('=').unwrap_or(value))
                }
            };
            if self.take(option, &format!("-{letter}"), attached)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stores one option as argh reads it. `written` is how the user spelled it. True if it asks for help.
    fn take(&mut self, option: &Flag, written: &str, attached: Option<&str>) -> Result<bool, String> {
        let value = match (option.value, attached) {
            (FlagValue::None, Some(_)) => return Err(format!("{written} takes no value")),
            (FlagValue::None, None) => None,
            (FlagValue::Required(name) | FlagValue::Optional(name), Some("")) => {
                return Err(format!("{written} needs a value ({})", name.0));
            }
            (FlagValue::Optional(_), None) => Some(String::new()),
            (FlagValue::Required(_) | FlagValue::Optional(_), Some(value)) => Some(value.to_owned()),
            (FlagValue::Required(name), None) => Some(self.detached(written, name.0)?),
        };
        if option.long == "help" {
            return Ok(true);
        }
        if option.value != FlagValue::None && !option.repeats && self.given.contains(&option.long) {
            return Err(format!("{written} is given twice"));
        }
        self.given.push(option.long);
        self.options.push(format!("--{}", option.long));
        self.options.extend(value);
        Ok(false)
    }

    /// The value in the next word. A word that is itself an option of this verb was hardly meant as one.
    fn detached(&mut self, written: &str, name: &str) -> Result<String, String> {
        let missing = format!("{written} needs a value ({name})");
        match self.rest.next() {
            None => Err(missing),
            Some(word) if word.is_empty() => Err(missing),
            Some(word) if word == "--" || self.is_option(word) => {
                Err(format!("{missing}; if {word} is the value, write {written}={word}"))
            }
            Some(word) => Ok(word.clone()),
        }
    }

    fn is_option(&self, word: &str) -> bool {
        let mut letters = word.strip_prefix('-').unwrap_or_default().chars();
        match (letters.next(), letters.next()) {
            (Some('-'), Some(_)) => self.verb.long(word[2..].split('=').next().unwrap_or_default()).is_some(),
            (Some(letter), None) => self.verb.short(letter).is_some(),
            _ => false,
        }
    }

    fn unknown_long(&self, name: &str) -> String {
        let typed = format!("--{name}");
        let known = self.verb.options.iter().map(|option| option.long);
        match nearest(name, known) {
            Some(found) if found.is_typo_of(name) => {
                format!("unknown option {}; did you mean --{}?", shown(&typed), found.word)
            }
            found => {
                let nearest =
                    found.map_or_else(String::new, |found| format!("nearest is --{}; ", found.word));
                format!("unknown option {}; {nearest}see '{}'", shown(&typed), self.verb.help_command)
            }
        }
    }

    fn unknown_short(&self, letter: char, bundle: &str) -> String {
        let options = &self.verb.options;
        let long = options.iter().find(|option| {
            let one_dash_short = nearest(bundle, [option.long]);
            bundle.len() > 2 && one_dash_short.is_some_and(|found| found.distance <= 1)
        });
        let other_case = options.iter().find(|option| {
            option.short.is_some_and(|short| short != letter && short.eq_ignore_ascii_case(&letter))
        });
        let initial = options.iter().find(|option| option.long.starts_with(letter.to_ascii_lowercase()));
        let typed = if long.is_some() { format!("-{bundle}") } else { format!("-{letter}") };
        let typed = shown(&typed);
        match (long, other_case, initial) {
            (None, Some(Flag { short: Some(short), .. }), _) => {
                format!("unknown option {typed}; did you mean -{short}?")
            }
            (Some(option), ..) | (None, _, Some(option)) => {
                format!("unknown option {typed}; did you mean --{}?", option.long)
            }
            _ => format!("unknown option {typed}; see '{}'", self.verb.help_command),
        }
    }

    /// Compares the number and the fixed words of the operands with what the verb takes.
    fn check_operands(&self) -> Result<(), String> {
        let help = || format!("see '{}'", self.verb.help_command);
        let mut given = self.operands.iter();
        for operand in &self.verb.operands {
            let name = operand.placeholder.0;
            match operand.arity {
                Arity::Command if given.next().is_none() => {
                    return Err(format!("{name} is missing; {}", help()));
                }
                Arity::Command | Arity::OptionalCommand => return Ok(()),
                Arity::Many => return self.check_many(name, given.as_slice()),
                Arity::One | Arity::Optional => match given.next().map(String::as_str) {
                    None if operand.arity == Arity::Optional => {}
                    None => return Err(format!("{name} is missing; {}", help())),
                    Some("") => return Err(format!("{name} is empty")),
                    Some(word) => check_choice(word, &operand.placeholder.choices())?,
                },
            }
        }
        match given.next() {
            Some(word) => Err(format!("unexpected operand {}; {}", shown(word), help())),
            None => Ok(()),
        }
    }

    fn check_many(&self, name: &str, words: &[String]) -> Result<(), String> {
        let has_all = self.verb.long("all").is_some();
        let all = self.given.contains(&"all");
        match words.first() {
            None if has_all && !all => Err(format!("{name} is missing; name one or more, or say --all")),
            None if !has_all => Err(format!("{name} is missing; see '{}'", self.verb.help_command)),
            Some(_) if all => Err(format!("either {name} or --all, not both")),
            _ if words.iter().any(String::is_empty) => Err(format!("{name} is empty")),
            _ => Ok(()),
        }
    }
}

fn check_choice(word: &str, choices: &[&'static str]) -> Result<(), String> {
    if choices.is_empty() || choices.contains(&word) {
        return Ok(());
    }
    let all = choices.join(", ");
    Err(match nearest(word, choices.iter().copied()) {
        Some(found) if found.is_typo_of(word) => {
            format!("{} is not one of {all}; did you mean {}?", shown(word), found.word)
        }
        _ => format!("{} is not one of {all}", shown(word)),
    })
}
