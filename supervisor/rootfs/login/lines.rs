//! Lines of account files. passwd(5), shadow(5), group(5), gshadow(5).
//!
//! Pure functions from a file's text to its new text. They change one line and preserve every other byte.

/// Fields of passwd(5).
pub(super) const PASSWORD: usize = 1;
pub(super) const USER: usize = 2;
pub(super) const HOME: usize = 5;
pub(super) const SHELL: usize = 6;
/// The field of the id in group(5).
pub(super) const GROUP: usize = 2;
/// The field of the members in group(5) and gshadow(5).
pub(super) const MEMBERS: usize = 3;

/// Ids of ordinary users: useradd(8), UID_MIN and UID_MAX of login.defs(5).
const ORDINARY: std::ops::Range<u32> = 1000..60000;

/// The field of the line that begins with `name`.
pub(super) fn field<'a>(text: &'a str, name: &str, number: usize) -> Option<&'a str> {
    text.lines().find(|line| line.split(':').next() == Some(name))?.split(':').nth(number)
}

/// The name in the first line whose id is `id`.
pub(super) fn name_of(text: &str, id: u32) -> Option<&str> {
    let id = id.to_string();
    let line = text.lines().find(|line| line.split(':').nth(GROUP) == Some(&id))?;
    line.split(':').next()
}

/// The text with another value of one field; `None` if there is no such line.
pub(super) fn with_field(text: &str, name: &str, number: usize, value: &str) -> Option<String> {
    let mut found = false;
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| {
            let mut fields: Vec<&str> = line.split(':').collect();
            if found || fields[0] != name || fields.len() <= number {
                return line.to_owned();
            }
            found = true;
            fields[number] = value;
            fields.join(":")
        })
        .collect();
    found.then(|| lines.join("\n"))
}

/// The text with one more line.
pub(super) fn with_line(text: &str, line: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}{line}\n")
}

/// The text with a user in a group; `None` if there is no such group.
pub(super) fn with_member(text: &str, group: &str, user: &str) -> Option<String> {
    let members = field(text, group, MEMBERS)?;
    if members.split(',').any(|member| member == user) {
        return Some(text.to_owned());
    }
    let comma = if members.is_empty() { "" } else { "," };
    with_field(text, group, MEMBERS, &format!("{members}{comma}{user}"))
}

/// An ID that no user or group has.
pub(super) fn free_id(passwd: &str, group: &str) -> Option<u32> {
    let ids = |text: &str| -> Vec<u32> {
        text.lines().filter_map(|line| line.split(':').nth(USER)?.parse().ok()).collect()
    };
    let taken = [ids(passwd), ids(group)].concat();
    ORDINARY.into_iter().find(|id| !taken.contains(id))
}

/// The field of a locked password: the hash after a `!`, as passwd(1) locks an account, so that it can be
/// unlocked again. For an account with SSH keys it is `*`, which does not lock the account for sshd(8).
/// `None` if it is already locked.
pub(super) fn locked(hash: &str, has_keys: bool) -> Option<String> {
    let mark = if has_keys { '*' } else { '!' };
    match hash {
        "" => Some("*".to_owned()),
        hash if hash.starts_with('*') || hash.starts_with('!') && !has_keys => None,
        hash => Some(format!("{mark}{}", hash.trim_start_matches('!'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_line_changes_and_the_rest_stays() {
        let text = "daemon:*:19000:0:99999:7:::\nroot:*:19000:0:99999:7:::\n\nrooty:!::\n";
        let expected = "daemon:*:19000:0:99999:7:::\nroot:$6$x:19000:0:99999:7:::\n\nrooty:!::\n";
        assert_eq!(with_field(text, "root", PASSWORD, "$6$x").as_deref(), Some(expected));
        assert_eq!(with_field(text, "nobody", PASSWORD, "x"), None);
        assert_eq!(field(text, "rooty", PASSWORD), Some("!"));
    }

    #[test]
    fn members_are_added_once() {
        let text = "sudo:x:27:\nwheel:x:10:root\n";
        let new = with_member(text, "sudo", "me").unwrap();
        assert_eq!(new, "sudo:x:27:me\nwheel:x:10:root\n");
        assert_eq!(with_member(&new, "sudo", "me").unwrap(), new);
        assert_eq!(with_member(text, "wheel", "me").unwrap(), "sudo:x:27:\nwheel:x:10:root,me\n");
        assert_eq!(with_member(text, "none", "me"), None);
        assert_eq!(name_of(text, 10), Some("wheel"));
    }

    #[test]
    fn an_id_is_free_as_a_user_and_as_a_group() {
        assert_eq!(free_id("root:x:0:0::/root:/bin/sh\n", ""), Some(1000));
        assert_eq!(free_id("a:x:1000:100::/:\nb:x:1002:1:::\n", "c:x:1001:\n"), Some(1003));
    }

    #[test]
    fn a_lock_can_be_opened_again_and_lets_keys_in() {
        for (hash, keys, expected) in [
            ("", false, Some("*")),
            ("*", false, None),
            ("!", false, None),
            ("!*", true, Some("**")),
            ("!", true, Some("*")),
            ("$6$x", false, Some("!$6$x")),
            ("$6$x", true, Some("*$6$x")),
        ] {
            assert_eq!(locked(hash, keys).as_deref(), expected, "{hash}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_only_the_line_changes(text in "([a-z]{0,3}:?){0,6}(\n|.){0,40}", name in "[a-z]{1,3}") {
            field(&text, &name, MEMBERS);
            free_id(&text, &text);
            name_of(&text, 1000);
            with_member(&text, &name, "me");
            if let Some(new) = with_field(&text, &name, PASSWORD, "x") {
                prop_assert_eq!(new.split('\n').count(), text.split('\n').count());
                prop_assert_eq!(field(&new, &name, PASSWORD), Some("x"));
            }
        }
    }
}
