//! The name servers of a container: /etc/resolv.conf, or the configuration of systemd-resolved. resolv.conf(5),
//! resolved.conf(5).
//!
//! Determined at each boot, and again when the machine's servers change. Writes nothing to the tree: the file is in
//! /run and is mounted over the tree's own file, if that has no servers or the configuration requests it.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::android::property;
use crate::config::Config;
use crate::config::value::{NameServers, NetworkMode};
use crate::durable;
use crate::host::Host;
use crate::mount::op::Operation;
use crate::peer::PidNamespace;
use crate::rootfs::files::{GuestFile, RESOLV_CONF, RESOLVED_ENABLED, RESOLVED_SERVERS, RESOLVED_WANTED};
use crate::rootfs::root::Root;

/// The host's resolv.conf(5).
pub const HOSTS_FILE: &str = "/etc/resolv.conf";
/// Used if the machine's network provides no server.
const FALLBACK: [&str; 2] = ["1.1.1.1", "8.8.8.8"];
/// The servers that systemd-resolved of the host asks, systemd-resolved.service(8).
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";
/// Maximum size of the host's file, in bytes.
const LIMIT: u64 = 64 << 10;
/// The keyword of a line with a server.
const SERVER: &str = "nameserver ";
/// Resolvers use at most this number of servers.
const MAX: usize = 3;

/// The steps that configure the name servers of a container.
#[must_use]
pub fn operations(config: &Config, host: &Host, root: &Root) -> Vec<Operation> {
    if config.network.mode == NetworkMode::None {
        return Vec::new();
    }
    steps(&config.network.dns, root, host.android, &|| own(config, host))
}

/// The name servers of a running container that follow the machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// The file inside.
    file: GuestFile,
    /// The content written last.
    pub written: String,
    /// systemd-resolved reads it at its start.
    pub for_resolved: bool,
    /// Whether the container is in the host's network.
    shared: bool,
}

/// The file of a boot that follows the machine; `None` if the servers are fixed.
#[must_use]
pub fn following(config: &Config, steps: &[Operation]) -> Option<Following> {
    if config.network.mode == NetworkMode::None || config.network.dns != NameServers::Auto {
        return None;
    }
    let shared = config.network.mode == NetworkMode::Host;
    steps.iter().find_map(|step| match step {
        Operation::File { target, content } if target == RESOLVED_SERVERS.as_str() => {
            Some(Following { file: RESOLVED_SERVERS, written: content.clone(), for_resolved: true, shared })
        }
        // Either way, the usual path leads to the file.
        Operation::File { content, .. } if content.starts_with(SERVER) => {
            Some(Following { file: RESOLV_CONF, written: content.clone(), for_resolved: false, shared })
        }
        _ => None,
    })
}

/// Writes the machine's current servers into a running container; returns the written text. Does nothing if the
/// container has changed the file, or if the machine has no servers.
///
/// # Errors
/// If the file cannot be read or written.
pub fn renew(following: &Following, root: &Root, android: bool) -> Result<Option<String>> {
    let servers = if android { property::name_servers() } else { of_host(following.shared) };
    let new = match following.for_resolved {
        true => for_resolved(&shown(&servers)),
        false => Some(lines(&shown(&servers))),
    };
    let Some(new) = new.filter(|new| !servers.is_empty() && *new != following.written) else {
        return Ok(None);
    };
    if root.read(following.file, LIMIT)? != following.written.as_bytes() {
        return Ok(None);
    }
    root.overwrite(following.file, new.as_bytes())?;
    Ok(Some(new))
}

impl Following {
    /// Kills systemd-resolved in the PID namespace of `init`: its unit starts it again (systemd-resolved.service(8),
    /// `Restart=always`), and it reads the new file. Versions before 255 have no request to reload.
    pub fn restart_resolved(&self, init: Pid) {
        const NAME: &str = "systemd-resolve";
        let namespace = |process: &str| PidNamespace::of(process).ok();
        let own = namespace(&init.to_string());
        let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        for process in processes.map(|entry| entry.path()) {
            let Some(pid) = process.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()) else {
                continue;
            };
            let is_named = || fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == NAME);
            let is_unit = || {
                let groups = fs::read_to_string(process.join("cgroup"));
                groups.is_ok_and(|groups| groups.contains("/systemd-resolved.service"))
            };
            if is_named() && own.is_some() && namespace(&pid.to_string()) == own && is_unit() {
                // It may have ended in the meantime.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
    }
}

fn lines(servers: &[String]) -> String {
    servers.iter().map(|server| format!("{SERVER}{server}\n")).collect()
}

/// The servers for systemd-resolved, without its own stub.
fn for_resolved(servers: &[String]) -> Option<String> {
    let asked: Vec<&str> = servers.iter().filter(|server| !is_stub(server)).map(String::as_str).collect();
    (!asked.is_empty()).then(|| format!("[Resolve]\nDNS={}\n", asked.join(" ")))
}

/// The servers that a container uses; its DHCP clients receive them.
#[must_use]
pub fn servers(config: &Config, host: &Host) -> Vec<IpAddr> {
    match &config.network.dns {
        NameServers::No => Vec::new(),
        NameServers::These(servers) => servers.clone(),
        NameServers::Auto => {
            let own = own(config, host);
            shown(&own).iter().filter_map(|server| server.parse().ok()).collect()
        }
    }
}

/// Those of the machine's network.
fn own(config: &Config, host: &Host) -> Vec<IpAddr> {
    if host.android { property::name_servers() } else { of_host(config.network.mode == NetworkMode::Host) }
}

/// `own` determines the servers of the machine's network.
fn steps(wanted: &NameServers, root: &Root, android: bool, own: &dyn Fn() -> Vec<IpAddr>) -> Vec<Operation> {
    let servers = match wanted {
        NameServers::No => return Vec::new(),
        NameServers::These(servers) => shown(servers),
        // A file with servers is kept. On a phone the servers change with the network, so no image can contain them.
        NameServers::Auto if !android && has_servers(root) => return Vec::new(),
        NameServers::Auto => shown(&own()),
    };
    let lines = lines(&servers);
    match root.read_link(RESOLV_CONF.path()).map(|link| absolute(&link)) {
        Some(path) if path.starts_with("/run/systemd/resolve") && resolved_runs(root) => {
            // systemd-resolved writes that file itself, and takes its servers from this one.
            let text = for_resolved(&servers);
            text.map(|text| file(RESOLVED_SERVERS.as_str(), text)).into_iter().collect()
        }
        // The image's file is in /run, which is empty at boot.
        Some(path) if path.starts_with("/run/") => vec![file(&path, lines)],
        Some(_) if root.resolve(RESOLV_CONF.path()).is_err() => Vec::new(),
        _ => vec![
            file("/run/host/resolv.conf", lines),
            Operation::Cover { source: "/run/host/resolv.conf".into(), target: RESOLV_CONF.as_str().into() },
        ],
    }
}

fn shown(servers: &[IpAddr]) -> Vec<String> {
    if servers.is_empty() {
        return FALLBACK.map(str::to_owned).into();
    }
    servers.iter().take(MAX).map(ToString::to_string).collect()
}

/// The host's own servers. In the host's network, the address of its stub also works in the container; elsewhere, the
/// servers behind the stub are used.
fn of_host(shared: bool) -> Vec<IpAddr> {
    let read = |path: &Path| {
        let text = durable::read(path, LIMIT).unwrap_or_default();
        servers_in(&String::from_utf8_lossy(&text))
    };
    let servers = read(Path::new(HOSTS_FILE));
    if shared {
        return servers;
    }
    let reachable = |servers: Vec<IpAddr>| servers.into_iter().filter(is_reachable).collect::<Vec<_>>();
    let direct = reachable(servers);
    if direct.is_empty() { reachable(read(Path::new(BEHIND_STUB))) } else { direct }
}

/// Whether a server can be reached from another network namespace of the machine.
fn is_reachable(server: &IpAddr) -> bool {
    let local = match server {
        IpAddr::V4(server) => server.is_link_local(),
        IpAddr::V6(server) => server.is_unicast_link_local(),
    };
    !server.is_loopback() && !server.is_unspecified() && !local
}

fn servers_in(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(server).collect()
}

/// The tree's own file contains name servers.
fn has_servers(root: &Root) -> bool {
    root.read(RESOLV_CONF, LIMIT).is_ok_and(|text| !servers_in(&String::from_utf8_lossy(&text)).is_empty())
}

fn resolved_runs(root: &Root) -> bool {
    [RESOLVED_ENABLED, RESOLVED_WANTED].iter().any(|unit| root.resolve_no_follow(unit.path()).is_ok())
}

/// An address of systemd-resolved itself, systemd-resolved.service(8).
fn is_stub(server: &str) -> bool {
    server == "127.0.0.53" || server == "127.0.0.54"
}

/// The target of a link in /etc, resolved only by its text.
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
        let etc = tree.path().join("etc");
        fs::create_dir_all(etc.join("systemd/system")).unwrap();
        let root = Root::open(tree.path()).unwrap();
        let own = || vec!["127.0.0.53".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        let shown = |wanted: &str, android| {
            let list = steps(&wanted.parse().unwrap(), &root, android, &own);
            list.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let covered =
            "none /run/host/resolv.conf file size=34; /run/host/resolv.conf /etc/resolv.conf none bind";
        assert_eq!(shown("9.9.9.9,::1", false), covered);
        assert_eq!(shown("no", true), "");
        let file = etc.join("resolv.conf");
        fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(shown("auto", false), "", "a file with servers holds");
        assert_ne!(shown("auto", true), "", "but for a phone's");
        fs::write(&file, "# nothing\n").unwrap();
        assert!(shown("auto", false).contains("/etc/resolv.conf none bind"));
        let stub = "../run/systemd/resolve/stub-resolv.conf";
        for (target, expected) in [
            (stub, "none /run/systemd/resolve/stub-resolv.conf file size=34"),
            ("/run/resolvconf/resolv.conf", "none /run/resolvconf/resolv.conf file size=34"),
            ("/nowhere", ""),
        ] {
            let _ = fs::remove_file(&file);
            symlink(target, &file).unwrap();
            assert_eq!(shown("9.9.9.9,::1", false), expected, "{target}");
        }
        fs::remove_file(&file).unwrap();
        symlink(stub, &file).unwrap();
        symlink("/x", tree.path().join(&RESOLVED_ENABLED.as_str()[1..])).unwrap();
        let drop_in = "none /run/systemd/resolved.conf.d/50-droidspaces.conf file size=";
        assert_eq!(shown("9.9.9.9,::1", false), format!("{drop_in}26"));
        assert_eq!(shown("auto", false), format!("{drop_in}23"), "its own stub is no server");
    }

    #[test]
    fn what_was_written_follows_and_nothing_else() {
        let config = |dns: &str| {
            let text = format!("[container]\nrootfs=/r\n[network]\ndns={dns}\n");
            Config::parse(text.as_bytes(), Path::new("f"), &"web".parse().unwrap()).unwrap()
        };
        let lines =
            [file("/run/x/y", "nameserver 10.0.0.1\n".into()), file("/run/host/timezone", "UTC\n".into())];
        let found = following(&config("auto"), &lines).unwrap();
        assert_eq!((found.file, found.for_resolved), (RESOLV_CONF, false));
        assert_eq!(following(&config("9.9.9.9"), &lines), None);
        assert_eq!(following(&config("auto"), &lines[1..]), None);
        let drop_in = [file(RESOLVED_SERVERS.as_str(), for_resolved(&["10.0.0.1".into()]).unwrap())];
        let found = following(&config("auto"), &drop_in).unwrap();
        assert_eq!((found.file, found.for_resolved), (RESOLVED_SERVERS, true));
        assert_eq!(for_resolved(&["127.0.0.53".into()]), None);
    }

    #[test]
    fn a_list_of_servers_is_read() {
        let text =
            "# nameserver 1.1.1.1\nsearch lan\nnameserver 9.9.9.9 # x\n nameserver ::1\nnameserver x\n";
        let expected: Vec<IpAddr> = vec!["9.9.9.9".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(servers_in(text), expected);
    }
}
