//! Help texts, generated from `table`.
//!
//! Owns their layout: an overview in groups, and one page for each verb. Lines have at most 80 columns, the width of a
//! terminal on a phone in landscape orientation. It never prints.

use super::table::{Arity, Flag, FlagValue, Operand, Verb, verbs};

/// Columns of a help text.
const WIDTH: usize = 80;

/// Verbs in the overview. Every verb is in exactly one group, which a test verifies.
const GROUPS: &[(&str, &str)] = &[
    ("Containers", "create start stop restart freeze thaw list info stats get set"),
    ("Inside a container", "run enter shell console logs"),
    ("Data", "rm rename copy export import resize convert seed images pull cache"),
    ("This machine", "check doctor supervise supervisor rpc version completions help"),
];

/// Options of which exactly one must be given, as `rules` checks.
const ONE_OF: &[(&str, &[&str])] = &[("create", &["rootfs", "image", "from"])];

/// What `ds` and `ds help` print.
#[must_use]
pub fn overview() -> String {
    let all = verbs();
    let mut page = Page::default();
    page.line("ds boots real Linux distributions in containers.");
    page.line("");
    page.line("Usage: ds VERB [OPERAND...] [OPTION...]");
    for (title, names) in GROUPS {
        page.line("");
        page.line(&format!("{title}:"));
        for verb in names.split(' ').filter_map(|name| all.iter().find(|verb| verb.name == name)) {
            page.entry(&format!("  {}", verb.name), 15, verb.summary());
        }
    }
    page.line("");
    page.line("'ds help VERB' shows the help for a verb.");
    page.line("Exit code: 0 success, or nothing to do; 1 failure; 2 wrong usage.");
    page.0
}

/// What `ds help VERB` and `ds VERB --help` print.
#[must_use]
pub fn verb(verb: &Verb) -> String {
    let mut page = Page::default();
    page.paragraph("Usage: ", 7, &synopsis(verb));
    page.line("");
    page.paragraph("", 0, verb.description);
    if !verb.operands.is_empty() {
        page.line("");
        page.line("Operands:");
        for operand in &verb.operands {
            page.entry(&format!("  {}", operand.placeholder.0), 28, operand.description);
        }
    }
    page.line("");
    page.line("Options:");
    for option in &verb.options {
        page.entry(&format!("  {}", spelling(option)), 28, option.description);
    }
    for note in verb.notes {
        page.line("");
        page.paragraph("", 0, note);
    }
    page.line("");
    page.line(if verb.examples.len() == 1 { "Example:" } else { "Examples:" });
    for example in verb.examples {
        page.line(&format!("  {example}"));
    }
    page.0
}

/// The usage line of a verb, without `Usage: `.
#[must_use]
pub fn synopsis(verb: &Verb) -> String {
    let has_all = verb.long("all").is_some();
    let one_of = ONE_OF.iter().find(|(name, _)| *name == verb.name).map_or(&[][..], |(_, options)| *options);
    let choice: Vec<String> = one_of.iter().filter_map(|name| verb.long(name)).map(bare_synopsis).collect();
    let own = verb.options.iter().filter(|option| !["all", "help"].contains(&option.long));
    let options = own.filter(|option| !one_of.contains(&option.long)).map(option_synopsis);
    let (commands, operands): (Vec<_>, Vec<_>) = verb
        .operands
        .iter()
        .partition(|operand| matches!(operand.arity, Arity::Command | Arity::OptionalCommand));
    let mut words = vec!["ds".to_owned(), verb.name.to_owned()];
    words.extend(operands.into_iter().map(|operand| operand_synopsis(operand, has_all)));
    words.extend((!choice.is_empty()).then(|| format!("({})", choice.join(" | "))));
    words.extend(options);
    words.extend(commands.into_iter().map(|operand| operand_synopsis(operand, has_all)));
    words.join(" ")
}

fn operand_synopsis(operand: &Operand, has_all: bool) -> String {
    let name = operand.placeholder.0;
    match operand.arity {
        Arity::One => name.to_owned(),
        Arity::Optional => format!("[{name}]"),
        Arity::Many if has_all => format!("{name}...|--all"),
        Arity::Many => format!("{name}..."),
        Arity::Command => format!("[--] {name}..."),
        Arity::OptionalCommand => format!("[[--] {name}...]"),
    }
}

fn option_synopsis(option: &Flag) -> String {
    let repeats = if option.repeats { "..." } else { "" };
    format!("[{}]{repeats}", bare_synopsis(option))
}

fn bare_synopsis(option: &Flag) -> String {
    let name = option.short.map_or_else(|| format!("--{}", option.long), |letter| format!("-{letter}"));
    format!("{name}{}", value_synopsis(option))
}

fn value_synopsis(option: &Flag) -> String {
    match option.value {
        FlagValue::None => String::new(),
        FlagValue::Required(name) => format!(" {}", name.0),
        FlagValue::Optional(name) => format!("[={}]", name.0),
    }
}

/// `-u, --user USER`, with long names of all options in one column.
fn spelling(option: &Flag) -> String {
    let short = option.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    format!("{short}--{}{}", option.long, value_synopsis(option))
}

/// Text under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// A term and, from `column` on, its explanation. If the term is too long, the explanation starts on the next line.
    fn entry(&mut self, term: &str, column: usize, text: &str) {
        if term.len() + 2 > column {
            self.line(term);
            self.paragraph(&" ".repeat(column), column, text);
        } else {
            self.paragraph(&format!("{term:column$}"), column, text);
        }
    }

    /// Words broken into lines; `first` leads the first line, `indent` spaces the others.
    fn paragraph(&mut self, first: &str, indent: usize, text: &str) {
        let mut line = first.to_owned();
        let mut empty = true;
        for word in words(text) {
            if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&line);
                line = " ".repeat(indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(&word);
            empty = false;
        }
        self.line(&line);
    }
}

/// Splits at spaces, but keeps `[-u USER]` and `(--a | --b)` in one piece.
fn words(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    for word in text.split_whitespace() {
        match found.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(word);
            }
            _ => found.push(word.to_owned()),
        }
        open = found
            .last()
            .is_some_and(|last| last.matches(['[', '(']).count() > last.matches([']', ')']).count());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_verb_is_in_exactly_one_group() {
        let mut groups: HashMap<&str, usize> = HashMap::new();
        for name in GROUPS.iter().flat_map(|(_, names)| names.split(' ')) {
            *groups.entry(name).or_default() += 1;
        }
        for verb in verbs() {
            assert_eq!(groups.remove(verb.name), Some(1), "{}", verb.name);
        }
        assert!(groups.is_empty(), "groups name unknown verbs: {groups:?}");
    }

    #[test]
    fn each_verb_is_one_line_of_the_overview() {
        let overview = overview();
        for verb in verbs() {
            let line = format!("  {:12} {}\n", verb.name, verb.summary());
            assert!(overview.contains(&line), "{line}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_page_and_none_ends_in_a_space() {
        let pages = verbs().iter().map(super::verb).chain([overview()]).collect::<Vec<_>>();
        for line in pages.iter().flat_map(|page| page.lines()) {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }

    #[test]
    fn usage_lines_show_what_is_optional() {
        let lines = [
            ("run", "ds run NAME [-u USER] [-w WORKDIR] [-e VAR=VALUE]... [-t] [--] CMD..."),
            ("stop", "ds stop NAME...|--all [--timeout SECONDS] [--kill]"),
            ("convert", "ds convert NAME image|dir [--size SIZE] [--json]"),
            ("images", "ds images [SEARCH] [--arch ARCH] [--json]"),
            ("help", "ds help [VERB]"),
            (
                "create",
                "ds create NEW_NAME (--rootfs DIR | --image FILE | --from SRC) [--sha256 DIGITS] [--arch ARCH] \
                 [--size SIZE] [--set KEY=VALUE]... [--password PASSWORD] [--password-file FILE] \
                 [--ssh-key KEY|FILE]... [--user NAME] [--json]",
            ),
        ];
        for (name, expected) in lines {
            let verb = super::super::table::verb(name).expect("a verb");
            assert_eq!(synopsis(&verb), expected);
        }
    }
}
