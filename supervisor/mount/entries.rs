//! New directory entries on new file systems of a container.
//!
//! Owns the directories that are open for it: most steps of a plan fill one directory after the other, or one beside it.
//! Mounts nothing. linkat(2), mkdirat(2), openat(2).

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{linkat, symlinkat};

use crate::call;
use crate::rootfs::root::Root;

/// The open directories and the last file. A mount may replace a directory, so each one resets this.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// With their paths.
    directories: Vec<(String, Rc<OwnedFd>)>,
    /// Its directory, its path from there, and its content.
    last_file: Option<(Rc<OwnedFd>, String, String)>,
}

impl Entries {
    /// The parent directory of a path, and the last component.
    pub(super) fn parent<'a>(&mut self, root: &Root, target: &'a str) -> Result<(Rc<OwnedFd>, &'a str)> {
        let Some((parent, last)) = target.rsplit_once('/') else { bail!("{target} is not absolute") };
        Ok((self.directory(root, parent)?, last))
    }

    /// Creates a symbolic link.
    pub(super) fn link(&mut self, root: &Root, target: &str, to: &str) -> Result<()> {
        let (parent, last) = self.place(root, target)?;
        Ok(call!(symlinkat(to, &parent, last), "symlink({to}, {target})")?)
    }

    /// Writes a new file. Many units get the same drop-in: such files are links of one file, since systemctl(1) replaces
    /// or removes them and never writes into them.
    pub(super) fn file(&mut self, root: &Root, target: &str, content: &str) -> Result<()> {
        let (parent, last) = self.place(root, target)?;
        if let Some((directory, name, same)) = &self.last_file
            && same == content
            && linkat(directory, name.as_str(), &parent, last, AtFlags::empty()).is_ok()
        {
            return Ok(());
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = call!(openat(&parent, last, flags, Mode::from_bits_truncate(0o644)), "create({target})")?;
        File::from(file).write_all(content.as_bytes()).with_context(|| format!("write {target}"))?;
        self.last_file = Some((parent, last.to_owned(), content.to_owned()));
        Ok(())
    }

    /// Where to create a file or link: an open directory, and the path from there. Most directories of drop-ins get only
    /// one file, so one that is created here is not opened. No other process can replace it: none has this mount.
    fn place<'a>(&mut self, root: &Root, target: &'a str) -> Result<(Rc<OwnedFd>, &'a str)> {
        if let Some((parent, _)) = target.rsplit_once('/')
            && let Some((above, name)) = parent.rsplit_once('/')
            && let (None, Some(directory)) = (self.known(parent), self.known(above))
            && let Some(below) = target.get(above.len() + 1..)
            && mkdirat(&directory, name, Mode::from_bits_truncate(0o755)).is_ok()
        {
            return Ok((directory, below));
        }
        self.parent(root, target)
    }

    /// Opens or creates a directory and those above it, and remembers them.
    fn directory(&mut self, root: &Root, path: &str) -> Result<Rc<OwnedFd>> {
        if let Some(directory) = self.known(path) {
            return Ok(directory);
        }
        let made = match path.rsplit_once('/') {
            Some((above, name)) if !above.is_empty() => {
                let above = self.directory(root, above)?;
                make(&above, name)
            }
            _ => None,
        };
        let directory = match made {
            Some(directory) => directory,
            None => root.make_directories(Path::new(path))?,
        };
        let directory = Rc::new(directory);
        self.directories.push((path.to_owned(), Rc::clone(&directory)));
        Ok(directory)
    }

    fn known(&self, path: &str) -> Option<Rc<OwnedFd>> {
        self.directories.iter().find(|(known, _)| known == path).map(|(_, directory)| Rc::clone(directory))
    }
}

/// Opens or creates a directory in an open one, without resolving a path. `None` if the entry is not a directory, such
/// as a link to one.
fn make(above: &OwnedFd, name: &str) -> Option<OwnedFd> {
    match mkdirat(above, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(_) => return None,
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(above, name, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn files_are_in_their_directories_and_equal_ones_share_their_content() {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::open(tree.path()).unwrap();
        let mut entries = Entries::default();
        let files =
            [("a.d/x", "1"), ("b.d/x", "1"), ("b.d/y", "2"), ("c", "2"), ("c.d/x", "1"), ("d/e/f/x", "1")];
        for (name, content) in files {
            entries.file(&root, &format!("/run/{name}"), content).unwrap();
        }
        entries.link(&root, "/run/wants/c", "../c").unwrap();
        entries.link(&root, "/run/wants/d", "../b.d/y").unwrap();
        let path = |name: &str| tree.path().join("run").join(name);
        for (name, content) in files {
            assert_eq!(fs::read_to_string(path(name)).unwrap(), content, "{name}");
        }
        let inode = |name: &str| fs::metadata(path(name)).unwrap().ino();
        assert!(inode("a.d/x") == inode("b.d/x") && inode("c.d/x") == inode("d/e/f/x"));
        assert!(inode("wants/c") == inode("b.d/y") && inode("wants/d") == inode("c"));
        assert!(inode("a.d/x") != inode("c.d/x"), "only the last file is known");
        let again = entries.file(&root, "/run/a.d/x", "1").unwrap_err();
        assert_eq!(crate::sys::errno_of(&again), Some(Errno::EEXIST));
    }

    #[test]
    fn links_to_directories_lead_into_the_tree() {
        let (tree, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.path().join("run")).unwrap();
        symlink(outside.path(), tree.path().join("run/away")).unwrap();
        symlink("/run", tree.path().join("run/self")).unwrap();
        let root = Root::open(tree.path()).unwrap();
        let mut entries = Entries::default();
        entries.file(&root, "/run/first", "").unwrap();
        assert!(entries.file(&root, "/run/away/x", "").is_err());
        assert!(entries.file(&root, "/run/away/y/x", "").is_err());
        entries.file(&root, "/run/self/y/x", "").unwrap();
        assert!(tree.path().join("run/y/x").exists());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
