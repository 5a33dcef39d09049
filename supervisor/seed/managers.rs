//! Network managers of init systems other than systemd: prevents them from configuring the host's network.
//!
//! Owns the lines that ds adds to their scripts. The lines have an effect only while [`SHARED_NETWORK`] exists, so each
//! boot follows its network mode. systemd's managers have conditions on the same file (`plan::systemd`). openrc-run(8),
//! runsv(8).

use super::Facts;
use crate::rootfs::files;

/// Exists while the container uses the host's network.
const SHARED_NETWORK: &str = files::NETWORK_IS_SHARED.as_str();
/// The mark of lines of ds.
const MARK: &str = "# droidspaces";
/// The functions of a script that OpenRC and procd call, without the dependencies that OpenRC checks first.
const FUNCTIONS: [&str; 11] = [
    "start_pre",
    "start",
    "start_post",
    "stop_pre",
    "stop",
    "stop_post",
    "start_service",
    "stop_service",
    "reload_service",
    "boot",
    "restart",
];

/// A script in /etc/init.d: of OpenRC or procd, which read its functions, or of sysvinit, which runs it.
pub(super) fn init_script(_: &Facts, text: Option<&str>) -> Option<String> {
    let text = text.filter(|text| !text.contains(SHARED_NETWORK))?;
    let first = text.lines().next()?;
    if !["openrc-run", "runscript", "rc.common"].iter().any(|program| first.contains(program)) {
        return guarded(text, "exit 0");
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let functions: String = FUNCTIONS.iter().map(|name| format!("\t{name}() {{ :; }}\n")).collect();
    Some(format!(
        "{text}{end}if [ -e {SHARED_NETWORK} ]; then {MARK}\n\trequired_files= required_dirs=\n{functions}fi\n"
    ))
}

/// The program of a service of runit, which would be restarted again and again if it ended.
pub(super) fn run_script(_: &Facts, text: Option<&str>) -> Option<String> {
    guarded(text.filter(|text| !text.contains(SHARED_NETWORK))?, "exec sleep 2147483647")
}

/// A shell script that does something else while the container uses the host's network.
fn guarded(text: &str, otherwise: &str) -> Option<String> {
    let (first, rest) = text.split_once('\n')?;
    let mut words = first.strip_prefix("#!")?.split_whitespace();
    let is_shell = words.any(|word| {
        let name = word.rsplit('/').next().unwrap_or_default();
        ["sh", "bash", "dash", "ash"].contains(&name)
    });
    is_shell.then(|| format!("{first}\n[ ! -e {SHARED_NETWORK} ] || {otherwise} {MARK}\n{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts() -> Facts {
        Facts {
            hostname: "web".into(),
            android: false,
            subsystems: "usb".parse().unwrap(),
            seed: "yes".parse().unwrap(),
        }
    }

    #[test]
    fn a_script_keeps_every_line_and_is_changed_once() {
        let sysvinit = "#!/bin/sh -e\n### BEGIN INIT INFO\n### END INIT INFO\nifup -a\n";
        let new = init_script(&facts(), Some(sysvinit)).unwrap();
        assert_eq!(
            new,
            sysvinit.replace("-e\n", "-e\n[ ! -e /run/host/network-is-shared ] || exit 0 # droidspaces\n")
        );
        assert_eq!(init_script(&facts(), Some(&new)), None);
        let openrc = "#!/sbin/openrc-run\nstart() {\n\tifup -a\n}";
        let new = init_script(&facts(), Some(openrc)).unwrap();
        assert!(
            new.starts_with(openrc) && new.contains("\n\tstart() { :; }\n") && new.ends_with("fi\n"),
            "{new}"
        );
        assert_eq!(init_script(&facts(), Some(&new)), None);
        let runit = run_script(&facts(), Some("#!/usr/bin/env bash\nexec dhcpcd -B\n")).unwrap();
        assert!(runit.contains("|| exec sleep 2147483647 # droidspaces\nexec dhcpcd"), "{runit}");
    }

    #[test]
    fn programs_that_are_no_script_of_a_shell_stay() {
        for text in ["#!/bin/execlineb -P\ndhcpcd\n", "#!/usr/bin/python3\n", "\x7fELF\n", "", "#!/bin/sh"] {
            assert_eq!(run_script(&facts(), Some(text)), None, "{text:?}");
            assert_eq!(init_script(&facts(), Some(text)), None, "{text:?}");
        }
        assert_eq!(init_script(&facts(), None), None);
    }

    proptest! {
        #[test]
        fn what_was_changed_is_left_alone(text in "((#!)?[ /a-z-]{0,12}(sh|openrc-run|rc.common)?\n?){0,4}") {
            for make in [init_script, run_script] {
                if let Some(made) = make(&facts(), Some(&text)) {
                    prop_assert_eq!(make(&facts(), Some(&made)), None);
                }
            }
        }
    }
}
