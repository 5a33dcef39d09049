//! The container's own name in /etc/hostname and /etc/hosts. hostname(5), hosts(5).

use std::borrow::Cow;

use super::Facts;

/// What templates of LXC leave where the name belongs.
const PLACEHOLDER: &str = "LXC_NAME";
/// The address that Debian gives to a name without one.
const ADDRESS: &str = "127.0.1.1";
/// Behind a line of ours.
const MARK: &str = "# droidspaces";
/// For a system that has no such file.
const LOOPBACK: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Names a system that has no name.
pub(super) fn hostname(facts: &Facts, text: Option<&str>) -> Option<String> {
    let name = &facts.hostname;
    match text {
        Some(text) if !text.trim().is_empty() => {
            text.contains(PLACEHOLDER).then(|| text.replace(PLACEHOLDER, name))
        }
        _ => Some(format!("{name}\n")),
    }
}

/// A file that the one with the name servers can cover.
pub(super) fn resolv_conf(_: &Facts, text: Option<&str>) -> Option<String> {
    text.is_none().then(|| "# The name servers of network.dns show here while the container runs.\n".into())
}

/// Makes the container's name known to itself; every other line stays.
pub(super) fn hosts(facts: &Facts, text: Option<&str>) -> Option<String> {
    let name = facts.hostname.as_str();
    let old = text.unwrap_or(LOOPBACK);
    let filled: Cow<'_, str> =
        if old.contains(PLACEHOLDER) { old.replace(PLACEHOLDER, name).into() } else { old.into() };
    // A line of ours may have come along with a copy of another container.
    let mut new: String = filled.split_inclusive('\n').filter(|line| !stale(line, name)).collect();
    if !new.lines().any(|line| names(line, name)) {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        let short = name.split_once('.').map(|(short, _)| format!(" {short}")).unwrap_or_default();
        new.push_str(&format!("{ADDRESS}\t{name}{short}\t{MARK}\n"));
    }
    (text != Some(&new)).then_some(new)
}

/// A line of ours with another name.
fn stale(line: &str, name: &str) -> bool {
    line.trim_end().ends_with(MARK) && line.starts_with(ADDRESS) && !names(line, name)
}

fn names(line: &str, name: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default();
    line.split_whitespace().skip(1).any(|word| word.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str) -> Facts {
        Facts {
            hostname: name.into(),
            android: false,
            subsystems: "usb".parse().unwrap(),
            seed: "yes".parse().unwrap(),
        }
    }

    #[test]
    fn the_own_name_is_known_and_other_lines_stay() {
        let web = facts("web");
        assert_eq!(hosts(&web, None).unwrap(), format!("{LOOPBACK}127.0.1.1\tweb\t# droidspaces\n"));
        let mine = "127.0.0.1 localhost\n10.0.0.7 nas # mine";
        let new = hosts(&web, Some(mine)).unwrap();
        assert_eq!(new, format!("{mine}\n127.0.1.1\tweb\t# droidspaces\n"));
        assert_eq!(hosts(&web, Some(&new)), None);
        assert_eq!(hosts(&web, Some("127.0.1.1 WEB\n")), None, "names have no case");
        assert_eq!(hosts(&web, Some("127.0.1.1 LXC_NAME\n")).unwrap(), "127.0.1.1 web\n");
        assert!(hosts(&web, Some("1.2.3.4 x # web\n")).unwrap().contains("# web\n127.0.1.1"));
        assert_eq!(
            hosts(&facts("db"), Some(&new)).unwrap(),
            format!("{mine}\n127.0.1.1\tdb\t# droidspaces\n")
        );
        assert!(hosts(&facts("a.b.c"), Some("")).unwrap().contains("\ta.b.c a\t"));
    }

    #[test]
    fn a_name_is_kept_and_a_placeholder_filled() {
        let web = facts("web");
        assert_eq!(hostname(&web, Some("mine\n")), None);
        for text in [None, Some(""), Some("LXC_NAME\n")] {
            assert_eq!(hostname(&web, text).unwrap(), "web\n");
        }
    }
}
