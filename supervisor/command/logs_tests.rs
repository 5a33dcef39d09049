use std::io::Cursor;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

fn last(text: &str, wanted: u64) -> (String, u64) {
    let mut file = Cursor::new(text.as_bytes());
    let found = seek_to_last(&mut file, wanted).unwrap();
    let mut rest = String::new();
    // With zero lines, the position does not matter: it is at the end.
    file.read_to_string(&mut rest).unwrap();
    (rest, found)
}

#[test]
fn the_last_lines_are_found_from_the_end() {
    assert_eq!(last("a\nb\nc\n", 2), ("b\nc\n".into(), 2));
    assert_eq!(last("a\nb\nc", 2), ("b\nc".into(), 2));
    assert_eq!(last("a\nb\n", 5), ("a\nb\n".into(), 2));
    assert_eq!(last("\n\n", 1), ("\n".into(), 1));
    assert_eq!(last("a\n", 0), (String::new(), 0));
    assert_eq!(last("", 3), (String::new(), 0));
}

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ds-logs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self) -> Log {
        Log { path: self.0.join("console.log") }
    }

    fn output(&self) -> Output {
        let options = OpenOptions::new().create(true).append(true).read(true).open(self.0.join("output"));
        Output { file: options.unwrap(), filter: None }
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(self.0.join("output")).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.0.join(name)).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn lines_are_counted_across_the_file_that_was_put_aside() {
    let place = Place::new("lines");
    assert!(place.log().print(None, &mut place.output()).unwrap().is_none(), "a missing log is not an error");
    place.write("console.log.1", "1\n2\n3\n");
    place.write("console.log", "4\n5\n");
    place.log().print(Some(3), &mut place.output()).unwrap();
    assert_eq!(place.printed(), "3\n4\n5\n");
    place.log().print(Some(1), &mut place.output()).unwrap();
    place.log().print(None, &mut place.output()).unwrap();
    assert_eq!(place.printed(), "3\n4\n5\n5\n1\n2\n3\n4\n5\n");
}

#[test]
fn following_survives_rotation_and_truncation() {
    let place = Place::new("follow");
    let (log, mut output) = (place.log(), place.output());
    place.write("console.log", "a\n");
    let current = log.print(Some(0), &mut output).unwrap();
    place.write("console.log", "b\n");
    let current = log.catch_up(current, &mut output).unwrap();
    assert_eq!(place.printed(), "b\n");
    // Rotated between two reads, with output before and after; and then once more.
    place.write("console.log", "c\n");
    let aside = || std::fs::rename(place.0.join("console.log"), place.0.join("console.log.1")).unwrap();
    aside();
    place.write("console.log", "d\n");
    let current = log.catch_up(current, &mut output).unwrap();
    place.write("console.log", "e\n");
    aside();
    place.write("console.log", "f\n");
    aside();
    place.write("console.log", "g\n");
    let current = log.catch_up(current, &mut output).unwrap();
    assert_eq!(place.printed(), "b\nc\nd\ne\nf\ng\n");
    std::fs::write(place.0.join("console.log"), "").unwrap();
    let current = log.catch_up(current, &mut output).unwrap();
    place.write("console.log", "h\n");
    log.catch_up(current, &mut output).unwrap();
    assert_eq!(place.printed(), "b\nc\nd\ne\nf\ng\nh\n");
}

#[test]
fn only_a_regular_file_is_a_log() {
    let place = Place::new("kind");
    symlink("/etc/passwd", place.0.join("console.log")).unwrap();
    assert!(place.log().print(None, &mut place.output()).is_err());
    std::fs::remove_file(place.0.join("console.log")).unwrap();
    nix::unistd::mkfifo(&place.0.join("console.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = place.log().print(None, &mut place.output()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

proptest! {
    #[test]
    fn the_last_lines_are_the_last_lines(text in "[ab\n]{0,60}", wanted in 1..8_u64) {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let kept = lines.len().min(usize::try_from(wanted).unwrap());
        let expected = (lines[lines.len() - kept..].concat(), kept as u64);
        prop_assert_eq!(last(&text, wanted), expected);
    }
}
