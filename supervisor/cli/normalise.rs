//! The grammar in front of argh: rewrites a command line into the one form that argh reads.
//!
//! Owns `--opt=value`, attached and bundled short options, options after operands, `--`, trailing commands, optional
//! values, and the text of every error in them. `table` says which options take values. The result always has the form
//! `--long value … -- operand …`. The model is getopt(3).

use super::table::{Arity, Flag, FlagValue, Verb};
use crate::nearest::nearest;
use std::{borrow::Cow, slice};

/// A command line in argh's form, or a request for help.
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
/// The error message, without the leading `ds: VERB: ` and without a newline.
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

/// Quotes a word for a one-line message: makes control characters and empty words visible.
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
                // Unlike getopt(3), `-n=5` sets the value 5.
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

    /// Stores one option in argh's form. `written` is the spelling of the user.
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

    /// The value in the next word. A word that is itself an option of this verb is probably not a value.
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

    /// Checks the number of operands, and operands with a fixed set of words.
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
            None if has_all && !all => Err(format!("{name} is missing; give one or more names, or --all")),
            None if !has_all => Err(format!("{name} is missing; see '{}'", self.verb.help_command)),
            Some(_) if all => Err(format!("{name} and --all exclude each other; give one of them")),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table;

    fn read(line: &str) -> Result<Normalised, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (name, rest) = words.split_first().expect("a verb");
        normalise(&table::verb(name).expect("a known verb"), rest)
    }

    #[track_caller]
    fn becomes(line: &str, expected: &str) {
        let words = expected.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect();
        assert_eq!(read(line), Ok(Normalised::Words(words)), "{line}");
    }

    #[test]
    fn values_may_be_attached_or_detached() {
        becomes("stop web --timeout 5", "--timeout 5 -- web");
        becomes("stop web --timeout=5", "--timeout 5 -- web");
        becomes("logs web -n 5", "--lines 5 -- web");
        becomes("logs web -n5", "--lines 5 -- web");
        becomes("logs web -n=5", "--lines 5 -- web");
        becomes("create web --set a=b=c --from x", "--set a=b=c --from x -- web");
        becomes("create web --set=a=b --rootfs=-odd", "--set a=b --rootfs -odd -- web");
    }

    #[test]
    fn short_options_may_be_bundled() {
        becomes("logs -fn20 web", "--follow --lines 20 -- web");
        becomes("run web -tuwww id", "--tty --user www -- web id");
        becomes("run web -tu www id", "--tty --user www -- web id");
    }

    #[test]
    fn an_optional_value_is_attached_or_absent() {
        becomes("start --wait web", "--wait '' -- web");
        becomes("start web --wait=30", "--wait 30 -- web");
        becomes("start --wait 30", "--wait '' -- 30");
    }

    #[test]
    fn options_end_at_two_dashes() {
        becomes("rename -- -a --help", "-- -a --help");
        becomes("info --json -- -x", "--json -- -x");
        becomes("rm -", "-- -");
    }

    #[test]
    fn a_command_is_left_alone() {
        becomes("run web ls -l --help -- x", "-- web ls -l --help -- x");
        becomes("run web -- ls -- x", "-- web ls -- x");
        becomes("run web -t -- -u", "--tty -- web -u");
        becomes("run -u root web -w / ls -u", "--user root --workdir / -- web ls -u");
        becomes("run -- web ls", "-- web ls");
        becomes("run web - -t", "-- web - -t");
        becomes("shell /srv -e A=b sh -c x", "--env A=b -- /srv sh -c x");
        becomes("shell /srv", "-- /srv");
    }

    #[test]
    fn help_is_asked_for_before_a_command_only() {
        for line in ["run --help", "run web -h", "run web -th", "start --help web", "help -h"] {
            assert_eq!(read(line), Ok(Normalised::Help), "{line}");
        }
        becomes("run web -- --help", "-- web --help");
    }

    #[test]
    fn mistakes_name_the_word_and_the_way_out() {
        for (line, expected) in [
            ("start --wiat", "unknown option --wiat; did you mean --wait?"),
            ("start --wiat=3", "unknown option --wiat; did you mean --wait?"),
            ("start -wait", "unknown option -wait; did you mean --wait?"),
            ("logs web -F", "unknown option -F; did you mean -f?"),
            ("stop -a", "unknown option -a; did you mean --all?"),
            ("stop -x", "unknown option -x; see 'ds help stop'"),
            ("stop --qqqqqqqqqqq", "unknown option --qqqqqqqqqqq; nearest is --all; see 'ds help stop'"),
            ("list --json=yes", "--json takes no value"),
            ("stop web --timeout", "--timeout needs a value (SECONDS)"),
            ("stop web --timeout=", "--timeout needs a value (SECONDS)"),
            ("start web --wait=", "--wait needs a value (SECONDS)"),
            ("logs web -n=", "-n needs a value (LINES)"),
            ("create a --rootfs -- b", "--rootfs needs a value (DIR); if -- is the value, write --rootfs=--"),
            ("run web -u -t id", "-u needs a value (USER); if -t is the value, write -u=-t"),
            ("logs web -n 1 --lines=2", "--lines is given twice"),
            ("info", "NAME is missing; see 'ds help info'"),
            ("rename a", "NEW_NAME is missing; see 'ds help rename'"),
            ("info a b", "unexpected operand b; see 'ds help info'"),
            ("start", "NAME is missing; give one or more names, or --all"),
            ("start --all web", "NAME and --all exclude each other; give one of them"),
            ("restart", "NAME is missing; see 'ds help restart'"),
            ("set web", "KEY=VALUE is missing; see 'ds help set'"),
            ("run web --", "CMD is missing; see 'ds help run'"),
            ("convert web tar", "tar is not one of image, dir"),
            ("supervisor stpo", "stpo is not one of stop, status, reload; did you mean stop?"),
        ] {
            assert_eq!(read(line), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn empty_operands_are_no_operands() {
        let verb = table::verb("info").expect("a known verb");
        assert_eq!(normalise(&verb, &[String::new()]), Err("NAME is empty".to_owned()));
        let verb = table::verb("start").expect("a known verb");
        assert_eq!(normalise(&verb, &["a".to_owned(), String::new()]), Err("NAME is empty".to_owned()));
    }

    #[test]
    fn words_that_would_break_the_line_are_quoted() {
        assert_eq!(shown("web"), "web");
        assert_eq!(shown(""), "\"\"");
        assert_eq!(shown("a\nb"), "\"a\\nb\"");
        assert_eq!(shown("a b"), "\"a b\"");
        assert_eq!(shown("\u{1b}[31m"), "\"\\u{1b}[31m\"");
    }
}
