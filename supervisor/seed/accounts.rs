//! Android's network groups in the account files. passwd(5), group(5), gshadow(5), adduser.conf(5).
//!
//! Android's kernels permit sockets only to members of such a group (CONFIG_ANDROID_PARANOID_NETWORK), and netd's
//! programs check them as well (system/core: android_filesystem_config.h). Owns the entries for these groups. The files
//! are edited directly; no tool of the distribution is run.

use super::Facts;

/// Sockets, raw sockets, configuration of interfaces.
const GROUPS: [(&str, u32); 3] = [("aid_inet", 3003), ("aid_net_raw", 3004), ("aid_net_admin", 3005)];
/// How many of them an ordinary user needs: the first ones.
const NEEDED: usize = 2;
/// Accounts that become members of all of them, if they exist.
const MEMBERS: &str = "root";
/// apt's own account, which keeps only its primary group (apt.conf(5), `APT::Sandbox::User`).
const APT: &str = "_apt";
/// The key of adduser.conf(5).
const EXTRA: &str = "EXTRA_GROUPS";

/// The groups that an ordinary user needs on this machine to use the network.
#[must_use]
pub fn needed_groups(android: bool) -> &'static [(&'static str, u32)] {
    if android { &GROUPS[..NEEDED] } else { &[] }
}

/// The text with complete lines, followed by another text.
fn with_lines(text: &str, lines: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}{lines}")
}

fn field(line: &str, number: usize) -> Option<&str> {
    line.split(':').nth(number)
}

/// Adds those groups whose id is not in use.
pub(super) fn group(facts: &Facts, text: Option<&str>) -> Option<String> {
    let text = text.filter(|_| facts.android)?;
    let mut missing = String::new();
    for (name, number) in GROUPS {
        let id = number.to_string();
        let known = text.lines().any(|line| field(line, 2) == Some(&id) || field(line, 0) == Some(name));
        if !known {
            missing.push_str(&format!("{name}:x:{number}:{MEMBERS}\n"));
        }
    }
    (!missing.is_empty()).then(|| with_lines(text, &missing))
}

/// Adds the groups to gshadow(5), without passwords.
pub(super) fn gshadow(facts: &Facts, text: Option<&str>) -> Option<String> {
    let text = text.filter(|_| facts.android)?;
    let known = |name: &str| text.lines().any(|line| field(line, 0) == Some(name));
    let missing: String = GROUPS
        .iter()
        .filter(|(name, _)| !known(name))
        .map(|(name, _)| format!("{name}:!::{MEMBERS}\n"))
        .collect();
    (!missing.is_empty()).then(|| with_lines(text, &missing))
}

/// Makes the first group the primary group of apt's account.
pub(super) fn passwd(facts: &Facts, text: Option<&str>) -> Option<String> {
    let text = text.filter(|_| facts.android)?;
    let id = GROUPS[0].1.to_string();
    let new: String = text
        .split_inclusive('\n')
        .map(|line| {
            let mut fields: Vec<&str> = line.split(':').collect();
            if fields.len() > 4 && fields[0] == APT {
                fields[3] = &id;
            }
            fields.join(":")
        })
        .collect();
    (new != text).then_some(new)
}

/// Configures adduser(8) to add new users to the groups that ordinary programs need.
pub(super) fn adduser(facts: &Facts, text: Option<&str>) -> Option<String> {
    let text = text.filter(|_| facts.android)?;
    if text.lines().any(|line| line.trim_start().starts_with(EXTRA)) {
        return None;
    }
    let lines = format!("{EXTRA}=\"aid_inet aid_net_raw\"\nADD_{EXTRA}=1\n");
    Some(with_lines(text, &lines))
}

/// The same for useradd(8), which knows this key since shadow 4.14; ids, since the groups may have other names.
pub(super) fn useradd(facts: &Facts, text: Option<&str>) -> Option<String> {
    let text = text.filter(|_| facts.android)?;
    let set = text.lines().any(|line| line.trim_start().starts_with("GROUPS="));
    let ids: Vec<String> = needed_groups(true).iter().map(|(_, id)| id.to_string()).collect();
    (!set).then(|| with_lines(text, &format!("GROUPS={}\n", ids.join(","))))
}

/// Without PAM, login(1) adds users who log in on the console to them.
pub(super) fn login_defs(facts: &Facts, text: Option<&str>) -> Option<String> {
    const KEY: &str = "CONSOLE_GROUPS";
    let text = text.filter(|_| facts.android)?;
    let set = text.lines().any(|line| line.split_whitespace().next() == Some(KEY));
    let names: Vec<&str> = needed_groups(true).iter().map(|(name, _)| *name).collect();
    (!set).then(|| with_lines(text, &format!("{KEY}\t{}\n", names.join(":"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(android: bool) -> Facts {
        Facts {
            hostname: "web".into(),
            android,
            subsystems: "usb".parse().unwrap(),
            seed: "yes".parse().unwrap(),
        }
    }

    #[test]
    fn groups_are_added_once_and_on_android_only() {
        let phone = facts(true);
        assert_eq!(group(&facts(false), Some("root:x:0:\n")), None);
        assert_eq!(group(&phone, None), None);
        let new = group(&phone, Some("root:x:0:\ninet:x:3003:me")).unwrap();
        assert_eq!(new, "root:x:0:\ninet:x:3003:me\naid_net_raw:x:3004:root\naid_net_admin:x:3005:root\n");
        assert_eq!(group(&phone, Some(&new)), None);
        assert_eq!(
            gshadow(&phone, Some("root:*::\n")).unwrap(),
            "root:*::\naid_inet:!::root\naid_net_raw:!::root\naid_net_admin:!::root\n"
        );
    }

    #[test]
    fn apt_and_new_users_are_in_them() {
        let phone = facts(true);
        let text = "root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n";
        let new = passwd(&phone, Some(text)).unwrap();
        assert_eq!(new, text.replace(":65534:", ":3003:"));
        assert_eq!(passwd(&phone, Some(&new)), None);
        let new = adduser(&phone, Some("#EXTRA_GROUPS=\"users\"\n")).unwrap();
        assert!(new.contains("\nEXTRA_GROUPS=\"aid_inet aid_net_raw\"\nADD_EXTRA_GROUPS=1\n"), "{new}");
        assert_eq!(adduser(&phone, Some(&new)), None);
        assert_eq!(adduser(&phone, Some("EXTRA_GROUPS=\"mine\"\n")), None);
        assert_eq!(useradd(&phone, Some("# GROUPS=\n")).unwrap(), "# GROUPS=\nGROUPS=3003,3004\n");
        assert_eq!(useradd(&phone, Some("GROUPS=mine\n")), None);
        let new = login_defs(&phone, Some("#CONSOLE_GROUPS x\n")).unwrap();
        assert_eq!(new, "#CONSOLE_GROUPS x\nCONSOLE_GROUPS\taid_inet:aid_net_raw\n");
        assert_eq!(login_defs(&phone, Some(&new)), None);
        assert_eq!(login_defs(&facts(false), Some("")), None);
    }
}
