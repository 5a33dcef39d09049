//! Owner, permissions, extended attributes and times of what was just made, in the order in which one does not undo
//! another: chown(2) drops set-user-ID bits and capabilities, an access control list changes the permission bits, and
//! every change to a directory's content its time.
//!
//! Every call that would change nothing is left out: they are most of the time that unpacking takes.

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

/// Most warnings that are kept.
const MOST_WARNINGS: usize = 20;

/// What all files that are made have in common, and what went wrong without being an error.
#[derive(Debug)]
pub struct Settings {
    user: u32,
    group: u32,
    umask: u32,
    warnings: Vec<String>,
    /// Attributes that the file system refused: why, of which file first, and of how many.
    refused: BTreeMap<Vec<u8>, Refused>,
    /// Users and groups of access control lists that nobody knows.
    unknown: BTreeSet<Vec<u8>>,
}

/// Files that could not have an attribute.
#[derive(Debug)]
struct Refused {
    errno: Errno,
    first: String,
    files: u64,
}

/// How something was made.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// The mode that open(2), mkdir(2) or mknod(2) was given.
    pub mode: u32,
    /// Whether its directory may have given it a group or an access control list.
    pub inherits: bool,
}

impl Settings {
    /// Its ids and its umask.
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

    /// Gives a file or a directory its status.
    ///
    /// # Errors
    /// What the calls answer; attributes that the file system does not take are a warning.
    pub fn apply(&mut self, file: BorrowedFd<'_>, status: &Status, made: Made, name: &[u8]) -> Result<()> {
        let chown = self.must_chown(status, made);
        if chown {
            let (user, group) = (Uid::from_raw(status.user), Gid::from_raw(status.group));
            call!(fchown(file, Some(user), Some(group)), "fchown({})", shown(name))?;
        }
        let mode = self.attributes(file, status, made, name)?;
        // A list for access changes the bits of the group, and is changed by them: the mode comes last.
        let plain = status.attributes.is_empty() && status.lists.is_empty();
        let is_final = made.mode & !self.umask == mode && !made.inherits && plain;
        if !is_final || (chown && mode & 0o6000 != 0) {
            call!(fchmod(file, Mode::from_bits_truncate(mode)), "fchmod({})", shown(name))?;
        }
        let (accessed, modified) = times(status.modified);
        call!(futimens(file, &accessed, &modified), "futimens({})", shown(name))?;
        Ok(())
    }

    /// Gives something that is not opened its status: a link, a device, a FIFO.
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
                // fchmod(2) takes no O_PATH descriptor before 6.6.
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

    /// Gives the attributes, and says which mode the file is to have: without its access control list a narrower one.
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

    /// Sets one attribute; false when the file system refuses it.
    ///
    /// # Errors
    /// When there is no room for it.
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

    /// The attributes with what the archive has as text, and the mode. Lists with names wait until all names can be
    /// looked up ([`super::deferred`]).
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

    /// Both lists with numbers; `None` when they contradict themselves, which is told.
    pub fn resolve(
        &mut self,
        status: &Status,
        look_up: &mut dyn FnMut(bool, &[u8]) -> Option<u32>,
    ) -> Option<(Option<Acl>, Option<Acl>)> {
        let mut unknown = |name: &[u8]| {
            if self.unknown.len() < MOST_WARNINGS {
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
        } else if self.refused.len() < MOST_WARNINGS {
            let refused = Refused { errno, first: shown(name), files: 1 };
            self.refused.insert(attribute.to_vec(), refused);
        }
    }

    /// Keeps a warning.
    pub fn warn(&mut self, warning: String) {
        if self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(warning);
        }
    }

    /// All warnings, with the one for each attribute and the one for all names.
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

/// The access time is left as it is. Where the C library counts seconds in 32 bits, times end in 2038.
#[allow(clippy::useless_conversion, reason = "the C library's types differ between processors")]
fn times(modified: Time) -> (TimeSpec, TimeSpec) {
    let seconds = modified.seconds.try_into().unwrap_or(i32::MAX.into());
    let nanoseconds = i32::try_from(modified.nanoseconds).unwrap_or(0);
    (TimeSpec::UTIME_OMIT, TimeSpec::new(seconds, nanoseconds.into()))
}

/// The umask, which umask(2) cannot tell without changing it; everything where /proc has none (before 4.7).
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}
