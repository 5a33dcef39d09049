//! The user of a command: users and groups according to the container's own files.
//!
//! Reads the container's /etc/passwd and /etc/group through [`Root`], with a size limit, and never asks the host's name
//! services. Digits are always a number, never a name (`config::value::UserSpec`). passwd(5), group(5), initgroups(3).

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};

use crate::config::value::{Account, UserSpec};
use crate::rootfs::files::{self, GuestFile};
use crate::rootfs::root::Root;
use crate::sys::errno_of;

/// Maximum size of either file, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;
/// Maximum number of supplementary groups of a process, NGROUPS_MAX of the kernel.
const MAX_GROUPS: usize = 65536;
/// The group of a user without an entry: the group `nobody`, which has no permissions.
const NO_GROUP: u32 = 65534;

/// A user, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name; empty for a number without a name.
    pub name: Option<String>,
    /// User id.
    pub user: Uid,
    /// Primary group.
    pub group: Gid,
    /// Supplementary groups, the primary one first.
    pub groups: Vec<Gid>,
    /// Home directory.
    pub home: String,
    /// Login shell; empty if the file has none.
    pub shell: String,
}

impl Identity {
    /// Whether this user must not log in: nologin(8), false(1).
    #[must_use]
    pub fn may_not_log_in(&self) -> bool {
        ["nologin", "false"].contains(&self.shell.rsplit('/').next().unwrap_or_default())
    }
}

/// One line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    user: u32,
    group: u32,
    home: String,
    shell: String,
}

/// Looks up a user in a container; root if `wanted` is absent.
///
/// # Errors
/// A name that does not exist in the container, or a file that cannot be read.
pub fn look_up(root: &Root, wanted: Option<&UserSpec>) -> Result<Identity> {
    // Root works without the files, so that a user can repair them.
    let is_root = wanted.is_none_or(|wanted| wanted.user == Account::Id(0) && wanted.group.is_none());
    let read = |file| match read(root, file) {
        Err(error) if is_root => {
            log::warn!("{error:#}; continuing without it");
            Ok(String::new())
        }
        other => other,
    };
    resolve(&read(files::PASSWD)?, &read(files::GROUP)?, wanted)
}

/// The content of a file; empty if it does not exist.
fn read(root: &Root, file: GuestFile) -> Result<String> {
    let bytes = match root.read(file, LARGEST + 1) {
        Err(error) if errno_of(&error) == Some(Errno::ENOENT) => return Ok(String::new()),
        other => other.context("look up the user in the container")?,
    };
    if bytes.len() as u64 > LARGEST {
        bail!("{} of the container is larger than {LARGEST} bytes", file.as_str());
    }
    // Bytes that are not UTF-8 are in unused fields or lines.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn resolve(users: &str, groups: &str, wanted: Option<&UserSpec>) -> Result<Identity> {
    let user = wanted.map_or(&Account::Id(0), |wanted| &wanted.user);
    let found = match user {
        Account::Id(id) => entries(users).find(|entry| entry.user == *id),
        Account::Name(name) => entries(users).find(|entry| entry.name == name.as_str()),
    };
    let entry = match (found, user) {
        (Some(entry), _) => entry,
        (None, Account::Id(id)) => nameless(*id),
        (None, Account::Name(name)) => {
            bail!("the container has no user '{name}'; see its /etc/passwd, or use a number")
        }
    };
    let group = match wanted.and_then(|wanted| wanted.group.as_ref()) {
        None => None,
        Some(Account::Id(id)) => Some(*id),
        Some(Account::Name(name)) => match group_id(groups, name.as_str()) {
            None => bail!("the container has no group '{name}'; see its /etc/group, or use a number"),
            found => found,
        },
    };
    let mut all = vec![Gid::from_raw(group.unwrap_or(entry.group))];
    if group.is_none() && !entry.name.is_empty() {
        for id in memberships(groups, &entry.name).map(Gid::from_raw) {
            if !all.contains(&id) && all.len() < MAX_GROUPS {
                all.push(id);
            }
        }
    }
    Ok(Identity {
        name: (!entry.name.is_empty()).then_some(entry.name),
        user: Uid::from_raw(entry.user),
        group: all[0],
        groups: all,
        home: if entry.home.starts_with('/') { entry.home } else { "/".into() },
        shell: entry.shell,
    })
}

/// A number without an entry in the file. Root needs none, so that a container without /etc/passwd can be repaired.
fn nameless(user: u32) -> Entry {
    let root = user == 0;
    Entry {
        name: if root { "root".into() } else { String::new() },
        user,
        group: if root { 0 } else { NO_GROUP },
        home: if root { "/root".into() } else { "/".into() },
        shell: String::new(),
    }
}

/// The valid lines of passwd(5); like the C library, it ignores invalid ones.
fn entries(file: &str) -> impl Iterator<Item = Entry> {
    file.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _password, user, group, _comment, home, shell] = fields[..] else { return None };
        Some(Entry {
            name: Some(name).filter(|name| !name.is_empty())?.to_owned(),
            user: id(user)?,
            group: id(group)?,
            home: home.to_owned(),
            shell: shell.to_owned(),
        })
    })
}

/// Name, id and members of the valid lines of group(5).
fn group_entries(file: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    file.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _password, group, members] = fields[..] else { return None };
        Some((name, id(group)?, members))
    })
}

fn group_id(file: &str, wanted: &str) -> Option<u32> {
    group_entries(file).find(|(name, ..)| *name == wanted).map(|(_, group, _)| group)
}

fn memberships<'a>(file: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    group_entries(file)
        .filter(move |(.., members)| members.split(',').any(|member| member == user))
        .map(|(_, group, _)| group)
}

/// An id in digits; 4294967295 means "unchanged" for setresuid(2) and is not a valid id.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
