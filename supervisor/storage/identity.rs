//! The machine id of a copied tree: replaces the original's id by a new one. machine-id(5).
//!
//! A missing, empty or `uninitialized` id is kept, because the guest generates one at its next boot. Anything but a
//! regular file is never changed.

use anyhow::{Context, Result};

use crate::config::value::Uuid;
use crate::rootfs::files::{self, GuestFile};
use crate::rootfs::root::Root;

/// The possible paths of an id.
const FILES: [GuestFile; 2] = [files::MACHINE_ID, files::MACHINE_ID_OF_DBUS];

/// Whether a tree has an id that must be replaced.
#[must_use]
pub fn has_one(tree: &Root) -> bool {
    FILES.iter().any(|file| is_id(&content(tree, *file)))
}

fn content(tree: &Root, file: GuestFile) -> String {
    String::from_utf8_lossy(&tree.read(file, 64).unwrap_or_default()).into_owned()
}

fn is_id(text: &str) -> bool {
    text.trim().parse::<Uuid>().is_ok()
}

/// Generates a new machine id for a claimed tree.
///
/// # Errors
/// If the file is readable but not writable.
pub fn renew(tree: &Root) -> Result<()> {
    let id = format!("{}\n", Uuid::random().context("make a machine id")?);
    for file in FILES {
        // A link to the first one leads to the new id.
        let is_link = tree.read_link(file.path()).is_some();
        let old = content(tree, file);
        if is_id(&old) && !(is_link && old == id) {
            tree.overwrite(file, id.as_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    const OLD: &str = "0123456789abcdef0123456789abcdef\n";

    #[test]
    fn an_id_is_replaced_and_a_missing_one_stays_missing() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        fs::create_dir_all(top.join("etc")).unwrap();
        fs::create_dir_all(top.join("var/lib/dbus")).unwrap();
        let (id, dbus) = (top.join("etc/machine-id"), top.join("var/lib/dbus/machine-id"));
        let root = Root::open(top).unwrap();
        renew(&root).unwrap();
        assert!(!id.exists() && !dbus.exists());
        for text in ["", "uninitialized\n", "something else"] {
            fs::write(&id, text).unwrap();
            renew(&root).unwrap();
            assert_eq!(fs::read_to_string(&id).unwrap(), text);
        }
        fs::write(&id, OLD).unwrap();
        fs::write(&dbus, OLD).unwrap();
        fs::set_permissions(&id, fs::Permissions::from_mode(0o444)).unwrap();
        renew(&root).unwrap();
        let new = fs::read_to_string(&id).unwrap();
        assert!(new != OLD && new.len() == OLD.len() && new.trim().parse::<Uuid>().is_ok(), "{new}");
        assert_eq!(fs::read_to_string(&dbus).unwrap(), new, "the same one");
        assert_eq!(fs::metadata(&id).unwrap().mode() & 0o7777, 0o444);
    }

    #[test]
    fn links_lead_inside_and_nothing_else_is_touched() {
        let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let top = directory.path();
        fs::write(outside.path(), OLD).unwrap();
        fs::create_dir_all(top.join("etc")).unwrap();
        fs::create_dir_all(top.join("var/lib/dbus")).unwrap();
        symlink(outside.path(), top.join("etc/machine-id")).unwrap();
        symlink("/etc/real", top.join("var/lib/dbus/machine-id")).unwrap();
        fs::write(top.join("etc/real"), OLD).unwrap();
        renew(&Root::open(top).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(outside.path()).unwrap(), OLD);
        assert_ne!(fs::read_to_string(top.join("etc/real")).unwrap(), OLD);
    }
}
