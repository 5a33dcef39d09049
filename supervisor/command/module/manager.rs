//! Root managers: which one calls, and which versions of it the module can be installed with.
//!
//! Owns the variables that tell them apart and the oldest versions. All three set `MAGISK_VER_CODE`, so the order in
//! which the others are asked for matters: `KSU` is KernelSU's and its relatives', `APATCH` is APatch's.

use anyhow::{Result, bail};

use super::place::MANAGERS;

/// Oldest Android: 8.0. Kernels of older devices lack too much.
const OLDEST_API: u32 = 26;

/// A root manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Magisk and its forks.
    Magisk,
    /// KernelSU, KernelSU-Next and other relatives.
    KernelSu,
    /// APatch.
    APatch,
}

/// What an installer tells of itself and of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose installer it is.
    pub manager: Manager,
    /// Its version code.
    pub version: u32,
    /// The API level of the device's Android.
    pub api: u32,
}

impl Manager {
    /// The manager whose variables are set.
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

    /// What it calls itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Magisk => "Magisk",
            Self::KernelSu => "KernelSU",
            Self::APatch => "APatch",
        }
    }

    /// The variable that has its version code, and the oldest one.
    ///
    /// Magisk 20.4 is the first to run a module's scripts in its own BusyBox. The other two are the oldest that have a
    /// directory of programs in the search path of their root shell.
    const fn oldest(self) -> (&'static str, u32) {
        match self {
            Self::Magisk => ("MAGISK_VER_CODE", 20400),
            Self::KernelSu => ("KSU_VER_CODE", 10940),
            Self::APatch => ("APATCH_VER_CODE", 10655),
        }
    }

    /// Its directory of programs, which is in the search path of its root shell; Magisk has none, and mounts what a
    /// module has in `system/` instead. The others mount nothing by themselves.
    pub fn programs(self) -> Option<String> {
        match self {
            Self::Magisk => None,
            Self::KernelSu => Some(format!("{MANAGERS}/ksu/bin")),
            Self::APatch => Some(format!("{MANAGERS}/ap/bin")),
        }
    }
}

impl Caller {
    /// Reads what an installer set.
    ///
    /// # Errors
    /// A variable that should be a number and is not.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let number = |name: &str| match variable(name).unwrap_or_default().parse() {
            Ok(number) => Ok(number),
            Err(_) => bail!("The installer does not set {name}; is this a root manager?"),
        };
        let manager = Manager::of(variable);
        Ok(Self { manager, version: number(manager.oldest().0)?, api: number("API")? })
    }

    /// Refuses what is too old.
    ///
    /// # Errors
    /// One sentence that names the version needed.
    pub fn check(&self) -> Result<()> {
        let Self { manager, version, api } = *self;
        let (name, (_, oldest)) = (manager.name(), manager.oldest());
        if api < OLDEST_API {
            bail!(
                "This Android is too old: its API level is {api}, and {OLDEST_API} (Android 8.0) is needed"
            );
        }
        if version < oldest {
            bail!(
                "This {name} is too old: its version code is {version}, and {oldest} is needed; update its app"
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
    fn the_false_magisk_of_the_others_deceives_nobody() {
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
        assert!(refusal("30700", "25").contains("API level is 25, and 26"));
        assert!(refusal("19000", "30").contains("Magisk is too old: its version code is 19000, and 20400"));
    }

    #[test]
    fn a_caller_that_is_no_installer_is_refused() {
        let refusal = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        assert!(refusal(&[]).contains("MAGISK_VER_CODE"));
        assert!(refusal(&[("MAGISK_VER_CODE", "30700"), ("API", "S")]).contains("API"));
    }
}
