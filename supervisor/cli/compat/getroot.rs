//! `getroot DISTRO[:RELEASE] [-o DIR]`, `getroot --list`, `getroot --search DISTRO` → `ds pull` and `ds images`.
//!
//! Owns the option names of getroot. Like the original, it creates a directory named after the system, or the one given
//! with `-o`, sets root's password to `1` and writes a public name server. Unlike the original, it verifies the
//! download.

use super::grammar::{OldOption, Refusal, Tool, operand, read, words};
use crate::cli::table::Arity;

/// What `getroot --help` prints.
const HELP: &str = "\
Usage: getroot DISTRO[:RELEASE] [-o DIR]
       getroot --list
       getroot --search DISTRO

This is ds, called as getroot: it downloads a root file system and
unpacks it into ./DISTRO_RELEASE, or into DIR. 'ds pull' and 'ds images' are
the same with more options.

Options:
  -d, --distro DISTRO   the distribution
  -r, --release NAME    its release
  -o, --output DIR      unpack into this directory
  -l, --list            list all systems
  -s, --search DISTRO   list the releases of a distribution
  -v, --version         print the version
  -h, --help            show this help
";

#[derive(Clone, Copy)]
enum Meaning {
    Distribution,
    Release,
    Architecture,
    Output,
    List,
    Search,
    Version,
}

const OPTIONS: &[OldOption<Meaning>] = &[
    OldOption::valued("distro", Some('d'), "DISTRO", Meaning::Distribution),
    OldOption::valued("release", Some('r'), "NAME", Meaning::Release),
    OldOption::valued("arch", Some('a'), "ARCH", Meaning::Architecture),
    OldOption::valued("output", Some('o'), "DIR", Meaning::Output),
    OldOption::switch("list", Some('l'), Meaning::List),
    OldOption::valued("search", Some('s'), "DISTRO", Meaning::Search),
    OldOption::switch("version", Some('v'), Meaning::Version),
];

/// Translates the words after `getroot`.
pub(super) fn translate(given: &[String]) -> Result<Vec<String>, Refusal> {
    if given.is_empty() {
        return Err(Refusal::Help(HELP));
    }
    let line = read(Tool::Getroot, HELP, OPTIONS, vec![operand("DISTRO", Arity::Optional)], given)?;
    let (mut distribution, mut release, mut output) = (line.operands.first().cloned(), None, None);
    let mut architecture = None;
    for (option, value) in &line.options {
        match option.meaning {
            Meaning::List => return Ok(words(["images"])),
            Meaning::Search => return Ok(words(["images", "--", value])),
            Meaning::Version => return Ok(words(["version"])),
            Meaning::Architecture => architecture = Some(value.clone()),
            Meaning::Distribution if distribution.is_some() => {
                return Err(Refusal::Mistake("the distribution is given twice".to_owned()));
            }
            Meaning::Distribution => distribution = Some(value.clone()),
            Meaning::Release => release = Some(value.clone()),
            Meaning::Output => output = Some(value.clone()),
        }
    }
    let Some(mut source) = distribution else {
        return Err(Refusal::Mistake("DISTRO is missing; see 'getroot --help'".to_owned()));
    };
    if let Some(release) = release {
        if source.contains(':') {
            return Err(Refusal::Mistake("the release is given twice".to_owned()));
        }
        source = format!("{source}:{release}");
    }
    let directory = output.map_or_else(|| "--unpack".to_owned(), |directory| format!("--output={directory}"));
    let mut words = vec!["pull".to_owned(), directory];
    words.extend(["--password=1", "--dns=1.1.1.1"].map(str::to_owned));
    words.extend(architecture.map(|architecture| format!("--arch={architecture}")));
    words.extend(["--".to_owned(), source]);
    Ok(words)
}
