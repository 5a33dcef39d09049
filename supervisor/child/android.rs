//! What a container takes part in on a phone: time zone, name servers, names of routing tables, shared storage.
//!
//! Found out at each boot, because it changes while the phone runs. Nothing is written into the image: what is made
//! here is in /run or a mount, and goes with the container. Elsewhere than on Android all of this is empty.

use std::path::Path;

use anyhow::Result;

use crate::android::{property, storage};
use crate::config::Config;
use crate::config::value::{NameServers, NetworkMode};
use crate::host::Host;
use crate::mount::op::Operation;
use crate::paths::Paths;
use crate::rootfs::files::RESOLV_CONF;
use crate::rootfs::root::Root;

/// Where shared storage is shown.
pub const STORAGE: &str = "/mnt/storage";
/// netd's names of routing tables, in the format of iproute2.
const TABLES: &str = "/data/misc/net/rt_tables";
/// Answers when the phone's network names no server yet.
const FALLBACK: [&str; 2] = ["1.1.1.1", "8.8.8.8"];
/// The name of the variable, environ(7).
const ZONE: &str = "TZ";

/// Gives a configuration the variables of the phone that it does not set itself.
pub fn complete(config: &mut Config, host: &Host) {
    let is_set = config.environment.keys().any(|name| name.as_str() == ZONE);
    if !host.android || !config.android.timezone || is_set {
        return;
    }
    if let (Some(zone), Ok(name)) = (property::timezone(), ZONE.parse()) {
        config.environment.insert(name, zone);
    }
}

/// The steps of one boot, after all others. `config` is [`complete`]; `root` is the tree.
///
/// # Errors
/// When shared storage cannot be prepared.
pub fn operations(config: &Config, host: &Host, paths: &Paths, root: &Root) -> Result<Vec<Operation>> {
    let mut list = Vec::new();
    if !host.android {
        return Ok(list);
    }
    let zone = config.environment.iter().find(|(name, _)| config.android.timezone && name.as_str() == ZONE);
    if let Some((_, zone)) = zone {
        list.push(file("/run/host/timezone", format!("{zone}\n")));
        // systemd hands none of its own variables to services.
        let manager = format!("[Manager]\nDefaultEnvironment={ZONE}={zone}\n");
        list.push(file("/run/systemd/system.conf.d/50-droidspaces-timezone.conf", manager));
    }
    list.extend(name_servers(config, root));
    if config.network.mode == NetworkMode::Host && Path::new(TABLES).exists() {
        list.push(Operation::Bind {
            source: TABLES.into(),
            target: "/etc/iproute2/rt_tables".into(),
            read_only: true,
            required: false,
        });
    }
    if let Some(source) = &config.android.storage {
        let place = storage::prepare(paths, source, &config.name)?;
        list.push(Operation::Follow { source: place.to_string_lossy().into_owned(), target: STORAGE.into() });
    }
    Ok(list)
}

fn name_servers(config: &Config, root: &Root) -> Vec<Operation> {
    let servers: Vec<String> = match &config.android.dns {
        NameServers::No => return Vec::new(),
        _ if config.network.mode == NetworkMode::None => return Vec::new(),
        NameServers::These(servers) => servers.iter().map(ToString::to_string).collect(),
        NameServers::Auto => match property::name_servers() {
            servers if servers.is_empty() => FALLBACK.map(str::to_owned).into(),
            servers => servers.iter().map(ToString::to_string).collect(),
        },
    };
    let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    match root.read_link(RESOLV_CONF.path()).map(|link| absolute(&link)) {
        Some(path) if path.starts_with("/run/systemd/resolve") => {
            // systemd-resolved writes that file itself, and takes its servers from here (resolved.conf(5)).
            let text = format!("[Resolve]\nDNS={}\n", servers.join(" "));
            vec![file("/run/systemd/resolved.conf.d/50-droidspaces.conf", text)]
        }
        // The image has it in /run, where nothing is yet.
        Some(path) if path.starts_with("/run/") => vec![file(&path, lines)],
        Some(_) if root.resolve(RESOLV_CONF.path()).is_err() => Vec::new(),
        _ => vec![
            file("/run/host/resolv.conf", lines),
            Operation::Cover { source: "/run/host/resolv.conf".into(), target: RESOLV_CONF.as_str().into() },
        ],
    }
}

/// Where a link in /etc leads, by its words alone.
fn absolute(link: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let from = Path::new("/etc").join(link);
    for part in from.iter().skip(1).filter_map(|part| part.to_str()) {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn file(target: &str, content: String) -> Operation {
    Operation::File { target: target.into(), content }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_leads_where_its_words_say() {
        for (link, target) in [
            ("../run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
            ("/run/resolvconf/resolv.conf", "/run/resolvconf/resolv.conf"),
            ("resolvconf/x", "/etc/resolvconf/x"),
            ("../run/../etc/shadow", "/etc/shadow"),
            ("../../../../run/x", "/run/x"),
            ("/", "/"),
        ] {
            assert_eq!(absolute(Path::new(link)), target, "{link}");
        }
    }

    #[test]
    fn name_servers_come_without_a_byte_in_the_image() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("etc")).unwrap();
        let root = Root::open(tree.path()).unwrap();
        let text = b"[container]\nrootfs=/r\n[android]\ndns=9.9.9.9,::1\n";
        let mut config = Config::parse(text, Path::new("f"), &"web".parse().unwrap()).unwrap();
        let shown = |config: &Config| {
            name_servers(config, &root).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(
            shown(&config),
            "none /run/host/resolv.conf file size=34; /run/host/resolv.conf /etc/resolv.conf none bind"
        );
        let link = tree.path().join("etc/resolv.conf");
        for (target, expected) in [
            (
                "../run/systemd/resolve/stub-resolv.conf",
                "none /run/systemd/resolved.conf.d/50-droidspaces.conf file size=26",
            ),
            ("/run/resolvconf/resolv.conf", "none /run/resolvconf/resolv.conf file size=34"),
            ("/nowhere", ""),
        ] {
            let _ = std::fs::remove_file(&link);
            symlink(target, &link).unwrap();
            assert_eq!(shown(&config), expected, "{target}");
        }
        config.android.dns = NameServers::No;
        assert_eq!(shown(&config), "");
    }
}
