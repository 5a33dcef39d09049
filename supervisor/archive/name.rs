//! Names of members: which ones are permitted, and how they are displayed.
//!
//! Owns the rules. A leading `/` and all `.` components are dropped, as in GNU tar; `..` is refused, and so are paths
//! that the kernel refuses (path_resolution(7), PATH_MAX and NAME_MAX of limits.h). Never accesses a file system.

use anyhow::{Result, bail, ensure};

/// PATH_MAX without the NUL.
pub const LONGEST: usize = 4095;
/// NAME_MAX.
const LONGEST_PART: usize = 255;
/// Maximum depth of directories: each one is held open while something is created below it.
pub const DEEPEST: usize = 256;
/// Maximum length of a name in a message, in characters.
const SHOWN: usize = 120;

/// The components of a member's name; empty for the top of the tree, for which an empty name also stands.
///
/// # Errors
/// A name with `..` or a NUL, or one that is too long or too deep.
pub fn parts(name: &[u8]) -> Result<Vec<&[u8]>> {
    ensure!(name.len() <= LONGEST, "{}: the name is longer than {LONGEST} bytes", shown(name));
    ensure!(!name.contains(&0), "{}: the name contains a NUL byte", shown(name));
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => bail!("{}: the name leads outside the tree", shown(name)),
            _ if part.len() > LONGEST_PART => {
                bail!("{}: a part of the name is longer than {LONGEST_PART} bytes", shown(name))
            }
            _ => parts.push(part),
        }
    }
    ensure!(parts.len() <= DEEPEST, "{}: more than {DEEPEST} directories deep", shown(name));
    Ok(parts)
}

/// A name for a message: one line, without control characters, truncated.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_top() {
        let none: [&[u8]; 0] = [];
        assert_eq!(parts(b"./").unwrap(), none);
        assert_eq!(parts(b"/").unwrap(), none);
        assert_eq!(parts(b"").unwrap(), none);
        assert_eq!(parts(b"/etc//./passwd").unwrap(), [b"etc".as_slice(), b"passwd"]);
        assert_eq!(parts(b"...").unwrap(), [b"..."]);
        assert_eq!(parts(b"a/\xff/\n").unwrap(), [b"a".as_slice(), b"\xff", b"\n"]);
        for (name, why) in [
            (b"../a".as_slice(), "../a: the name leads outside the tree"),
            (b"a/..", "a/..: the name leads outside the tree"),
            (b"a\0b", "a\\0b: the name contains a NUL byte"),
        ] {
            assert_eq!(parts(name).unwrap_err().to_string(), why);
        }
        assert!(parts(&[b'a'; 256]).is_err() && parts(&[b'a'; 255]).is_ok());
        assert!(parts(&b"a/".repeat(257)).is_err() && parts(&b"a/".repeat(256)).is_ok());
        assert!(parts(&b"a/".repeat(3000)).is_err());
    }

    #[test]
    fn messages_are_one_short_line() {
        assert_eq!(shown(b"a\n\x1b[1m\xff"), "a\\n\\u{1b}[1m\u{fffd}");
        assert_eq!(shown(&[b'x'; 4000]).chars().count(), SHOWN + 1);
    }
}
