//! `ds module install`, which `customize.sh` calls once the program is in place.
//!
//! Owns the checks of device and manager, the links for the search path, and the report that the user reads. It never
//! changes the installed module or the data: until the next boot, both are in use.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::links;
use super::manager::{Caller, Manager};
use super::place::{ID, MANAGERS};
use crate::command::check::Report;
use crate::command::version::VERSION;
use crate::host::Host;
use crate::paths::Paths;

/// The directory of Android's own programs, over which Magisk mounts those of modules.
const SYSTEM_PROGRAMS: &str = "/system/bin";

/// Checks the device, creates the links and returns the report for the user.
///
/// # Errors
/// One sentence that says why the module cannot be installed.
pub fn run(paths: &Paths) -> Result<String> {
    let caller = Caller::read(&|name| env::var(name).ok())?;
    caller.check()?;
    let new = env::var_os("MODPATH").map(PathBuf::from).context("The installer does not set MODPATH")?;
    let mut report =
        format!("- ds {VERSION}, {} {}, API level {}\n", caller.manager.name(), caller.version, caller.api);
    let installed = Path::new(MANAGERS).join("modules").join(ID).join("module.prop");
    let data = paths.data.display();
    for line in compare(&properties(&installed), &properties(&new.join("module.prop"))) {
        writeln!(report, "- {line}")?;
    }
    writeln!(report, "- Containers and settings: {data} (kept when the module is removed)")?;
    let host = Host::probe().context("Cannot identify this device")?;
    let mut sentences = Report::new(&host).sentences().into_iter();
    writeln!(report, "- This {}", sentences.next().unwrap_or_default())?;
    for sentence in sentences {
        writeln!(report, "    {sentence}")?;
    }
    report.push_str(&link(caller.manager, &new)?);
    Ok(report)
}

/// Links the names of `ds` into the search path of the manager's root shell.
fn link(manager: Manager, new: &Path) -> Result<String> {
    let taken = match manager.programs() {
        Some(directory) => links::make(Path::new(&directory), None)?,
        None => links::make(&new.join("system/bin"), Some(Path::new(SYSTEM_PROGRAMS)))?,
    };
    let mut report = String::new();
    for name in &taken {
        writeln!(report, "! Another program named '{name}' is in the search path; it is kept")?;
    }
    if taken.contains(&links::NAMES[0]) {
        writeln!(report, "- After the next boot, call {}", links::program().display())?;
    } else {
        writeln!(report, "- After the next boot, root has the command 'ds'")?;
    }
    Ok(report)
}

/// Version and version code of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Properties {
    version: String,
    code: u64,
}

/// Reads module.prop; `None` if it does not exist.
fn properties(path: &Path) -> Option<Properties> {
    Some(parse(&fs::read_to_string(path).ok()?))
}

fn parse(text: &str) -> Properties {
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().trim().to_owned()
    };
    Properties { version: value("version"), code: value("versionCode").parse().unwrap_or_default() }
}

/// The relation of this version to the installed one.
fn compare(old: &Option<Properties>, new: &Option<Properties>) -> Vec<String> {
    let (Some(old), Some(new)) = (old, new) else {
        return vec!["First installation".to_owned()];
    };
    let change = match new.code.cmp(&old.code) {
        std::cmp::Ordering::Greater => format!("Update from {} to {}", old.version, new.version),
        std::cmp::Ordering::Equal => format!("Reinstallation of version {}", new.version),
        std::cmp::Ordering::Less => format!(
            "Downgrade from {} to {}: settings are kept; a container with a setting that the older version does \
             not know fails to start",
            old.version, new.version
        ),
    };
    vec![
        change,
        "Running containers are not affected; the new version takes effect at the next boot".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Properties, compare, parse};
    use proptest::prelude::*;

    fn version(version: &str, code: u64) -> Option<Properties> {
        Some(Properties { version: version.into(), code })
    }

    #[test]
    fn an_update_a_downgrade_and_a_repetition_are_distinguished() {
        let first = |old, new| compare(&old, &new).remove(0);
        assert_eq!(first(None, version("0.1.0", 100)), "First installation");
        assert_eq!(first(version("0.1.0", 100), version("0.2.0", 200)), "Update from 0.1.0 to 0.2.0");
        assert_eq!(first(version("0.1.0", 100), version("0.1.0", 100)), "Reinstallation of version 0.1.0");
        assert!(
            first(version("0.2.0", 200), version("0.1.0", 100)).starts_with("Downgrade from 0.2.0 to 0.1.0")
        );
    }

    #[test]
    fn version_is_not_version_code() {
        let own = parse("id=x\nversionCode=100\nversion=0.1.0\r\n");
        assert_eq!(Some(own), version("0.1.0", 100));
    }

    proptest! {
        #[test]
        fn whatever_is_in_module_prop_is_read_without_a_fault(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }
}
