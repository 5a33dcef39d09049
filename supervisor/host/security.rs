//! The kernel's restrictions of this process: system call filters and SELinux.
//!
//! Facts for `ds check` and `ds doctor`; changes nothing. proc_pid_status(5), selinux(8).

use std::fmt;
use std::fs;

use serde::Serialize;

/// State of SELinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Selinux {
    /// Not in the kernel, or disabled.
    Off,
    /// Violations are logged.
    Permissive,
    /// Violations are denied.
    Enforcing,
}

impl Selinux {
    /// Reads the state.
    #[must_use]
    pub fn probe() -> Self {
        match fs::read_to_string("/sys/fs/selinux/enforce").as_deref().map(str::trim) {
            Ok("0") => Self::Permissive,
            Ok(_) => Self::Enforcing,
            Err(_) => Self::Off,
        }
    }
}

impl fmt::Display for Selinux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Permissive => "permissive",
            Self::Enforcing => "enforcing",
        })
    }
}

/// The system call filters of this process, which its children inherit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Seccomp {
    /// 0 none, 1 strict, 2 filter mode.
    pub mode: u32,
    /// The number of filters, active or not; 0 on kernels before 5.9, which do not report it.
    pub filters: u32,
}

impl Seccomp {
    /// Reads the state.
    #[must_use]
    pub fn probe() -> Self {
        Self::from_status(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn from_status(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Self { mode: field("Seccomp"), filters: field("Seccomp_filters") }
    }
}

impl fmt::Display for Seccomp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { mode: 0, filters: 0 } => f.write_str("none"),
            Self { mode: 0, filters } => write!(f, "{filters} inactive"),
            Self { mode, filters } => write!(f, "mode {mode}, {filters} filters"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_and_inactive_filters_are_distinguished() {
        let shown = |text: &str| Seccomp::from_status(text).to_string();
        assert_eq!(shown("Name:\tsh\nSeccomp:\t0\nSeccomp_filters:\t0\n"), "none");
        assert_eq!(shown("Seccomp:\t0\nSeccomp_filters:\t1\n"), "1 inactive");
        assert_eq!(shown("Seccomp:\t2\nSeccomp_filters:\t3\n"), "mode 2, 3 filters");
        assert_eq!(shown(""), "none");
    }
}
