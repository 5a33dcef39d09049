//! Applies the table of changes to a tree, and undoes them.
//!
//! Owns both operations. A file that the user has edited is kept and reported once. A file that cannot be changed
//! causes a warning, and the start continues.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::items::{Item, NEW, New, What, items_for};
use super::ledger::{Before, Entry, Ledger};
use super::{Facts, neighbours, unknown_layout};
use crate::call;
use crate::rootfs::files::{self, GuestFile};
use crate::rootfs::root::{Root, file_type, open_regular};

/// Files above this size are not edited.
const LARGEST: u64 = 1 << 20;

/// The mode of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeedMode {
    /// In a persistent tree.
    Persistent,
    /// In a tree that is discarded after the boot: the original files need no record.
    Volatile,
    /// No change: only a report.
    DryRun,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were changed, or would be.
    pub changed: Vec<String>,
    /// Warnings of one line each.
    pub warnings: Vec<String>,
}

/// The kind of file at a path.
enum Found {
    Nothing,
    File(Before),
    /// A link, a directory, a device, a large file, or not text: never changed.
    Other,
}

/// Seeds a tree. `path` is that of the ledger.
///
/// # Errors
/// If the original files are unknown or cannot be recorded.
pub fn apply(root: &Root, path: &Path, facts: &Facts, mode: SeedMode) -> Result<Report> {
    let mut report = Report::default();
    if mode != SeedMode::DryRun {
        forget_neighbours(root, &mut report);
    }
    let items = items_for(root, facts);
    let all_new: Vec<&New> = NEW.iter().filter(|new| facts.seed.has(new.part)).collect();
    if items.is_empty() && all_new.is_empty() || unknown_layout(root).is_some() {
        return Ok(report);
    }
    let mut ledger = Ledger::load(path)?;
    let mut keeper = Keeper { path, mode, ledger: &mut ledger };
    for item in items {
        let name = item.file.as_str();
        if let Err(error) = one(root, item, facts, &mut keeper, &mut report) {
            report.warnings.push(format!("cannot seed {name}: {error:#}"));
        }
    }
    for new in all_new {
        let name = new.file.as_str();
        if let Err(error) = make(root, new, &mut keeper, &mut report) {
            report.warnings.push(format!("cannot seed {name}: {error:#}"));
        }
    }
    Ok(report)
}

/// Removes names of other containers that a power cut or a killed monitor has left.
fn forget_neighbours(root: &Root, report: &mut Report) {
    if let Err(error) = neighbours::write(root, "") {
        report.warnings.push(format!("cannot seed {}: {error:#}", files::HOSTS.as_str()));
    }
}

/// The ledger, and whether to write it.
struct Keeper<'a> {
    path: &'a Path,
    mode: SeedMode,
    ledger: &'a mut Ledger,
}

impl Keeper<'_> {
    fn save(&self) -> Result<()> {
        if self.mode == SeedMode::Persistent { self.ledger.save(self.path) } else { Ok(()) }
    }
}

fn one(root: &Root, item: &Item, facts: &Facts, keeper: &mut Keeper<'_>, report: &mut Report) -> Result<()> {
    let name = item.file.as_str();
    let found = match look(root, item.file.path())? {
        // Most items change only an existing file, and none creates a directory.
        Found::Nothing if (item.make)(facts, None).is_none() => return Ok(()),
        Found::Nothing => has_directory(root, item.file.path()).then_some(None),
        Found::File(file) => Some(Some(file)),
        Found::Other => None,
    };
    let Some(current) = found else { return Ok(()) };
    let says = current.as_ref().map(|file| file.content.as_str());
    // An entry whose file is unchanged belongs to an interrupted change.
    let entry = keeper.ledger.files.get(name).filter(|entry| {
        entry.before.as_ref().map(|before| before.content.as_str()) != says || says == Some(&entry.wrote)
    });
    let before = match entry {
        None => current.clone(),
        Some(entry) if says == Some(&entry.wrote) => entry.before.clone(),
        Some(entry) => {
            let found = says.unwrap_or_default().to_owned();
            if (item.make)(facts, says).is_some() && entry.told.as_ref() != Some(&found) {
                report.warnings.push(format!("{name} was edited by the user and is kept"));
                if let Some(entry) = keeper.ledger.files.get_mut(name) {
                    entry.told = Some(found);
                }
                keeper.save()?;
            }
            return Ok(());
        }
    };
    let original = before.as_ref().map(|before| before.content.as_str());
    let Some(wanted) = (item.make)(facts, original) else { return Ok(()) };
    if says == Some(&wanted) {
        return Ok(());
    }
    report.changed.push(name.to_owned());
    if keeper.mode == SeedMode::DryRun {
        return Ok(());
    }
    let entry = Entry { before, wrote: wanted.clone(), link: false, directory: false, told: None };
    keeper.ledger.files.insert(name.to_owned(), entry);
    keeper.save()?;
    root.replace(item.file, wanted.as_bytes(), item.mode)
}

/// Creates missing items. Items that a user has removed or changed are not changed.
fn make(root: &Root, new: &New, keeper: &mut Keeper<'_>, report: &mut Report) -> Result<()> {
    let name = new.file.as_str();
    let is_there = |path: &Path| root.resolve_no_follow(path).is_ok();
    let wanted = is_there(Path::new(new.needs)) && !new.without.is_some_and(|file| is_there(file.path()));
    if !wanted || is_there(new.file.path()) || keeper.ledger.files.contains_key(name) {
        return Ok(());
    }
    let has_directory = has_directory(root, new.file.path());
    if !has_directory && matches!(new.what, What::Link(_)) {
        return Ok(());
    }
    report.changed.push(name.to_owned());
    if keeper.mode == SeedMode::DryRun {
        return Ok(());
    }
    let (wrote, link) = match new.what {
        What::Link(to) => (to, true),
        What::Program(text) => (text, false),
    };
    // Another item in the same directory may have been created just before.
    let beside = keeper
        .ledger
        .files
        .iter()
        .any(|(path, entry)| entry.directory && Path::new(path).parent() == new.file.path().parent());
    let directory = !has_directory || beside;
    let entry = Entry { before: None, wrote: wrote.to_owned(), link, directory, told: None };
    keeper.ledger.files.insert(name.to_owned(), entry);
    keeper.save()?;
    if !link {
        return root.replace(new.file, wrote.as_bytes(), 0o755);
    }
    let (directory, file_name) = place(root, new.file)?;
    Ok(call!(symlinkat(wrote, &directory, file_name), "symlink({name})")?)
}

/// Removes an unchanged link; returns whether there was one.
fn remove_link(root: &Root, file: GuestFile, to: &str, mode: SeedMode) -> Result<Option<bool>> {
    match root.read_link(file.path()) {
        Some(found) if found == Path::new(to) => {
            if mode != SeedMode::DryRun {
                restore(root, file, None)?;
            }
            Ok(Some(true))
        }
        None if root.resolve_no_follow(file.path()).is_err() => Ok(Some(false)),
        _ => Ok(None),
    }
}

/// Restores the original files of a seeded tree.
///
/// # Errors
/// If a file cannot be changed, or the change cannot be recorded.
pub fn undo(root: &Root, path: &Path, mode: SeedMode) -> Result<Report> {
    let mut report = Report::default();
    if mode != SeedMode::DryRun {
        forget_neighbours(root, &mut report);
    }
    let mut ledger = Ledger::load(path)?;
    for (name, entry) in ledger.clone().files {
        let Some(file) = files::ALL.iter().find(|file| file.as_str() == name).copied() else {
            report.warnings.push(format!("{name} was changed by another version of ds and is kept"));
            continue;
        };
        if entry.link {
            match remove_link(root, file, &entry.wrote, mode)? {
                None => {
                    report.warnings.push(format!("{name} was edited by the user and is kept"));
                    continue;
                }
                Some(removed) => report.changed.extend(removed.then(|| name.clone())),
            }
            if mode != SeedMode::DryRun {
                forget(root, file, &entry, &mut ledger, path)?;
            }
            continue;
        }
        let current = match look(root, file.path())? {
            Found::Nothing if has_directory(root, file.path()) => None,
            Found::File(current) => Some(current.content),
            Found::Nothing | Found::Other => {
                report.warnings.push(format!("{name} is no longer a regular file and is kept"));
                continue;
            }
        };
        let before = entry.before.as_ref().map(|before| before.content.clone());
        if current != before && current.as_ref() != Some(&entry.wrote) {
            report.warnings.push(format!("{name} was edited by the user and is kept"));
            continue;
        }
        if current != before {
            report.changed.push(name.clone());
        }
        if mode == SeedMode::DryRun {
            continue;
        }
        if current != before {
            restore(root, file, entry.before.as_ref())?;
        }
        forget(root, file, &entry, &mut ledger, path)?;
    }
    Ok(report)
}

/// Removes the entry of a file, and the directory that ds created for it if that is empty.
fn forget(root: &Root, file: GuestFile, entry: &Entry, ledger: &mut Ledger, path: &Path) -> Result<()> {
    if entry.directory
        && let Some(directory) = file.path().parent()
        && let (Some(above), Some(name)) = (directory.parent(), directory.file_name())
        && let Ok(above) = root.resolve(above)
    {
        let _ = unlinkat(&above, name, UnlinkatFlags::RemoveDir);
    }
    ledger.files.remove(file.as_str());
    ledger.save(path)
}

fn restore(root: &Root, file: GuestFile, before: Option<&Before>) -> Result<()> {
    match before {
        Some(before) => root.replace(file, before.content.as_bytes(), before.mode),
        None => {
            let (directory, name) = place(root, file)?;
            Ok(call!(unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir), "unlink({})", file.as_str())?)
        }
    }
}

/// The directory of a file, and its name there.
fn place(root: &Root, file: GuestFile) -> Result<(OwnedFd, &'static OsStr)> {
    let parent = file.path().parent().context("it has no directory")?;
    let name = file.path().file_name().context("it has no name")?;
    Ok((call!(root.resolve(parent), "open({})", parent.display())?, name))
}

/// Whether the parent directory exists. It is never created.
fn has_directory(root: &Root, path: &Path) -> bool {
    path.parent().is_some_and(|parent| root.resolve(parent).is_ok())
}

fn look(root: &Root, path: &Path) -> Result<Found> {
    let found = match root.resolve_no_follow(path) {
        Ok(found) => found,
        Err(Errno::ENOENT) => return Ok(Found::Nothing),
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(Found::Other),
        Err(errno) => call!(Err(errno), "open({})", path.display())?,
    };
    let status = call!(fstat(&found), "fstat({})", path.display())?;
    if file_type(&status) != SFlag::S_IFREG || u64::try_from(status.st_size).is_ok_and(|size| size > LARGEST)
    {
        return Ok(Found::Other);
    }
    // One byte more than the file has, so that a short read indicates its end.
    let mut content = Vec::with_capacity(usize::try_from(status.st_size).unwrap_or(0) + 1);
    let file = open_regular(found.as_fd())?;
    file.take(LARGEST).read_to_end(&mut content).with_context(|| format!("read {}", path.display()))?;
    if path == files::HOSTS.path() {
        content = neighbours::without(&content);
    }
    Ok(match String::from_utf8(content) {
        Ok(content) => Found::File(Before {
            content,
            mode: status.st_mode & 0o7777,
            user: status.st_uid,
            group: status.st_gid,
        }),
        Err(_) => Found::Other,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;
    use tempfile::TempDir;

    struct Case {
        directory: TempDir,
        root: Root,
        facts: Facts,
    }

    impl Case {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir_all(directory.path().join("tree/etc")).unwrap();
            let root = Root::open(&directory.path().join("tree")).unwrap();
            let facts = Facts {
                hostname: "web".into(),
                android: true,
                subsystems: "usb".parse().unwrap(),
                seed: "yes".parse().unwrap(),
            };
            let case = Self { directory, root, facts };
            case.write("passwd", "root:x:0:0::/:/bin/sh\n_apt:x:42:65534::/:/x\n");
            case.write("group", "root:x:0:\n");
            case
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join("tree/etc").join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap()
        }

        fn ledger(&self) -> PathBuf {
            self.directory.path().join("seed.json")
        }

        fn seed(&self, mode: SeedMode) -> Report {
            apply(&self.root, &self.ledger(), &self.facts, mode).unwrap()
        }

        fn undo(&self) -> Report {
            undo(&self.root, &self.ledger(), SeedMode::Persistent).unwrap()
        }

        fn all(&self) -> Vec<(String, Vec<u8>, u32)> {
            let entries = fs::read_dir(self.path("")).unwrap().map(Result::unwrap);
            let mut all: Vec<_> = entries
                .map(|entry| {
                    let mode = entry.metadata().unwrap().permissions().mode();
                    (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap(), mode)
                })
                .collect();
            all.sort();
            all
        }
    }

    #[test]
    fn it_is_done_once_and_undone_to_the_byte() {
        let mut case = Case::new();
        case.write("hosts", "127.0.0.1 localhost");
        fs::set_permissions(case.path("hosts"), fs::Permissions::from_mode(0o640)).unwrap();
        let before = case.all();
        let told = case.seed(SeedMode::DryRun);
        assert_eq!((case.all(), case.ledger().exists()), (before.clone(), false));
        assert_eq!(case.seed(SeedMode::Persistent), told);
        assert_eq!(
            told.changed,
            ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/etc/group", "/etc/passwd"]
        );
        let seeded = case.all();
        assert_eq!(case.seed(SeedMode::Persistent), Report::default());
        assert_eq!(case.all(), seeded);
        // Another version with other facts keeps the record of the first one.
        case.facts.hostname = "db".into();
        assert_eq!(case.seed(SeedMode::Persistent).changed, ["/etc/hostname", "/etc/hosts"]);
        assert!(case.read("hosts").contains("\tdb\t") && !case.read("hosts").contains("web"));
        assert_eq!(case.undo().warnings, Vec::<String>::new());
        assert_eq!((case.all(), case.ledger().exists()), (before, false));
    }

    #[test]
    fn an_edited_file_is_kept_and_reported_once() {
        let mut case = Case::new();
        case.seed(SeedMode::Persistent);
        let with_a_line = format!("{}10.0.0.1 nas\n", case.read("hosts"));
        case.write("hosts", &with_a_line);
        assert_eq!(case.seed(SeedMode::Persistent), Report::default(), "all items exist");
        case.write("hosts", "127.0.0.1 localhost\n");
        let told = vec!["/etc/hosts was edited by the user and is kept".to_owned()];
        assert_eq!(case.seed(SeedMode::Persistent).warnings, told);
        assert_eq!(case.seed(SeedMode::Persistent).warnings, Vec::<String>::new());
        case.facts.hostname = "web".into();
        let undone = case.undo();
        assert_eq!((undone.warnings, case.read("hosts")), (told, "127.0.0.1 localhost\n".into()));
        assert!(!case.path("hostname").exists());
    }

    #[test]
    fn an_interrupted_change_is_repeated() {
        let case = Case::new();
        case.write("hosts", "127.0.0.1 localhost\n");
        let before = case.all();
        case.seed(SeedMode::Persistent);
        // As after a power failure between writing the ledger and the file.
        case.write("hosts", "127.0.0.1 localhost\n");
        assert_eq!(case.seed(SeedMode::Persistent).changed, ["/etc/hosts"]);
        case.undo();
        assert_eq!(case.all(), before);
    }

    #[test]
    fn links_to_nothing_are_created_and_volatile_trees_have_no_record() {
        let case = Case::new();
        let outside = case.directory.path().join("outside");
        fs::write(&outside, "x").unwrap();
        symlink(&outside, case.path("hosts")).unwrap();
        symlink("/etc/hosts", case.path("hostname")).unwrap();
        let report = case.seed(SeedMode::Volatile);
        assert_eq!(
            (report.changed, report.warnings.len()),
            (["/etc/resolv.conf", "/etc/group", "/etc/passwd"].map(str::to_owned).to_vec(), 0)
        );
        assert_eq!((fs::read(&outside).unwrap(), case.ledger().exists()), (b"x".to_vec(), false));
    }

    #[test]
    fn a_service_is_enabled_by_a_link_that_goes_again() {
        let case = Case::new();
        fs::create_dir_all(case.path("sv/agetty-console")).unwrap();
        fs::write(case.path("sv/agetty-console/run"), "").unwrap();
        fs::create_dir_all(case.path("runit/runsvdir/default")).unwrap();
        let link = case.path("runit/runsvdir/default/agetty-console");
        let name = "/etc/runit/runsvdir/default/agetty-console".to_owned();
        assert!(case.seed(SeedMode::Persistent).changed.contains(&name));
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/etc/sv/agetty-console"));
        assert_eq!(case.seed(SeedMode::Persistent), Report::default());
        fs::remove_file(&link).unwrap();
        assert_eq!(case.seed(SeedMode::Persistent), Report::default(), "a removed link is not created again");
        symlink("/etc/sv/agetty-console", &link).unwrap();
        assert!(case.undo().changed.contains(&name));
        assert!(fs::symlink_metadata(&link).is_err() && !case.ledger().exists());
        // Debian's runit has no such service, so it is created.
        fs::remove_dir_all(case.path("sv")).unwrap();
        fs::create_dir_all(case.path("sv/getty-tty1")).unwrap();
        fs::write(case.path("sv/getty-tty1/run"), "").unwrap();
        case.seed(SeedMode::Persistent);
        assert!(case.read("sv/getty-console/run").contains("getty --noclear"));
        assert_eq!(
            fs::metadata(case.path("sv/getty-console/run")).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert_eq!(case.seed(SeedMode::Persistent), Report::default());
        case.undo();
        assert!(!case.path("sv/getty-console").exists() && !case.ledger().exists());
    }

    #[test]
    fn unknown_layouts_are_left_alone() {
        let case = Case::new();
        fs::create_dir_all(case.directory.path().join("tree/nix/store")).unwrap();
        assert!(unknown_layout(&case.root).unwrap().starts_with("NixOS"));
        assert_eq!(case.seed(SeedMode::Persistent), Report::default());
    }
}
