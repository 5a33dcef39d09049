//! Memory file systems in the configuration: `/target[:OPTION…]`, comma-separated. tmpfs(5).
//!
//! In a path, a backslash escapes a comma, a colon or a backslash.

use std::fmt;
use std::str::FromStr;

use super::invalid::{Invalid, quoted};
use super::list::{Escaped, Item, field, read, show, split};
use super::number::Size;
use super::path::ContainerPath;

/// One memory file system in the container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tmpfs {
    /// The target in the container; never `/`.
    pub target: ContainerPath,
    /// Its size; half of the memory if `None`.
    pub size: Option<Size>,
    /// Permission bits of its top directory.
    pub mode: u16,
    /// Whether programs on it cannot be executed.
    pub noexec: bool,
}

/// The memory file systems of one container: no two with the same target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TmpfsList(Vec<Tmpfs>);

/// Permission bits of a directory for all users, such as /tmp.
const MODE: u16 = 0o1777;

impl TmpfsList {
    /// The file systems, by value.
    #[must_use]
    pub fn into_vec(self) -> Vec<Tmpfs> {
        self.0
    }
}

impl Item for Tmpfs {
    const MAX: usize = 16;
    const TOO_MANY: (&str, &str) =
        ("memory file systems", "mount one on a directory that contains several of the targets");

    fn conflict(&self, earlier: &Self) -> Option<String> {
        let target = &self.target;
        (*target == earlier.target)
            .then(|| format!("two memory file systems have the target {}", quoted(target.as_str())))
    }
}

impl FromStr for Tmpfs {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const HINT: &str = "write /target or /target:size=64M:mode=1777:noexec";
        let fields = split(text, ':');
        let [target, ref words @ ..] = fields[..] else {
            return Err(Invalid::new(format!("{} has no target", quoted(text)), HINT));
        };
        let at = target.0;
        let target = field::<ContainerPath>(target)?;
        if target.is_root() || target.as_str() == "/dev" {
            let why = format!("a tmpfs has the target {}", quoted(target.as_str()));
            return Err(Invalid::new(why, "mount it on a directory below").at(at));
        }
        let mut tmpfs = Self { target, size: None, mode: MODE, noexec: false };
        for (index, (offset, word)) in words.iter().enumerate() {
            let has = |option: &str| {
                let mut earlier = words[..index].iter().filter_map(|(_, word)| word.split_once('='));
                earlier.any(|(earlier, _)| earlier == option)
            };
            if word.split_once('=').is_some_and(|(option, _)| has(option)) {
                let why = format!("{} is the second value of this option", quoted(word));
                return Err(Invalid::new(why, "write one of them").at(*offset));
            }
            let fault =
                || Invalid::new(format!("{} is not an option of a tmpfs", quoted(word)), HINT).at(*offset);
            match word.split_once('=') {
                Some(("size", size)) => {
                    let size: Size = size.parse().map_err(|fault: Invalid| fault.moved(offset + 5))?;
                    if size.bytes() < 4096 {
                        return Err(Invalid::new(format!("size {size} is less than 4K"), HINT).at(*offset));
                    }
                    tmpfs.size = Some(size);
                }
                Some(("mode", mode)) => {
                    let bits = u16::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777);
                    tmpfs.mode = bits.filter(|_| !mode.starts_with('+')).ok_or_else(fault)?;
                }
                None if *word == "noexec" => tmpfs.noexec = true,
                _ => return Err(fault()),
            }
        }
        Ok(tmpfs)
    }
}

impl FromStr for TmpfsList {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        read(text).map(Self)
    }
}

impl fmt::Display for Tmpfs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.as_str();
        write!(formatter, "{}", Escaped(target))?;
        if let Some(size) = self.size {
            write!(formatter, ":size={size}")?;
        }
        // A trailing blank would be ignored; an option after it preserves it.
        if self.mode != MODE || target.ends_with(char::is_whitespace) {
            write!(formatter, ":mode={:o}", self.mode)?;
        }
        if self.noexec { formatter.write_str(":noexec") } else { Ok(()) }
    }
}

impl fmt::Display for TmpfsList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, formatter)
    }
}

text_in_serde!(Tmpfs, TmpfsList);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_and_faults() {
        for (text, shown) in [
            ("", ""),
            ("/tmp", "/tmp"),
            ("/tmp/:mode=1777, /var/cache:size=65536:noexec", "/tmp,/var/cache:size=64K:noexec"),
            (r"/a\,b:mode=700", r"/a\,b:mode=700"),
        ] {
            assert_eq!(text.parse::<TmpfsList>().unwrap().to_string(), shown, "{text}");
        }
        for (text, offset) in [
            ("tmp", 0),
            ("/", 0),
            ("/a:size=1", 3),
            ("/a:size=x", 8),
            ("/a:mode=9", 3),
            ("/a:mode=17777", 3),
            ("/a:exec", 3),
            ("/a:size=1G:size=1G", 11),
            ("/b,/a:mode=700:noexec:mode=755", 22),
            ("/a,/b/..", 6),
            ("/a,/a/", 3),
            ("/a,", 3),
        ] {
            assert_eq!(text.parse::<TmpfsList>().unwrap_err().offset(), offset, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_lists_round_trip(text in "\\PC{0,40}|[/a:,\\\\ size=mod1K]{0,24}") {
            if let Ok(list) = text.parse::<TmpfsList>() {
                prop_assert_eq!(list.to_string().parse::<TmpfsList>().unwrap(), list);
            }
        }
    }
}
