//! Compares the documentation with the program and the sources: links, paths, verbs, command lines, names of tests.
//!
//! Reads files only. It cannot verify the statements of the text.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use ds::cli::{self, table};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of pages, from the top of the source tree.
const FOLDERS: [&str; 4] = [".", "docs", "module", "webroot"];
/// Pages for users, which mention every verb.
const FOR_USERS: [&str; 2] = ["README.md", "docs/guide.md"];
/// Prefixes of paths of the source tree.
const TOP_FOLDERS: [&str; 7] = [".ci/", "docs/", "module/", "supervisor/", "tests/", "webroot/", "xtask/"];
/// The names of the program.
const PROGRAMS: [&str; 4] = ["ds", "droidspaces", "nspawn", "getroot"];

/// The parts of one page.
struct Page {
    path: PathBuf,
    /// Lines of prose, tables and headings.
    prose: Vec<String>,
    /// Lines of blocks that show a terminal.
    terminal: Vec<String>,
}

impl Page {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (mut prose, mut terminal, mut block) = (Vec::new(), Vec::new(), None);
        for line in text.lines() {
            match (line.strip_prefix("```"), block) {
                (Some(kind), None) => block = Some(kind),
                (Some(_), Some(_)) => block = None,
                (None, None) => prose.push(line.to_owned()),
                (None, Some("console")) => terminal.push(line.to_owned()),
                (None, Some(_)) => {}
            }
        }
        assert!(block.is_none(), "{path}: a code block has no end");
        assert!(text.starts_with("# "), "{path}: it does not begin with a heading");
        Self { path: path.into(), prose, terminal }
    }

    /// All pages.
    fn all() -> Vec<Self> {
        let files = FOLDERS.iter().flat_map(|folder| fs::read_dir(folder).expect(folder));
        let paths = files.map(|entry| entry.expect("entry").path());
        let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        pages.map(|path| Self::read(path.to_str().expect("UTF-8").trim_start_matches("./"))).collect()
    }

    /// The texts between backquotes.
    fn spans(&self) -> Vec<String> {
        let odd = |line: &String| {
            line.split('`').skip(1).step_by(2).map(|span| span.replace("\\|", "|")).collect::<Vec<_>>()
        };
        self.prose.iter().flat_map(odd).collect()
    }

    /// Targets of links.
    fn links(&self) -> Vec<String> {
        let of_line = |line: &String| {
            let ends = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            ends.map(|(target, _)| target.to_owned()).collect::<Vec<_>>()
        };
        self.prose.iter().flat_map(of_line).collect()
    }

    /// Anchors of the headings, as common renderers create them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose.iter().filter(|line| line.starts_with('#'));
        headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
    }

    /// Command lines: after a prompt in blocks that show a terminal, and between backquotes in prose.
    fn command_lines(&self) -> Vec<String> {
        let prompts = ["# ", "$ "];
        let typed = self.terminal.iter().filter_map(|line| prompts.iter().find_map(|p| line.strip_prefix(p)));
        let lines = typed.map(str::to_owned).chain(self.spans());
        lines
            .filter(|line| line.split_once(' ').is_some_and(|(program, _)| PROGRAMS.contains(&program)))
            .collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Splits a line like a shell, in the subset that the pages use: quotes, and operators that end a command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None => match c {
                '\'' | '"' => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                ' ' => words.extend(word.take()),
                '|' | '>' | '<' | ';' | '&' => break,
                _ => word.get_or_insert_default().push(c),
            },
        }
    }
    words.extend(word);
    words
}

#[test]
fn links_have_targets() {
    for page in Page::all() {
        let folder = page.path.parent().expect("a parent");
        for link in page.links().iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.path.clone() } else { folder.join(file) };
            assert!(target.exists(), "{}: {link} does not exist", page.path.display());
            if !anchor.is_empty() {
                let there = Page::read(target.to_str().expect("UTF-8")).anchors().contains(anchor);
                assert!(there, "{}: {link} has no such heading", page.path.display());
            }
        }
    }
}

/// Detects a merge that was committed with conflicts.
#[test]
fn no_page_is_empty() {
    for Page { path, prose, .. } in Page::all() {
        assert!(prose.iter().any(|line| line.starts_with("# ")), "{}: no title", path.display());
    }
}

#[test]
fn no_file_has_conflict_markers() {
    let output =
        Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output();
    let listed = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    // A source archive has no history: everything except build results is a source.
    let files = listed.map_or_else(
        || below(Path::new(".")),
        |names| {
            let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
        },
    );
    assert!(files.len() > 100, "only {} files were found", files.len());
    for path in files {
        // A deleted file is listed until the deletion is committed.
        let Ok(bytes) = fs::read(&path) else { continue };
        let line = bytes.split(|byte| *byte == b'\n').position(is_conflict_marker);
        assert!(line.is_none(), "{}:{}: a conflict marker", path.display(), line.unwrap_or(0) + 1);
    }
}

fn is_conflict_marker(line: &[u8]) -> bool {
    let is_run = |byte: u8| line.len() >= 8 && line[..7].iter().all(|each| *each == byte) && line[7] == b' ';
    is_run(b'<') || is_run(b'>') || is_run(b'|')
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let is_built = path.file_name().is_some_and(|name| name == "target" || name == ".git");
        if path.is_dir() && !path.is_symlink() && !is_built {
            files.extend(below(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}

#[test]
fn conflict_markers_are_distinguished_from_text() {
    assert!(is_conflict_marker(format!("{} HEAD", "<".repeat(7)).as_bytes()));
    assert!(is_conflict_marker(format!("{} main", ">".repeat(7)).as_bytes()));
    assert!(!is_conflict_marker(b"======="));
    assert!(!is_conflict_marker(b"<<<"));
}

#[test]
fn paths_of_the_source_tree_exist() {
    for page in Page::all() {
        for span in page.spans() {
            let is_path =
                TOP_FOLDERS.iter().any(|top| span.starts_with(top)) && !span.contains([' ', '*', '<']);
            assert!(!is_path || Path::new(&span).exists(), "{}: {span} does not exist", page.path.display());
        }
    }
}

#[test]
fn every_verb_is_in_a_page_for_users() {
    let lines: Vec<_> = FOR_USERS.iter().flat_map(|path| Page::read(path).command_lines()).collect();
    for verb in table::verbs() {
        let used = lines.iter().any(|line| words(line).get(1).is_some_and(|word| word == verb.name));
        assert!(used, "no page for users has `ds {}`", verb.name);
    }
}

#[test]
fn command_lines_are_valid() {
    let mut count = 0;
    for page in Page::all() {
        for line in page.command_lines() {
            let words = words(&line);
            let (program, rest) = words.split_first().expect("a program");
            count += 1;
            if page.spans().contains(&line) && rest.len() == 1 && table::verb(&rest[0]).is_some() {
                // Only the name of a verb.
                continue;
            }
            if let Err(usage) = cli::parse::command_line(program, rest) {
                assert!(usage.to_stdout, "{}: {line}: {}", page.path.display(), usage.text);
            }
        }
    }
    assert!(count > 50, "only {count} command lines were found");
}

/// In tables with a column `test`, each row names an existing test.
#[test]
fn tests_named_in_pages_exist() {
    let mut sources = String::new();
    for folder in ["supervisor", "tests", "xtask/src"] {
        collect(Path::new(folder), &mut sources);
    }
    let mut count = 0;
    for page in Page::all() {
        let mut column = None;
        for line in &page.prose {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if !line.starts_with('|') {
                column = None;
            } else if column.is_none() {
                column = Some(cells.iter().position(|cell| *cell == "test"));
            } else if let Some(cell) = column.flatten().and_then(|index| cells.get(index)) {
                for name in cell.split('`').skip(1).step_by(2) {
                    let there = sources.contains(&format!("fn {name}("));
                    assert!(there, "{}: there is no test {name}", page.path.display());
                    count += 1;
                }
            }
        }
    }
    assert!(count > 20, "only {count} names of tests were found");
}

fn collect(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path).expect("source"));
        }
    }
}

/// Root managers read this file with sed(1), first line first, and compare versions by number.
#[test]
fn module_prop_is_as_root_managers_read_it() {
    let text = fs::read_to_string("module.prop").expect("module.prop");
    let lines: Vec<(&str, &str)> =
        text.lines().map(|line| line.split_once('=').expect("key=value")).collect();
    assert!(!text.contains(['\r', '\'', '"', '\\']) && text.ends_with('\n'));
    let keys: Vec<_> = lines.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, ["id", "name", "version", "versionCode", "author", "description"]);
    assert_eq!(lines[0].1, "droidspaces-supervisor");
    assert_eq!(lines[2].1, env!("CARGO_PKG_VERSION"));
    let number = |part: &str| part.parse::<u32>().expect("a number");
    let parts =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    let [major, minor, patch] = parts.map(number);
    assert_eq!(number(lines[3].1), major * 10_000 + minor * 100 + patch);
}

#[test]
fn words_are_split_as_in_a_shell() {
    assert_eq!(words("ds run web -- sh -c 'a b' > file"), ["ds", "run", "web", "--", "sh", "-c", "a b"]);
    assert_eq!(words("ds list --json | head"), ["ds", "list", "--json"]);
    assert_eq!(words("ds set a ''"), ["ds", "set", "a", ""]);
}
