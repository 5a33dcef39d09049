//! The names of other containers of the same network in /etc/hosts. hosts(5).
//!
//! Owns only lines with its mark. They are valid while the container runs and are removed when it ends. The next
//! seeding removes lines that a power cut has left. Other lines may have any encoding.

use anyhow::Result;

use crate::rootfs::files::HOSTS;
use crate::rootfs::root::Root;

/// The mark at the end of lines of ds.
const MARK: &str = "# droidspaces network";
/// Files above this size are not edited.
const LARGEST: u64 = 1 << 20;

/// A line with the mark.
#[must_use]
pub fn line(address: &str, names: &[String]) -> String {
    format!("{address}\t{}\t{MARK}\n", names.join(" "))
}

/// The text without lines of ds, and without the zeroes that a power cut may leave in their place.
#[must_use]
pub fn without(text: &[u8]) -> Vec<u8> {
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let lines = text[..end].split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.trim_ascii_end().ends_with(MARK.as_bytes())).flatten().copied().collect()
}

/// Replaces the lines of ds; does nothing if the file does not exist or is a link.
///
/// # Errors
/// If the file cannot be read or written.
pub fn write(root: &Root, lines: &str) -> Result<()> {
    if root.resolve_no_follow(HOSTS.path()).is_err() || root.read_link(HOSTS.path()).is_some() {
        return Ok(());
    }
    let old = root.read(HOSTS, LARGEST)?;
    let mut new = without(&old);
    let only_adds = new == old;
    if !lines.is_empty() && !new.is_empty() && !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    new.extend_from_slice(lines.as_bytes());
    // The flush of a replaced file would take most of a start.
    let added = new.strip_prefix(old.as_slice()).filter(|_| only_adds).unwrap_or_default();
    if new == old || !added.is_empty() && root.append(HOSTS, added).is_ok() {
        return Ok(());
    }
    root.replace(HOSTS, &new, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn only_own_lines_change() {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::open(tree.path()).unwrap();
        let db = line("10.89.40.3", &["db".into(), "db.ds".into()]);
        write(&root, &db).unwrap();
        assert!(!tree.path().join("etc").exists(), "a system without the file");
        fs::create_dir(tree.path().join("etc")).unwrap();
        let file = tree.path().join("etc/hosts");
        fs::write(&file, "127.0.0.1 localhost\n10.0.0.1 mine # droidspaces").unwrap();
        write(&root, &db).unwrap();
        let text = "127.0.0.1 localhost\n10.0.0.1 mine # droidspaces\n";
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{text}10.89.40.3\tdb db.ds\t{MARK}\n"));
        write(&root, "").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        fs::remove_file(&file).unwrap();
        symlink("/elsewhere", &file).unwrap();
        write(&root, &db).unwrap();
        assert!(file.is_symlink());
    }

    #[test]
    fn lines_in_another_encoding_are_kept() {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::open(tree.path()).unwrap();
        fs::create_dir(tree.path().join("etc")).unwrap();
        let file = tree.path().join("etc/hosts");
        let latin1 = b"10.0.0.7 nas # B\xfcro\n";
        fs::write(&file, latin1).unwrap();
        let db = line("10.89.40.3", &["db".into()]);
        write(&root, &db).unwrap();
        assert_eq!(fs::read(&file).unwrap(), [&latin1[..], db.as_bytes()].concat());
        write(&root, "").unwrap();
        assert_eq!(fs::read(&file).unwrap(), latin1);
    }

    #[test]
    fn lines_are_added_in_place_and_only_to_a_file_with_one_name() {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::open(tree.path()).unwrap();
        fs::create_dir(tree.path().join("etc")).unwrap();
        let (file, other) = (tree.path().join("etc/hosts"), tree.path().join("other"));
        let (text, db) = ("127.0.0.1 localhost\n", line("10.89.40.3", &["db".into()]));
        let number = || fs::metadata(&file).unwrap().ino();
        fs::write(&file, text).unwrap();
        let before = number();
        write(&root, &db).unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap(), number()), (format!("{text}{db}"), before));
        // Of a file that another tree may share, nothing changes in place.
        fs::write(&file, text).unwrap();
        fs::hard_link(&file, &other).unwrap();
        write(&root, &db).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{text}{db}"));
        assert_eq!(fs::read_to_string(&other).unwrap(), text);
        // A power cut during the addition.
        fs::write(&file, format!("{text}\0\0\0")).unwrap();
        write(&root, &db).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{text}{db}"));
    }

    proptest! {
        #[test]
        fn whatever_is_added_is_removed(text in "[a-z#.\\n\\t ]{0,60}\n", address in "[0-9.]{1,12}", name in "[a-z]{1,9}") {
            let with = format!("{text}{}", line(&address, &[name]));
            prop_assert_eq!(without(with.as_bytes()), without(text.as_bytes()));
        }
    }
}
