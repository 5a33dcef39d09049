//! Bind mounts in the configuration: `/source:/target[:OPTION…]`, comma-separated.
//!
//! In a path, a backslash escapes a comma, a colon or a backslash. mount(8), `--bind`.

use std::fmt;
use std::str::FromStr;

use super::invalid::{Invalid, quoted};
use super::list::{Escaped, Item, field, items, push, show, split, unescape, unescaped};
use super::path::{ContainerPath, HostPath};

/// One directory or file of the host that appears in the container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bind {
    /// The source on the host.
    pub source: HostPath,
    /// The target in the container; never `/`.
    pub target: ContainerPath,
    /// The restrictions of this mount and of all mounts below it.
    pub options: BindOptions,
}

/// The restrictions of a bind mount and of all mounts below it: mount(8), "Filesystem-independent mount options".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BindOptions {
    /// No writes.
    pub read_only: bool,
    /// No effect of set-user-ID bits and file capabilities.
    pub nosuid: bool,
    /// No access to device nodes.
    pub nodev: bool,
    /// No execution of programs.
    pub noexec: bool,
}

impl BindOptions {
    /// Sets the option of this name; `None` if there is no such option.
    fn set(&mut self, word: &str) -> Option<()> {
        match word {
            // The default. `access` refuses it together with `ro`.
            "rw" => {}
            "ro" => self.read_only = true,
            "nosuid" => self.nosuid = true,
            "nodev" => self.nodev = true,
            "noexec" => self.noexec = true,
            _ => return None,
        }
        Some(())
    }

    fn words(self) -> impl Iterator<Item = &'static str> {
        let all =
            [(self.read_only, "ro"), (self.nosuid, "nosuid"), (self.nodev, "nodev"), (self.noexec, "noexec")];
        all.into_iter().filter_map(|(is_set, word)| is_set.then_some(word))
    }
}

/// The bind mounts of one container: no two with the same target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct BindList(Vec<Bind>);

impl BindList {
    /// Adds `bind` at the end.
    ///
    /// # Errors
    /// If the list is full, or has a bind mount with the same target.
    pub fn push(&mut self, bind: Bind) -> Result<(), Invalid> {
        push(&mut self.0, bind)
    }

    /// The bind mounts in the order they were written.
    pub fn as_slice(&self) -> &[Bind] {
        &self.0
    }

    /// The list `text` with the sources that `change` returns; `None` if it returns none. Everything else is preserved,
    /// valid or not.
    pub fn with_sources(text: &str, change: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let mut changed = false;
        let items = split(text, ',').into_iter().map(|(_, item)| {
            let (source, rest) =
                unescaped(item, ':').next().map_or((item, ""), |(colon, _)| item.split_at(colon));
            let blanks = source.len() - source.trim_start().len();
            let new = unescape((0, &source[blanks..])).ok().and_then(|source| change(&source));
            changed |= new.is_some();
            new.map_or_else(|| item.to_owned(), |new| format!("{}{}{rest}", &source[..blanks], Escaped(&new)))
        });
        let list = items.collect::<Vec<_>>().join(",");
        changed.then_some(list)
    }

    /// The bind mounts, by value.
    pub fn into_vec(self) -> Vec<Bind> {
        self.0
    }
}

impl Item for Bind {
    const MAX: usize = 16;
    const TOO_MANY: (&str, &str) = ("bind mounts", "mount a directory that contains several of them");

    fn conflict(&self, earlier: &Self) -> Option<String> {
        let target = &self.target;
        (*target == earlier.target)
            .then(|| format!("two bind mounts have the target {}", quoted(target.as_str())))
    }
}

/// Refuses `ro` and `rw` of one bind mount. `earlier` is the one of them that was written first.
fn access<'a>(earlier: &mut Option<&'a str>, (offset, word): (usize, &'a str)) -> Result<(), Invalid> {
    if !["ro", "rw"].contains(&word) {
        return Ok(());
    }
    if earlier.is_some_and(|earlier| earlier != word) {
        return Err(Invalid::new("a bind mount is both ro and rw", "write one of them").at(offset));
    }
    *earlier = Some(word);
    Ok(())
}

impl FromStr for Bind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const HINT: &str = "write /source:/target or /source:/target:ro:nosuid:nodev:noexec, with '\\' before ',' ':' or '\\' in a path";
        if let Some((offset, _)) = unescaped(text, ',').next() {
            let why = format!("{} is more than one bind mount", quoted(text));
            return Err(Invalid::new(why, HINT).at(offset));
        }
        let fields = split(text, ':');
        let [source, target, ref words @ ..] = fields[..] else {
            return Err(Invalid::new(format!("{} is not a source and a target", quoted(text)), HINT));
        };
        let (mut options, mut earlier) = (BindOptions::default(), None);
        for (offset, word) in words {
            access(&mut earlier, (*offset, word))?;
            if options.set(word).is_none() {
                let why = format!("{} is not one of ro, rw, nosuid, nodev and noexec", quoted(word));
                return Err(Invalid::new(why, HINT).at(*offset));
            }
        }
        let source = field::<HostPath>(source)?;
        let at = target.0;
        let target = field::<ContainerPath>(target)?;
        if target.is_root() || target.as_str() == "/dev" {
            let why = format!("a bind mount has the target {}", quoted(target.as_str()));
            return Err(Invalid::new(why, "mount it on a directory below").at(at));
        }
        Ok(Self { source, target, options })
    }
}

impl FromStr for BindList {
    type Err = Invalid;

    /// Reads a comma-separated list and ignores blanks around commas; an empty text is an empty list.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (mut list, mut earlier) = (Self::default(), None);
        for (start, item) in items(text) {
            // Commas may also separate options, as in mount(8), because no path begins like an option.
            if let Some(last) = list.0.last_mut()
                && last.options.set(item).is_some()
            {
                access(&mut earlier, (start, item))?;
                continue;
            }
            earlier =
                split(item, ':').into_iter().skip(2).map(|(_, word)| word).find(|word| word.starts_with('r'));
            let bind = item.parse::<Bind>().map_err(|fault| fault.moved(start))?;
            list.push(bind).map_err(|fault| fault.at(start))?;
        }
        Ok(list)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.as_str();
        write!(formatter, "{}:{}", Escaped(self.source.as_str()), Escaped(target))?;
        let mut words = self.options.words().peekable();
        // A trailing blank would be ignored; an option after it preserves it.
        if words.peek().is_none() && target.ends_with(char::is_whitespace) {
            formatter.write_str(":rw")?;
        }
        words.try_for_each(|word| write!(formatter, ":{word}"))
    }
}

impl fmt::Display for BindList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, formatter)
    }
}

text_in_serde!(Bind, BindList);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Result<BindList, Invalid> {
        text.parse()
    }

    #[test]
    fn forms() {
        for (text, shown) in [
            ("", ""),
            ("/a:/b", "/a:/b"),
            ("/a:/b:rw", "/a:/b"),
            ("/a/:/b/:ro, /c:/d", "/a:/b:ro,/c:/d"),
            (r"/a\:1:/b\,2:ro,/c\\:/d", r"/a\:1:/b\,2:ro,/c\\:/d"),
            ("/a:/b :rw", "/a:/b :rw"),
            ("/a:/b:noexec:ro:nosuid", "/a:/b:ro:nosuid:noexec"),
            ("/a:/b:ro,nosuid, nodev,/c:/d", "/a:/b:ro:nosuid:nodev,/c:/d"),
            ("/a:/b:ro,ro,/c:/d:rw,/e:/f,ro", "/a:/b:ro,/c:/d,/e:/f:ro"),
        ] {
            assert_eq!(list(text).unwrap().to_string(), shown, "{text}");
        }
        let binds = list(r"/a\:\\b:/c\,d:ro").unwrap();
        assert_eq!(binds.as_slice()[0].source.as_str(), r"/a:\b");
        assert_eq!(binds.as_slice()[0].target.as_str(), "/c,d");
        assert!(binds.as_slice()[0].options.read_only);
    }

    #[test]
    fn faults_say_where() {
        for (text, offset) in [
            ("/a", 0),
            ("/a:b", 3),
            ("a:/b", 0),
            ("/a:/", 3),
            ("/a:/b/..", 6),
            ("/a:/b:rx", 6),
            ("/a:/b:ro:x", 9),
            ("/a:/b:ro:rw", 9),
            ("/a:/b:rw:noexec:ro", 16),
            ("/a:/b:rw,nodev, ro,/c:/d", 16),
            ("ro,/a:/b", 0),
            ("/a:/b,", 6),
            ("/a:/b,,/c:/d", 6),
            ("/a:/b, /c:/b/", 7),
            (r"/a\x:/b", 2),
            (r"/a:/b\", 5),
            ("/a:/b,/c:/d\u{1b}", 11),
        ] {
            let fault = list(text).unwrap_err();
            assert_eq!(fault.offset(), offset, "{text}: {fault}");
            assert!(!fault.to_string().chars().any(char::is_control));
        }
        assert!("/a:/b,/c:/d".parse::<Bind>().is_err());
    }

    #[test]
    fn sixteen_are_enough() {
        let many = |count: usize| (0..count).map(|n| format!("/s:/t{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(list(&many(16)).unwrap().as_slice().len(), 16);
        assert!(list(&many(17)).unwrap_err().why().contains("more than 16"));
    }

    proptest! {
        #[test]
        fn lists_round_trip(parts in prop::collection::vec(("/[a-c:,\\\\ é./]{1,8}", "/[a-c:,\\\\ é/]{1,8}", any::<u8>()), 0..16)) {
            let mut binds = BindList::default();
            for (source, target, set) in parts {
                if let (Ok(source), Ok(target)) = (source.parse(), target.parse::<ContainerPath>()) {
                    // The root and repeated targets are refused elsewhere; all others must survive the round trip.
                    let usable = !target.is_root();
                    let options = BindOptions { read_only: set & 1 != 0, nosuid: set & 2 != 0, nodev: set & 4 != 0, noexec: set & 8 != 0 };
                    let _ = usable.then(|| binds.push(Bind { source, target, options }));
                }
            }
            prop_assert_eq!(list(&binds.to_string()).unwrap(), binds.clone());
            prop_assert_eq!(list(binds.to_string().trim()).unwrap(), binds);
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}|[/a:,\\\\ro.]{0,20}") {
            if let Ok(binds) = list(&text) {
                prop_assert_eq!(list(&binds.to_string()).unwrap(), binds);
            }
        }
    }
}
