//! Servers of the host that programs in a container use: a display, sound, rendering.
//!
//! Owns the common part of all profiles; each profile has its own file with its sockets and variables. The user runs
//! the servers: ds never starts or stops one.

mod profile;
mod pulse;
mod termux_x11;
mod virgl;

pub use self::profile::Profile;
use crate::config::Config;
use crate::config::value::{DisplayProfile, GlProfile, SoundProfile};
use crate::mount::op::Operation;

/// The profiles of a configuration.
#[must_use]
pub fn of(config: &Config) -> Vec<&'static Profile> {
    let hardware = &config.hardware;
    [
        (hardware.display == DisplayProfile::TermuxX11).then_some(&termux_x11::PROFILE),
        (hardware.sound == SoundProfile::Pulse).then_some(&pulse::PROFILE),
        (hardware.gl == GlProfile::Virgl).then_some(&virgl::PROFILE),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The variables of a configuration's profiles.
pub fn environment(config: &Config) -> impl Iterator<Item = (&'static str, &'static str)> {
    of(config).into_iter().flat_map(|profile| profile.environment.iter().copied())
}

/// Steps that bind the sockets. systemd mounts its own /tmp, so systemd-tmpfiles(8) creates a link there afterwards;
/// with other init systems, the socket is also bound to its usual path. The host's directory is never bound, because
/// systemd-tmpfiles(8) would remove its content.
#[must_use]
pub fn operations(config: &Config, systemd: bool) -> Vec<Operation> {
    let mut list = Vec::new();
    for profile in of(config) {
        list.push(Operation::Socket {
            sources: profile.sockets,
            target: profile.place.into(),
            also: profile.usual.filter(|_| !systemd).map(str::to_owned),
            remedy: format!("{}: no server on the host; {}", profile.setting, profile.remedy),
        });
        if let (Some((directory, name)), true) =
            (profile.usual.and_then(|usual| usual.rsplit_once('/')), systemd)
        {
            let directory_line = match directory {
                "/tmp" => String::new(),
                _ => format!("d {directory} 1777 root root -\n"),
            };
            list.push(Operation::File {
                target: format!("/run/tmpfiles.d/droidspaces-{}.conf", name.trim_start_matches('.')),
                content: format!("{directory_line}L {directory}/{name} - - - - {}\n", profile.place),
            });
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_its_profile() {
        let name = "web".parse().unwrap();
        let set = [
            ("rootfs", "/srv/web"),
            ("hardware.display", "termux-x11"),
            ("hardware.sound", "pulse"),
            ("hardware.gl", "virgl"),
        ];
        let config = Config::transient(&name, &set).unwrap();
        let profiles = of(&config);
        assert_eq!(profiles.len(), 3);
        for (profile, (key, value)) in profiles.iter().zip(&set[1..]) {
            assert_eq!(profile.setting, format!("{key} = {value}"));
            assert!(profile.place.starts_with("/run/host/") && !profile.sockets.is_empty());
        }
        let variables: Vec<_> = environment(&config).map(|(name, _)| name).collect();
        assert_eq!(variables, ["DISPLAY", "PULSE_SERVER", "GALLIUM_DRIVER", "VTEST_SOCKET_NAME"]);
        let shown =
            |systemd| operations(&config, systemd).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(false).len(), 3);
        assert!(shown(true).iter().any(|line| line.contains("/run/tmpfiles.d/droidspaces-X0.conf")));
    }
}
