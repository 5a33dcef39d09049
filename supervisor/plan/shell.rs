//! The decisions for a temporary container: a shell or one command in a directory, without an init system.
//!
//! Pure, as all of `plan`. It requires only mount namespaces; any other missing feature is a warning. It has no limits,
//! no hardware and no autostart: those parts of the configuration do not apply.

use anyhow::Result;

use super::devices::Policy;
use super::namespaces::WithoutPid;
use super::terms::Terms;
use super::{mounts, namespaces, privileges};
use crate::config::Config;
use crate::host::Host;
use crate::mount::op::Operation;

/// The complete plan of `ds shell`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellPlan {
    /// Host name in the container.
    pub hostname: String,
    /// `CLONE_NEW*` flags.
    pub namespaces: libc::c_int,
    /// Steps that build the file tree.
    pub operations: Vec<Operation>,
    /// Mounts made in the container propagate among its own namespaces.
    pub shared: bool,
    /// The settings for every process in the container.
    pub terms: Terms,
    /// Which devices they may use.
    pub devices: Policy,
    /// Settings without effect, one line each.
    pub warnings: Vec<String>,
}

/// Makes the plan. Nothing has been changed if this fails.
///
/// # Errors
/// If the kernel has no mount namespaces, or the configuration requests a feature that a temporary container lacks.
pub fn build(config: &Config, host: &Host) -> Result<ShellPlan> {
    let mut warnings = privileges::given_up(config);
    let without_pid = if host.answers { WithoutPid::Answer("ds") } else { WithoutPid::Share };
    let namespaces = namespaces::available(config.network.mode, without_pid, host, &mut warnings)?;
    let privileged = config.security.privileged;
    let mut terms = Terms::new(config, host);
    if namespaces & libc::CLONE_NEWPID == 0 && host.answers {
        privileges::answer(config, &mut terms.filters, &mut terms.dropped);
    }
    Ok(ShellPlan {
        hostname: config.hostname().to_string(),
        namespaces,
        operations: mounts::shell(config),
        shared: privileged.shared(),
        terms,
        devices: Policy::new(config, []),
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Name;
    use crate::host::{Hierarchies, Namespaces};

    fn plan(set: &[(&str, &str)], namespaces: libc::c_int) -> Result<ShellPlan> {
        let name: Name = "tree".parse().unwrap();
        let config = Config::transient(&name, &[&[("rootfs", "/srv/tree")], set].concat()).unwrap();
        let host = Host {
            android: false,
            release: "6.1.0".into(),
            machine: "x86_64".into(),
            namespaces: Namespaces(namespaces),
            answers: false,
            ipc: true,
            cgroups: Hierarchies::default(),
        };
        build(&config, &host)
    }

    #[test]
    fn everything_but_mount_namespaces_can_be_done_without() {
        let plan_all = plan(&[], !0).unwrap();
        assert!(plan_all.warnings.is_empty());
        assert_eq!(plan_all.namespaces & libc::CLONE_NEWNET, 0, "the host's network unless asked otherwise");
        assert_ne!(plan_all.namespaces & libc::CLONE_NEWPID, 0);
        let least = plan(&[], libc::CLONE_NEWNS).unwrap();
        assert_eq!(least.namespaces, libc::CLONE_NEWNS);
        assert_eq!(least.warnings.len(), 4);
        assert!(least.warnings[0].contains("CONFIG_PID_NS"), "{:?}", least.warnings);
        assert!(plan(&[], libc::CLONE_NEWPID).unwrap_err().to_string().contains("mount namespaces"));
    }

    #[test]
    fn the_network_is_the_one_asked_for_or_none_at_all() {
        let alone = plan(&[("network.mode", "none")], !0).unwrap();
        assert_ne!(alone.namespaces & libc::CLONE_NEWNET, 0);
        assert!(plan(&[("network.mode", "none")], !libc::CLONE_NEWNET).is_err());
        let translated = plan(&[("network.mode", "nat")], !0).unwrap();
        assert_ne!(translated.namespaces & libc::CLONE_NEWNET, 0);
    }

    #[test]
    fn protections_are_those_of_a_container_unless_taken_away() {
        let plain = plan(&[], !0).unwrap();
        assert!(!plain.terms.dropped.is_empty() && !plain.terms.filters.is_empty() && !plain.shared);
        let masks = |plan: &ShellPlan| {
            plan.operations.iter().filter(|operation| operation.to_string().contains("/proc/sys ")).count()
        };
        assert_eq!(masks(&plain), 1);
        let open = plan(&[("security.privileged", "full")], !0).unwrap();
        assert!(open.terms.dropped.is_empty() && open.terms.filters.is_empty());
        assert_eq!(masks(&open), 0);
    }
}
