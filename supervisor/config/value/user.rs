//! Users on a command line: `name`, `uid`, `name:group`, `uid:gid`.
//!
//! Digits are always a number and never looked up as a name, because programs that fell back from one to the other
//! have run commands as uid 0 (CVE-2024-40635, CVE-2026-30892). Names are looked up only in the container's own
//! passwd(5) and group(5), elsewhere.

use std::fmt;
use std::str::FromStr;

use super::invalid::{Invalid, quoted};

/// The name of a user or group: a letter or `_`, then letters, digits, `_`, `.`, `-`, and a final `$` perhaps;
/// 32 characters at most (useradd(8), systemd's "relaxed" names without the exotic ones).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccountName(String);

impl AccountName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user or a group, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A numeric ID except 4294967295, which means "unchanged" to setresuid(2).
    Id(u32),
    /// A name to look up in the container.
    Name(AccountName),
}

/// The user of a command, with an optional group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserSpec {
    /// The user.
    pub user: Account,
    /// The primary group; that of the user if `None`.
    pub group: Option<Account>,
}

impl FromStr for AccountName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let body = text.strip_suffix('$').unwrap_or(text);
        let first = |character: char| character.is_ascii_alphabetic() || character == '_';
        let rest = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
        if text.len() <= 32 && body.starts_with(first) && body.chars().all(rest) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            format!("{} is not the name of a user or group", quoted(text)),
            "use a name of up to 32 letters, digits, '_', '.' or '-', or a number",
        ))
    }
}

impl FromStr for Account {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Name);
        }
        match text.parse() {
            Ok(id) if id != u32::MAX => Ok(Self::Id(id)),
            _ => Err(Invalid::new(format!("id {} is out of range", quoted(text)), "use 0 to 4294967294")),
        }
    }
}

impl FromStr for UserSpec {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((user, group)) = text.split_once(':') else {
            return Ok(Self { user: text.parse()?, group: None });
        };
        let group = group.parse().map_err(|fault: Invalid| fault.moved(user.len() + 1))?;
        Ok(Self { user: user.parse()?, group: Some(group) })
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

impl fmt::Display for UserSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(formatter, "{}:{group}", self.user),
            None => self.user.fmt(formatter),
        }
    }
}

text_in_serde!(AccountName, Account, UserSpec);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms() {
        for (text, shown) in [
            ("root", "root"),
            ("0", "0"),
            ("0001000", "1000"),
            ("4294967294", "4294967294"),
            ("www-data:www-data", "www-data:www-data"),
            ("1000:Users", "1000:Users"),
            ("_apt:65534", "_apt:65534"),
            ("host$", "host$"),
        ] {
            assert_eq!(text.parse::<UserSpec>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            ":",
            "a:",
            ":a",
            "a:b:c",
            "-1",
            "+0",
            "0x0",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "1a",
            "a b",
            "a/b",
            "$",
            "a$b",
            "é",
            " root",
            "root\n",
            "٣",
            "-a",
            &"a".repeat(33),
        ] {
            assert!(bad.parse::<UserSpec>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn digits_are_never_a_name(text in "[0-9]{1,24}") {
            match text.parse::<UserSpec>() {
                Ok(spec) => prop_assert_eq!(Account::Id(text.parse::<u32>().unwrap()), spec.user),
                Err(_) => prop_assert!(text.parse::<u128>().unwrap() >= u128::from(u32::MAX)),
            }
        }

        #[test]
        fn what_parses_round_trips(text in "\\PC{0,12}|[a-z0-9_.:$-]{0,12}") {
            if let Ok(spec) = text.parse::<UserSpec>() {
                prop_assert_eq!(spec.to_string().parse::<UserSpec>().unwrap(), spec);
            }
        }
    }
}
