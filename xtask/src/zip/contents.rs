//! The content of the module's zip.
//!
//! Owns the list of files and the checksums that `customize.sh` verifies. module/README.md describes each file.

use super::architecture::Architecture;
use super::archive::Members;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files: their paths in the source tree and in the zip.
const FILES: [(&str, &str); 9] = [
    ("module.prop", "module.prop"),
    ("customize.sh", "customize.sh"),
    ("service.sh", "service.sh"),
    ("module/action.sh", "action.sh"),
    ("module/uninstall.sh", "uninstall.sh"),
    ("module/sepolicy.rule", "sepolicy.rule"),
    ("LICENSE", "LICENSE"),
    ("module/META-INF/com/google/android/update-binary", "META-INF/com/google/android/update-binary"),
    ("module/META-INF/com/google/android/updater-script", "META-INF/com/google/android/updater-script"),
];

/// The name of the file with the checksums.
const CHECKSUMS: &str = "checksums";

/// The files that are unpacked first. unzip stops at a damaged member, and installers continue with the files so far,
/// so these must include the check for damage.
const FIRST: [&str; 3] = ["module.prop", "customize.sh", CHECKSUMS];

/// The files that are unpacked last. After an interrupted installation, the module's service.sh calls the program of
/// the last boot.
const LAST: &str = "bin/";

/// Files that no installer unpacks.
const FOR_RECOVERIES: &str = "META-INF/";

/// The value of a key of module.prop.
///
/// # Errors
/// If it does not exist.
pub fn property(workspace: &Workspace, key: &str) -> Result<String> {
    let path = workspace.source("module.prop");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Ok(value.with_context(|| format!("module.prop has no {key}"))?.to_owned())
}

/// All members of the zip. `programs` and the directory `page` are the built ones; `scratch` is a folder that is
/// created anew.
///
/// # Errors
/// If a file is missing.
pub fn collect(
    workspace: &Workspace,
    programs: &[(&Architecture, PathBuf)],
    page: &Path,
    scratch: &Path,
) -> Result<Members> {
    let mut members = BTreeMap::new();
    for (source, name) in FILES {
        members.insert(name.to_owned(), read(&workspace.source(source))?);
    }
    for (architecture, program) in programs {
        members.insert(format!("bin/ds-{}", architecture.name), read(program)?);
    }
    add_pages(page, "webroot", &mut members)?;
    let checksums = checksums(&members, scratch)?;
    members.insert(CHECKSUMS.to_owned(), checksums);
    Ok(in_order(members))
}

fn in_order(members: BTreeMap<String, Vec<u8>>) -> Members {
    let mut members: Members = members.into_iter().collect();
    members.sort_by_key(|(name, _)| {
        let first = FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len());
        (first, name.starts_with(LAST))
    });
    members
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The files of the module's page.
fn add_pages(folder: &Path, name: &str, members: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let own = entry.file_name().into_string().ok().context("a name is not UTF-8")?;
        let inside = format!("{name}/{own}");
        if entry.file_type()?.is_dir() {
            add_pages(&entry.path(), &inside, members)?;
        } else {
            members.insert(inside, read(&entry.path())?);
        }
    }
    Ok(())
}

/// The output of sha256sum(1) for all files that installers unpack; they check it with `sha256sum -c`.
fn checksums(members: &BTreeMap<String, Vec<u8>>, scratch: &Path) -> Result<Vec<u8>> {
    if scratch.exists() {
        fs::remove_dir_all(scratch)?;
    }
    let unpacked: Vec<_> = members.keys().filter(|name| !name.starts_with(FOR_RECOVERIES)).collect();
    for name in &unpacked {
        let path = scratch.join(name);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(path, &members[*name])?;
    }
    let text = process::read(Command::new("sha256sum").arg("--").args(&unpacked).current_dir(scratch))?;
    if text.lines().count() != unpacked.len() {
        bail!("sha256sum omitted a file");
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::{FILES, in_order, property};
    use crate::workspace::Workspace;
    use std::fs;

    /// Magisk parses an int, KernelSU takes `name` from the first line that contains `name=`, and both pass the line to
    /// a shell.
    #[test]
    fn module_prop_is_as_every_manager_reads_it() {
        let workspace = Workspace::find().unwrap();
        let text = fs::read_to_string(workspace.source("module.prop")).unwrap();
        let keys: Vec<_> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
        assert_eq!(keys, ["id", "name", "version", "versionCode", "author", "description"]);
        assert!(!text.contains(['\'', '"', '\\', '\r', '`', '$']));
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn there_is_one_version() {
        let workspace = Workspace::find().unwrap();
        let cargo = fs::read_to_string(workspace.source("Cargo.toml")).unwrap();
        let version = property(&workspace, "version").unwrap();
        assert!(cargo.contains(&format!("\nversion = \"{version}\"\n")));
        let numbers: Vec<u32> = version.split('.').map(|number| number.parse().unwrap()).collect();
        let [major, minor, patch] = numbers[..] else { panic!("{version}") };
        let code = property(&workspace, "versionCode").unwrap();
        assert_eq!(code, (major * 10_000 + minor * 100 + patch).to_string());
        let update = fs::read(workspace.source("module/update.json")).unwrap();
        let update: serde_json::Value = serde_json::from_slice(&update).unwrap();
        assert_eq!(update["version"], version.as_str());
        assert_eq!(update["versionCode"].to_string(), code);
        assert!(update["zipUrl"].is_string() && update["changelog"].is_string());
    }

    #[test]
    fn the_check_for_damage_is_unpacked_first_and_programs_last() {
        let names = ["LICENSE", "action.sh", "bin/ds-arm64", "checksums", "customize.sh", "module.prop", "z"];
        let members = in_order(names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect());
        let order: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            order,
            ["module.prop", "customize.sh", "checksums", "LICENSE", "action.sh", "z", "bin/ds-arm64"]
        );
    }

    #[test]
    fn every_file_is_there() {
        let workspace = Workspace::find().unwrap();
        for (source, _) in FILES {
            assert!(workspace.source(source).is_file(), "{source}");
        }
    }
}
