//! The keywords of extended headers: those that ds supports, and those that it may ignore. All others are reported, so
//! that no information is lost silently.
//!
//! Owns both lists. POSIX.1-2024 pax(1), "pax Extended Header Keywords"; star(5); the manuals of GNU tar and
//! libarchive; the keywords of Red Hat's tar for SELinux.

use std::collections::BTreeMap;

use super::name::shown;

/// Maximum number of reported keywords; a malicious archive could have a new one in each member.
const MAX_NAMED: usize = 10;

/// The prefix of extended attributes; the rest of the keyword is their name.
pub const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
/// The same in libarchive's form: the name in URL encoding, the value in base64.
pub const ATTRIBUTE_IN_BASE64: &[u8] = b"LIBARCHIVE.xattr.";

/// Keywords without information for a tree, or with information that a header contains too; one that ends with a dot is
/// a prefix.
const LEFT_ALONE: &[&str] = &[
    // Times that cannot be set, and names of owners, whose numbers are used.
    "atime",
    "ctime",
    "LIBARCHIVE.creationtime",
    "uname",
    "gname",
    // Comments, and their encoding.
    "comment",
    "charset",
    "hdrcharset",
    // The original position and name of the file.
    "SCHILY.dev",
    "SCHILY.devmajor",
    "SCHILY.devminor",
    "SCHILY.ino",
    "SCHILY.nlink",
    "SCHILY.filetype",
    "SCHILY.tarfiletype",
    "SCHILY.realsize",
    "SCHILY.archtype",
    "SCHILY.release",
    "SCHILY.volhdr.",
    "GNU.",
    // Windows distinguishes links to files and to directories; Linux does not.
    "LIBARCHIVE.symlinktype",
    // Inode flags such as immutable: a root file system must be deletable.
    "SCHILY.fflags",
    // The policy and the keys of another system: xattr(7), carries().
    "RHT.security.selinux",
    "SCHILY.xattr.security.selinux",
    "SCHILY.xattr.security.ima",
    "SCHILY.xattr.security.evm",
    "LIBARCHIVE.xattr.security.selinux",
    "LIBARCHIVE.xattr.security.ima",
    "LIBARCHIVE.xattr.security.evm",
];

/// Ignored information of an archive.
#[derive(Debug, Clone, Default)]
pub struct PassedOver {
    counts: BTreeMap<Vec<u8>, u64>,
    further: u64,
    unreadable_lists: u64,
}

impl PassedOver {
    /// Notes an unsupported keyword.
    pub fn note(&mut self, keyword: &[u8]) {
        if may_be_left_alone(keyword) {
            return;
        }
        if let Some(count) = self.counts.get_mut(keyword) {
            *count += 1;
        } else if self.counts.len() < MAX_NAMED {
            self.counts.insert(keyword.to_vec(), 1);
        } else {
            self.further += 1;
        }
    }

    /// Notes an invalid access control list.
    pub fn note_unreadable(&mut self) {
        self.unreadable_lists += 1;
    }

    /// One line for each keyword.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let line = |(keyword, count): (&Vec<u8>, &u64)| {
            format!(
                "{} of {} was left out: ds does not support this keyword",
                shown(keyword),
                members(*count)
            )
        };
        let mut lines: Vec<String> = self.counts.iter().map(line).collect();
        if self.further > 0 {
            lines.push(format!("{} have further keywords that ds does not support", members(self.further)));
        }
        if self.unreadable_lists > 0 {
            let members = members(self.unreadable_lists);
            lines.push(format!(
                "the access control lists of {members} cannot be read and were left out; their groups have no access"
            ));
        }
        lines
    }
}

fn members(count: u64) -> String {
    if count == 1 { "1 member".to_owned() } else { format!("{count} members") }
}

fn may_be_left_alone(keyword: &[u8]) -> bool {
    LEFT_ALONE.iter().any(|known| match known.strip_suffix('.') {
        Some(_) => keyword.starts_with(known.as_bytes()),
        None => keyword == known.as_bytes(),
    })
}

/// A name in libarchive's form: special bytes as `%` and two hexadecimal digits.
#[must_use]
pub fn from_url(mut text: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let digit = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let byte = match (digit(0), digit(1)) {
            (Some(high), Some(low)) if *first == b'%' => u8::try_from(high << 4 | low).ok(),
            _ => None,
        };
        name.push(byte.unwrap_or(*first));
        text = if byte.is_some() { &rest[2..] } else { rest };
    }
    name
}

/// Base64 of RFC 4648, with or without `=` at its end; `None` if it is invalid.
#[must_use]
pub fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let mut bytes = Vec::with_capacity(digits / 4 * 3 + 2);
    for group in text[..digits].chunks(4) {
        let mut sum = 0_u32;
        for place in 0..4 {
            let digit = match group.get(place) {
                Some(digit) => ALPHABET.iter().position(|known| known == digit)?,
                None => 0,
            };
            sum = sum << 6 | u32::try_from(digit).ok()?;
        }
        let whole = sum.to_be_bytes();
        bytes.extend(match group.len() {
            4 => &whole[1..],
            3 => &whole[1..3],
            2 => &whole[1..2],
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_unknown_is_told_once_with_its_count() {
        let mut passed = PassedOver::default();
        for keyword in ["atime", "GNU.anything", "SCHILY.fflags", "RHT.security.selinux", "SCHILY.volhdr.x"] {
            passed.note(keyword.as_bytes());
        }
        assert_eq!(passed.warnings(), [""; 0]);
        for keyword in ["APK-TOOLS.checksum.SHA1", "SCHILY.acl.ace", "APK-TOOLS.checksum.SHA1", "GNUx"] {
            passed.note(keyword.as_bytes());
        }
        let told = passed.warnings();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("APK-TOOLS.checksum.SHA1 of 2 members was left out"), "{told:?}");
        for number in 0..100 {
            passed.note(format!("X.{number}").as_bytes());
        }
        let told = passed.warnings();
        assert_eq!(told.len(), MAX_NAMED + 1);
        assert!(told[MAX_NAMED].starts_with("93 members"), "{told:?}");
    }

    #[test]
    fn base64_and_urls_are_read() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zg", b"f"), ("Zm8=", b"fo"), ("+/+/", b"\xfb\xff\xbf")]
        {
            assert_eq!(from_base64(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(from_base64(b"Z"), None);
        assert_eq!(from_base64(b"Zg=g"), None);
        assert_eq!(from_url(b"user.a%3db%2G%"), b"user.a=b%2G%");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (from_base64(&bytes), from_url(&bytes));
        }
    }
}
