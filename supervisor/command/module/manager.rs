//! Root managers: detects the calling one, and checks its version.
//!
//! Owns the variables that identify them and the minimum versions. All three set `MAGISK_VER_CODE`, so `KSU` (KernelSU
//! and its forks) and `APATCH` (APatch) are checked first.

use anyhow::{Result, bail};

use super::place::MANAGERS;

/// Minimum Android version: 8.0. Kernels of older devices lack too many features.
const OLDEST_API: u32 = 26;

/// A root manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Magisk and its forks.
    Magisk,
    /// KernelSU, KernelSU-Next and other forks.
    KernelSu,
    /// APatch.
    APatch,
}

/// The environment that an installer sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The manager.
    pub manager: Manager,
    /// Its version code.
    pub version: u32,
    /// The API level of the device's Android.
    pub api: u32,
}

impl Manager {
    /// Detects the manager from its variables.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let is_set = |name: &str| variable(name).as_deref() == Some("true");
        if is_set("KSU") {
            Self::KernelSu
        } else if is_set("APATCH") {
            Self::APatch
        } else {
            Self::Magisk
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Magisk => "Magisk",
            Self::KernelSu => "KernelSU",
            Self::APatch => "APatch",
        }
    }

    /// The variable with its version code, and the minimum version.
    ///
    /// Magisk 20.4 is the first version that runs a module's scripts in its own BusyBox. For the other two, it is the
    /// first version with a directory of programs in the search path of their root shell.
    const fn oldest(self) -> (&'static str, u32) {
        match self {
            Self::Magisk => ("MAGISK_VER_CODE", 20400),
            Self::KernelSu => ("KSU_VER_CODE", 10940),
            Self::APatch => ("APATCH_VER_CODE", 10655),
        }
    }

    /// Its directory of programs, which is in the search path of its root shell. Magisk has none and mounts the
    /// module's `system/` instead. The others mount nothing by default.
    pub fn programs(self) -> Option<String> {
        match self {
            Self::Magisk => None,
            Self::KernelSu => Some(format!("{MANAGERS}/ksu/bin")),
            Self::APatch => Some(format!("{MANAGERS}/ap/bin")),
        }
    }
}

impl Caller {
    /// Reads the variables that an installer set.
    ///
    /// # Errors
    /// If a variable is missing or is not a number.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let number = |name: &str| match variable(name).unwrap_or_default().parse() {
            Ok(number) => Ok(number),
            Err(_) => bail!("The installer does not set {name}; is this a root manager?"),
        };
        let manager = Manager::of(variable);
        Ok(Self { manager, version: number(manager.oldest().0)?, api: number("API")? })
    }

    /// Refuses versions that are too old.
    ///
    /// # Errors
    /// One sentence with the required version.
    pub fn check(&self) -> Result<()> {
        let Self { manager, version, api } = *self;
        let (name, (_, oldest)) = (manager.name(), manager.oldest());
        if api < OLDEST_API {
            bail!(
                "This version of Android is too old: its API level is {api}; {OLDEST_API} (Android 8.0) or later is required"
            );
        }
        if version < oldest {
            bail!(
                "This version of {name} is too old: its version code is {version}; {oldest} or later is required; update the app"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Caller, Manager};

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Caller> {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Caller::read(&find)
    }

    #[test]
    fn the_false_magisk_variable_of_other_managers_is_ignored() {
        let false_magisk = ("MAGISK_VER_CODE", "25200");
        let kernelsu = read(&[false_magisk, ("KSU", "true"), ("KSU_VER_CODE", "32000"), ("API", "34")]);
        assert_eq!(kernelsu.unwrap(), Caller { manager: Manager::KernelSu, version: 32000, api: 34 });
        let apatch = read(&[false_magisk, ("APATCH", "true"), ("APATCH_VER_CODE", "11224"), ("API", "34")]);
        assert_eq!(apatch.unwrap().manager, Manager::APatch);
        let magisk = read(&[("MAGISK_VER_CODE", "30700"), ("KSU", ""), ("API", "26")]).unwrap();
        assert_eq!(magisk.manager, Manager::Magisk);
        assert!(magisk.check().is_ok());
    }

    #[test]
    fn what_is_too_old_is_refused_with_what_is_needed() {
        let refusal = |version: &str, api: &str| {
            let caller = read(&[("MAGISK_VER_CODE", version), ("API", api)]).unwrap();
            caller.check().unwrap_err().to_string()
        };
        assert!(refusal("30700", "25").contains("API level is 25; 26"));
        assert!(refusal("19000", "30").contains("Magisk is too old: its version code is 19000; 20400"));
    }

    #[test]
    fn a_caller_that_is_no_installer_is_refused() {
        let refusal = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        assert!(refusal(&[]).contains("MAGISK_VER_CODE"));
        assert!(refusal(&[("MAGISK_VER_CODE", "30700"), ("API", "S")]).contains("API"));
    }
}
