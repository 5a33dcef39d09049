//! Properties of every INI text, and its possible errors.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Document, Error> {
    Document::parse(text.as_bytes(), Path::new("a.ini"))
}

fn fault(bytes: &[u8]) -> (Kind, Option<(usize, usize)>, String) {
    let error = Document::parse(bytes, Path::new("a.ini")).unwrap_err();
    assert!(!error.render().chars().any(|character| character.is_control() && character != '\n'));
    (error.kind(), error.position(), error.to_string())
}

#[test]
fn reads_layout_of_every_kind() {
    let text = "\u{feff}; first\r\n  [ container ]\t\r\n\r\n \t\r\n\t# indented\r\n  hostname=web\r\nrootfs \t=  /a b=c ; d\r\n[x]\r\nempty=";
    let document = parse(text).unwrap();
    assert_eq!(document.get("container", "hostname"), Some("web"));
    assert_eq!(document.get("container", "rootfs"), Some("/a b=c ; d"));
    assert_eq!(document.get("x", "empty"), Some(""));
    assert_eq!(document.get("x", "hostname"), None);
    assert_eq!(document.sections().collect::<Vec<_>>(), ["container", "x"]);
    assert_eq!(document.entries().count(), 3);
    assert_eq!(document.to_string(), text);
    assert_eq!(parse("").unwrap().to_string(), "");
}

#[test]
fn faults_have_a_place() {
    for (text, kind, position) in [
        (&b"[a]\nb = c\0d\n"[..], Kind::Text, (2, 6)),
        (b"[a]\n\x1b[2J", Kind::Text, (2, 1)),
        (b"[a]\rb=c\n", Kind::Text, (1, 4)),
        (b"[a]\nb=c\r", Kind::Text, (2, 4)),
        (b"[a]\n\xc3\xa9=\xff\nx=y", Kind::Text, (2, 3)),
        (b"\xff", Kind::Text, (1, 1)),
        (b"[a]\n  b", Kind::Syntax, (2, 3)),
        (b"[a]\n = b", Kind::Syntax, (2, 2)),
        (b"[a", Kind::Syntax, (1, 1)),
        (b"[a] # b", Kind::Syntax, (1, 1)),
        (b"[a]b]", Kind::Syntax, (1, 1)),
        (b"[ ]", Kind::Syntax, (1, 1)),
        (b"\n\n b=c\n[a]", Kind::Syntax, (3, 2)),
        (b"[a]\nb=1\n[c]\nb=1\n\n b = 2", Kind::Duplicate, (6, 2)),
        (b"[a]\n[b]\n[ a ]", Kind::Duplicate, (3, 1)),
    ] {
        let (found, place, message) = fault(text);
        assert_eq!((found, place), (kind, Some(position)), "{message}");
    }
    let (_, _, message) = fault(b"[a]\nb=1\nb=2");
    assert_eq!(message, "a.ini:3:1: key 'b' was already on line 2; remove or merge one of them");
}

#[test]
fn sizes_are_bounded() {
    let line = |length: usize| format!("[a]\nb={}\n", "x".repeat(length - 2));
    assert!(parse(&line(LONGEST_LINE)).is_ok());
    assert_eq!(fault(line(LONGEST_LINE + 1).as_bytes()).1, Some((2, 1)));
    let file = "#\n".repeat(LARGEST_FILE / 2);
    assert!(parse(&file).is_ok());
    assert_eq!(fault(format!("{file}#").as_bytes()).1, None);
    let mut document = parse("[a]\nb=1\n").unwrap();
    assert!(document.set("a", "b", &"x".repeat(LONGEST_LINE)).is_err());
    assert!(document.set("a", "c", &"x".repeat(LONGEST_LINE)).is_err());
    assert_eq!(document.to_string(), "[a]\nb=1\n");
}

#[test]
fn edits_change_one_line() {
    for (before, section, key, value, after) in [
        ("[a]\n\tb\t=  1  \n# end", "a", "b", "2", "[a]\n\tb\t=  2  \n# end"),
        ("[a]\nb =\n", "a", "b", "2", "[a]\nb =2\n"),
        ("[a]\n  b=1\n\n# about c\n[c]\n", "a", "d", "2", "[a]\n  b=1\n  d=2\n\n# about c\n[c]\n"),
        ("[a]\n\n[c]\nb=1", "a", "d", "2", "[a]\nd = 2\n\n[c]\nb=1"),
        ("[a]\r\nb=1", "a", "d", "2", "[a]\r\nb=1\r\nd=2\r\n"),
        ("[a]\nb=1", "c", "d", "2", "[a]\nb=1\n\n[c]\nd = 2\n"),
        ("[a]\n\n", "c", "d", "2", "[a]\n\n[c]\nd = 2\n"),
        ("", "c", "d", "2", "[c]\nd = 2\n"),
        ("\u{feff}[a]\nb=1\n", "a", "b", "", "\u{feff}[a]\nb=\n"),
    ] {
        let mut document = parse(before).unwrap();
        document.set(section, key, value).unwrap();
        assert_eq!(document.to_string(), after);
        assert_eq!(document, parse(after).unwrap());
    }
}

#[test]
fn removal_takes_only_the_line() {
    let mut document = parse("[a]\n# about b\nb=1\nc=2\n").unwrap();
    assert!(document.unset("a", "b"));
    assert!(!document.unset("a", "b"));
    assert!(!document.unset("b", "c"));
    assert_eq!(document.to_string(), "[a]\n# about b\nc=2\n");
}

#[test]
fn what_cannot_be_read_back_is_refused() {
    let mut document = parse("[a]\nb=1\n").unwrap();
    for value in ["a\nevil=1", "a\r", "\0", "a\tb", " a", "a ", "\u{a0}a", "\u{85}"] {
        assert!(document.set("a", "b", value).is_err(), "{value:?}");
    }
    for (section, key) in
        [("", "k"), ("a]", "k"), (" a", "k"), ("a", ""), ("a", "[k"), ("a", "#k"), ("a", "k=v"), ("a", "k\n")]
    {
        assert!(document.set(section, key, "v").is_err(), "{section:?} {key:?}");
    }
    assert_eq!(document.to_string(), "[a]\nb=1\n");
}

/// Texts that are likely to be valid INI, with odd layout.
fn ini_text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[ \t]{0,2}\\[[ ]?[a-e][ ]?\\][ \t]{0,2}",
        "[ \t]{0,2}[a-h][ \t]{0,2}=[ \t]{0,2}[ -~é]{0,8}[ \t]{0,2}",
        "[ \t]{0,2}[#;][ -~]{0,8}",
        "[ \t]{0,2}",
    ];
    let ended = (line, prop_oneof![4 => Just("\n"), 1 => Just("\r\n")]).prop_map(|(line, end)| line + end);
    (any::<bool>(), prop::collection::vec(ended, 0..20), any::<bool>()).prop_map(|(marked, lines, open)| {
        let mut text = if marked { "\u{feff}[z]\n".to_owned() } else { "[z]\n".to_owned() };
        text.extend(lines);
        if open { text.trim_end_matches(['\r', '\n']).to_owned() } else { text }
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match Document::parse(&bytes, Path::new("a")) {
            Ok(document) => prop_assert_eq!(document.to_string().into_bytes(), bytes),
            Err(error) => prop_assert!(!error.to_string().contains('\n') && !error.render().is_empty()),
        }
    }

    #[test]
    fn saving_is_the_inverse_of_loading(text in prop_oneof![ini_text(), "(\\PC|[\\[\\]=#;\r\n\t]){0,60}"]) {
        match parse(&text) {
            Ok(document) => prop_assert_eq!(document.to_string(), text),
            Err(error) => prop_assert!(!error.to_string().contains('\n') && !error.render().is_empty()),
        }
    }

    #[test]
    fn getting_is_the_inverse_of_setting(text in ini_text(), section in "[a-g]", key in "[a-j]|\\PC{1,3}", value in "\\PC{0,12}") {
        if let Ok(mut document) = parse(&text) {
            let before = document.clone();
            match document.set(&section, &key, &value) {
                Err(_) => prop_assert_eq!(document, before),
                Ok(()) => {
                    prop_assert_eq!(document.get(&section, &key), Some(value.as_str()));
                    prop_assert_eq!(&parse(&document.to_string()).unwrap(), &document);
                    only_one_line_differs(&before, &document, &section, &key)?;
                }
            }
        }
    }

    #[test]
    fn unsetting_removes_one_line(text in ini_text(), section in "[a-e]", key in "[a-h]") {
        if let Ok(mut document) = parse(&text) {
            let before = document.clone();
            let there = before.get(&section, &key).is_some();
            prop_assert_eq!(document.unset(&section, &key), there);
            prop_assert_eq!(document.get(&section, &key), None);
            prop_assert_eq!(before.lines.len() - document.lines.len(), usize::from(there));
            prop_assert_eq!(parse(&document.to_string()).unwrap(), document);
        }
    }
}

/// All lines of `before` except that of `key` are in `after`, in order and unchanged; nothing else is new
/// except the entry, its section's header and a blank line above that.
fn only_one_line_differs(
    before: &Document,
    after: &Document,
    section: &str,
    key: &str,
) -> Result<(), TestCaseError> {
    let changed = after.entry(section, key).map(|entry| entry.place).unwrap();
    let others: Vec<&str> = after
        .lines
        .iter()
        .enumerate()
        .filter(|(place, _)| *place != changed)
        .map(|(_, line)| line.text.as_str())
        .collect();
    let mut expected: Vec<&str> = before.lines.iter().map(|line| line.text.as_str()).collect();
    let header = format!("[{section}]");
    match before.entry(section, key) {
        Some(entry) => drop(expected.remove(entry.place)),
        None if before.sections().any(|name| name == section) => {}
        None => {
            if expected.last().is_some_and(|line| !line.trim().is_empty()) {
                expected.push("");
            }
            expected.push(&header);
        }
    }
    prop_assert_eq!(others, expected);
    Ok(())
}
