//! The name servers of a container: /etc/resolv.conf, or the configuration of systemd-resolved. resolv.conf(5),
//! resolved.conf(5).
//!
//! Determined at each boot. Nothing is written into the tree: the file is in /run and is mounted over the tree's own
//! file, if that has no servers or the configuration says so.

use std::net::IpAddr;
use std::path::Path;

use crate::android::property;
use crate::config::Config;
use crate::config::value::{NameServers, NetworkMode};
use crate::durable;
use crate::host::Host;
use crate::mount::op::Operation;
use crate::rootfs::files::{RESOLV_CONF, RESOLVED_ENABLED, RESOLVED_WANTED};
use crate::rootfs::root::Root;

/// Used if the machine's network provides no server.
const FALLBACK: [&str; 2] = ["1.1.1.1", "8.8.8.8"];
/// Maximum size of the host's file, in bytes.
const LIMIT: u64 = 64 << 10;
/// Resolvers use at most this number of servers.
const MOST: usize = 3;

/// The steps that configure the name servers of a container.
pub(super) fn operations(config: &Config, host: &Host, root: &Root) -> Vec<Operation> {
    if config.network.mode == NetworkMode::None {
        return Vec::new();
    }
    let own = || if host.android { property::name_servers() } else { of_host() };
    steps(&config.network.dns, root, host.android, &own)
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
    let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    match root.read_link(RESOLV_CONF.path()).map(|link| absolute(&link)) {
        Some(path) if path.starts_with("/run/systemd/resolve") && resolved_runs(root) => {
            // systemd-resolved writes that file itself, and reads its servers from here. Its own stub is not a server
            // for it.
            let asked: Vec<_> =
                servers.iter().filter(|server| !is_stub(server)).map(String::as_str).collect();
            if asked.is_empty() {
                return Vec::new();
            }
            let text = format!("[Resolve]\nDNS={}\n", asked.join(" "));
            vec![file("/run/systemd/resolved.conf.d/50-droidspaces.conf", text)]
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
    servers.iter().take(MOST).map(ToString::to_string).collect()
}

/// The host's own servers. The address of its stub also works in a container with the host's network.
fn of_host() -> Vec<IpAddr> {
    let text = durable::read(RESOLV_CONF.path(), LIMIT).unwrap_or_default();
    servers_in(&String::from_utf8_lossy(&text))
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
    use std::fs;
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
    fn a_list_of_servers_is_read() {
        let text =
            "# nameserver 1.1.1.1\nsearch lan\nnameserver 9.9.9.9 # x\n nameserver ::1\nnameserver x\n";
        let expected: Vec<IpAddr> = vec!["9.9.9.9".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(servers_in(text), expected);
    }
}
