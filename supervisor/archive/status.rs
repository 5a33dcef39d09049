//! Sets owner, permissions, extended attributes and times of a new entry, in an order in which no step undoes another:
//! chown(2) clears set-user-ID bits and capabilities, an access control list changes the permission bits, and every
//! change to a directory's content changes its time.
//!
//! Owns that order. Calls that would change nothing are omitted, since they take most of the time of unpacking.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, getegid, geteuid};

use super::acl::{self, Acl};
use super::name::shown;
use super::reader::{Attribute, Status};
use super::time::Time;
use crate::call;
use crate::sys::descriptor;
use crate::sys::xattr;

/// Maximum number of kept warnings.
const MAX_WARNINGS: usize = 20;

/// Settings for all new entries, and the warnings so far.
#[derive(Debug)]
pub struct Settings {
    user: u32,
    group: u32,
    umask: u32,
    warnings: Vec<String>,
    /// Attributes that the file system refused: the reason, the first file, and the number of files.
    refused: BTreeMap<Vec<u8>, Refused>,
    /// Unknown users and groups of access control lists.
    unknown: BTreeSet<Vec<u8>>,
}

/// Files that could not have an attribute.
#[derive(Debug)]
struct Refused {
    errno: Errno,
    first: String,
    files: u64,
}

/// How an entry was created.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// The mode for open(2), mkdir(2) or mknod(2).
    pub mode: u32,
    /// Whether it may have inherited a group or an access control list from its directory.
    pub inherits: bool,
}

impl Settings {
    /// The ids and umask of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self {
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
            umask: umask(),
            warnings: Vec::new(),
            refused: BTreeMap::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// Sets the status of a file or a directory.
    ///
    /// # Errors
    /// If a system call fails; an attribute that the file system refuses is a warning.
    pub fn apply(&mut self, file: BorrowedFd<'_>, status: &Status, made: Made, name: &[u8]) -> Result<()> {
        let chown = self.must_chown(status, made);
        if chown {
            let (user, group) = (Uid::from_raw(status.user), Gid::from_raw(status.group));
            call!(fchown(file, Some(user), Some(group)), "fchown({})", shown(name))?;
        }
        let mode = self.attributes(file, status, made, name)?;
        // An access list changes the group bits, and chmod(2) changes the list: the mode comes last.
        let plain = status.attributes.is_empty() && status.lists.is_empty();
        let is_final = made.mode & !self.umask == mode && !made.inherits && plain;
        if !is_final || (chown && mode & 0o6000 != 0) {
            call!(fchmod(file, Mode::from_bits_truncate(mode)), "fchmod({})", shown(name))?;
        }
        let (accessed, modified) = times(status.modified);
        call!(futimens(file, &accessed, &modified), "futimens({})", shown(name))?;
        Ok(())
    }

    /// Sets the status of an entry that is not opened: a link, a device, a FIFO.
    ///
    /// # Errors
    /// As for [`Settings::apply`].
    pub fn apply_at(
        &mut self,
        (directory, last): (BorrowedFd<'_>, &[u8]),
        status: &Status,
        made: Option<Made>,
        name: &[u8],
    ) -> Result<()> {
        let how = made.unwrap_or(Made { mode: 0o777, inherits: true });
        let chown = self.must_chown(status, how);
        if chown {
            let (user, group) = (Uid::from_raw(status.user), Gid::from_raw(status.group));
            let done = fchownat(directory, last, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW);
            call!(done, "fchownat({})", shown(name))?;
        }
        if made.is_some() || !status.attributes.is_empty() {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let found = call!(openat(directory, last, flags, Mode::empty()), "openat({})", shown(name))?;
            let mode = self.attributes(found.as_fd(), status, how, name)?;
            if made.is_some() {
                // fchmod(2) accepts no O_PATH descriptor before 6.6.
                let path = descriptor::path(found.as_fd());
                let mode = Mode::from_bits_truncate(mode);
                let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
                let done = nix::sys::stat::fchmodat(directory, path.as_str(), mode, flags);
                call!(done, "chmod({})", shown(name))?;
            }
        }
        let (accessed, modified) = times(status.modified);
        let done = utimensat(directory, last, &accessed, &modified, UtimensatFlags::NoFollowSymlink);
        call!(done, "utimensat({})", shown(name))?;
        Ok(())
    }

    fn must_chown(&self, status: &Status, made: Made) -> bool {
        made.inherits || (status.user, status.group) != (self.user, self.group)
    }

    /// Sets the attributes and returns the mode of the file: a narrower one if its access control list could not be
    /// set.
    fn attributes(&mut self, file: BorrowedFd<'_>, status: &Status, made: Made, name: &[u8]) -> Result<u32> {
        if made.inherits {
            for list in [c"system.posix_acl_access", c"system.posix_acl_default"] {
                match xattr::remove(file, list) {
                    Ok(()) | Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EPERM | Errno::EACCES) => {}
                    Err(errno) => call!(Err(errno), "fremovexattr({})", shown(name))?,
                }
            }
        }
        let (attributes, mut mode) = self.with_lists(status);
        for (attribute, value) in attributes.iter() {
            if !self.set(file, attribute, value, name)? && attribute == acl::ACCESS {
                mode = acl::narrowed(mode, value);
            }
        }
        Ok(mode)
    }

    /// Sets one attribute; false if the file system refuses it.
    ///
    /// # Errors
    /// If there is no space for it.
    pub fn set(&mut self, file: BorrowedFd<'_>, attribute: &[u8], value: &[u8], name: &[u8]) -> Result<bool> {
        match xattr::set(file, &CString::new(attribute)?, value) {
            Ok(()) => Ok(true),
            Err(Errno::EDQUOT) => Ok(call!(Err(Errno::EDQUOT), "fsetxattr({})", shown(name))?),
            Err(errno) => {
                self.refuse(attribute, name, errno);
                Ok(false)
            }
        }
    }

    /// The attributes, including those in text form in the archive, and the mode. Lists with names are deferred until
    /// all names can be resolved ([`super::deferred`]).
    fn with_lists<'a>(&mut self, status: &'a Status) -> (Cow<'a, [Attribute]>, u32) {
        let (lists, mode) = (&status.lists, status.mode);
        if lists.is_empty() {
            return (Cow::Borrowed(&status.attributes), mode);
        }
        if lists.has_names() {
            return (Cow::Borrowed(&status.attributes), lists.narrowed(mode));
        }
        let Some((access, default)) = self.resolve(status, &mut |_, _| None) else {
            return (Cow::Borrowed(&status.attributes), lists.narrowed(mode));
        };
        let mode = access.as_ref().map_or_else(|| lists.narrowed(mode), |access| access.mode(mode));
        let mut attributes = status.attributes.clone();
        let access = access.filter(|access| !access.is_trivial());
        for (name, list) in [(acl::ACCESS, access), (acl::DEFAULT, default)] {
            attributes.extend(list.map(|list| (name.to_vec(), list.to_bytes())));
        }
        (Cow::Owned(attributes), mode)
    }

    /// Both lists with numbers; `None` with a warning if they are contradictory.
    pub fn resolve(
        &mut self,
        status: &Status,
        look_up: &mut dyn FnMut(bool, &[u8]) -> Option<u32>,
    ) -> Option<(Option<Acl>, Option<Acl>)> {
        let mut unknown = |name: &[u8]| {
            if self.unknown.len() < MAX_WARNINGS {
                self.unknown.insert(name.to_vec());
            }
        };
        match status.lists.resolve(status.mode, look_up, &mut unknown) {
            Ok(lists) => Some(lists),
            Err(error) => {
                self.warn(format!("an access control list was left out: {error:#}"));
                None
            }
        }
    }

    fn refuse(&mut self, attribute: &[u8], name: &[u8], errno: Errno) {
        if let Some(refused) = self.refused.get_mut(attribute) {
            refused.files += 1;
        } else if self.refused.len() < MAX_WARNINGS {
            let refused = Refused { errno, first: shown(name), files: 1 };
            self.refused.insert(attribute.to_vec(), refused);
        }
    }

    /// Stores a warning.
    pub fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        }
    }

    /// All warnings, with one for each attribute and one for all names.
    #[must_use]
    pub fn into_warnings(mut self) -> Vec<String> {
        for (attribute, refused) in std::mem::take(&mut self.refused) {
            let Refused { errno, first, files } = refused;
            let others = if files > 1 { format!(" and {} others", files - 1) } else { String::new() };
            let narrowed =
                if attribute == acl::ACCESS { "; the group got only its own permissions" } else { "" };
            let (attribute, why) = (shown(&attribute), crate::sys::describe(errno));
            self.warnings
                .push(format!("{first}{others}: the attribute {attribute} was left out: {why}{narrowed}"));
        }
        if !self.unknown.is_empty() {
            let names: Vec<String> = self.unknown.iter().map(|name| shown(name)).collect();
            self.warnings.push(format!(
                "access control lists name users and groups that the tree does not have; their entries were left out: {}",
                names.join(", ")
            ));
        }
        self.warnings
    }
}

/// Keeps the access time. If the C library has 32-bit times, they end in 2038.
#[allow(clippy::useless_conversion, reason = "the C library's types differ between processors")]
fn times(modified: Time) -> (TimeSpec, TimeSpec) {
    let seconds = modified.seconds.try_into().unwrap_or(i32::MAX.into());
    let nanoseconds = i32::try_from(modified.nanoseconds).unwrap_or(0);
    (TimeSpec::UTIME_OMIT, TimeSpec::new(seconds, nanoseconds.into()))
}

/// The umask, which umask(2) cannot return without a change; all bits if /proc does not contain it (before 4.7).
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}
