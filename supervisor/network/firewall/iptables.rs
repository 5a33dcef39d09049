//! The rules as input of iptables-restore: chains of ds, to which the built-in ones jump.
//!
//! Owns the text, and the chains with the prefix of ds. Flushes only these, changes no policy, and deletes no rule
//! except the jumps of ds. One run for each family, under the lock of xtables. iptables-restore(8).

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::rules::{Chain, Match, Rule, Verdict};
use crate::network::identity::OWN;
use crate::tool::{Invocation, Tool};

/// The tables with chains of ds.
const TABLES: [&str; 3] = ["filter", "mangle", "nat"];

/// The jump to a chain: its table, the built-in chain, and the name of the chain of ds.
fn place(chain: Chain) -> (&'static str, &'static str, &'static str) {
    match chain {
        Chain::Sources => ("mangle", "PREROUTING", "sources"),
        Chain::Input => ("filter", "INPUT", "input"),
        Chain::Forward => ("filter", "FORWARD", "forward"),
        Chain::Clamp => ("mangle", "FORWARD", "clamp"),
        Chain::Publish => ("nat", "PREROUTING", "publish"),
        Chain::PublishLocally => ("nat", "OUTPUT", "publish-locally"),
        Chain::Translate => ("nat", "POSTROUTING", "translate"),
    }
}

/// The programs of one family.
#[derive(Debug)]
pub struct Programs {
    save: Tool,
    restore: Tool,
    ipv4: bool,
}

impl Programs {
    /// Those of a family and a variant: `-nft`, `-legacy`, or the system's default.
    #[must_use]
    pub fn find(ipv4: bool, kind: &str) -> Option<Self> {
        let name = if ipv4 { "iptables" } else { "ip6tables" };
        let tool = |verb: &str| Tool::find(&format!("{name}{kind}-{verb}"));
        Some(Self { save: tool("save")?, restore: tool("restore")?, ipv4 })
    }

    /// The lines of a table; `None` if the kernel lacks it.
    #[must_use]
    pub fn table(&self, table: &str) -> Option<Vec<String>> {
        let arguments = ["-t", table].map(OsStr::new);
        let mut said = Vec::new();
        let mut take = |line: &str| said.push(line.trim().to_owned());
        let mut invocation = Invocation {
            lines: Some(&mut take),
            death_signal: Signal::SIGKILL,
            ..Invocation::new(&arguments)
        };
        let outcome = self.save.run(&mut invocation).ok()?;
        outcome.is_success().then_some(said)
    }

    /// Replaces the rules of ds by those of this family.
    ///
    /// # Errors
    /// If iptables refuses them.
    pub fn apply(&self, prefix: &str, rules: &[Rule], local: Option<&[IpAddr]>, file: &Path) -> Result<()> {
        let rules: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv4 == self.ipv4).collect();
        if rules.is_empty() {
            return self.remove(prefix, file);
        }
        let mut text = String::new();
        for table in TABLES {
            let saved = self.table(table).with_context(|| format!("the kernel has no table '{table}'"))?;
            text.push_str(&filled(prefix, table, &saved, &rules, local));
        }
        self.restore(&text, file)
    }

    /// Whether the rules of ds and the jumps to them exist; compares only their number.
    #[must_use]
    pub fn is_intact(&self, prefix: &str, rules: &[Rule], local: &[IpAddr]) -> bool {
        let rules: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv4 == self.ipv4).collect();
        TABLES.iter().all(|table| {
            let Some(saved) = self.table(table) else { return false };
            let chains = Chain::ALL.into_iter().filter(|chain| place(*chain).0 == *table);
            rules.is_empty()
                || chains.into_iter().all(|chain| is_filled(prefix, chain, &saved, &rules, local))
        })
    }

    /// Removes the rules of ds.
    ///
    /// # Errors
    /// If iptables refuses.
    pub fn remove(&self, prefix: &str, file: &Path) -> Result<()> {
        let text: String =
            TABLES.iter().filter_map(|table| emptied(prefix, table, &self.table(table)?)).collect();
        if text.is_empty() { Ok(()) } else { self.restore(&text, file) }
    }

    fn restore(&self, text: &str, file: &Path) -> Result<()> {
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        let arguments = [OsStr::new("-w"), OsStr::new("--noflush"), file.as_os_str()];
        let outcome = self.restore.run(&mut Invocation::new(&arguments))?;
        let _ = std::fs::remove_file(file);
        if !outcome.is_success() {
            bail!("{}: {}", self.restore.path().display(), outcome.last_words());
        }
        Ok(())
    }
}

/// One table with these rules. Naming a chain creates or flushes it.
fn filled(prefix: &str, table: &str, saved: &[String], rules: &[&Rule], local: Option<&[IpAddr]>) -> String {
    let chains = || Chain::ALL.into_iter().map(place).filter(|(other, _, _)| *other == table);
    let mut text = format!("*{table}\n");
    for (_, _, name) in chains() {
        text.push_str(&format!(":{prefix}{name} - [0:0]\n"));
    }
    for (_, origin, name) in chains() {
        let jump = format!("-A {origin} -j {prefix}{name}");
        if !saved.contains(&jump) {
            text.push_str(&format!("-I {origin} 1 -j {prefix}{name}\n"));
        }
    }
    for rule in rules.iter().filter(|rule| place(rule.chain).0 == table) {
        let (_, _, name) = place(rule.chain);
        for words in words(rule, local) {
            text.push_str(&format!("-A {prefix}{name} {words}\n"));
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// Whether a chain of ds has the expected number of rules, and a jump leads to it.
fn is_filled(prefix: &str, chain: Chain, saved: &[String], rules: &[&Rule], local: &[IpAddr]) -> bool {
    let (_, origin, name) = place(chain);
    let start = format!("-A {prefix}{name} ");
    let there: Vec<&String> = saved.iter().filter(|line| line.starts_with(&start)).collect();
    let of_chain = || rules.iter().filter(|rule| rule.chain == chain);
    let number = |local: Option<&[IpAddr]>| of_chain().map(|rule| words(rule, local).len()).sum::<usize>();
    let named = |own: &IpAddr| there.iter().any(|line| line.contains(&format!("-d {own}/")));
    let to_host = of_chain().any(|rule| rule.matches.contains(&Match::ToHost));
    let is_ipv4 = rules.first().is_some_and(|rule| rule.ipv4);
    let listed = || {
        let own = local.iter().filter(|own| own.is_ipv4() == is_ipv4);
        there.len() == number(Some(local)) && (!to_host || own.into_iter().all(named))
    };
    saved.contains(&format!("-A {origin} -j {prefix}{name}")) && (there.len() == number(None) || listed())
}

/// One table without the chains of ds; `None` if it has none.
fn emptied(prefix: &str, table: &str, saved: &[String]) -> Option<String> {
    let chains = || Chain::ALL.into_iter().map(place).filter(|(other, _, _)| *other == table);
    let mut text = String::new();
    for (_, origin, name) in chains() {
        let jump = format!("-A {origin} -j {prefix}{name}");
        for _ in saved.iter().filter(|line| **line == jump) {
            text.push_str(&format!("-D {origin} -j {prefix}{name}\n"));
        }
    }
    let ours: Vec<_> = chains()
        .map(|(_, _, name)| format!("{prefix}{name}"))
        .filter(|name| saved.iter().any(|line| line.starts_with(&format!(":{name} "))))
        .collect();
    for verb in ["-F", "-X"] {
        for name in &ours {
            text.push_str(&format!("{verb} {name}\n"));
        }
    }
    (!text.is_empty()).then(|| format!("*{table}\n{text}COMMIT\n"))
}

/// A rule as text. If the kernel cannot match the host's addresses, one rule for each of `local`.
fn words(rule: &Rule, local: Option<&[IpAddr]>) -> Vec<String> {
    let to_host = rule.matches.contains(&Match::ToHost);
    let addresses: Vec<Option<IpAddr>> = match local.filter(|_| to_host) {
        Some(local) => local.iter().filter(|own| own.is_ipv4() == rule.ipv4).map(|own| Some(*own)).collect(),
        None => vec![None],
    };
    let one = |own: Option<IpAddr>| {
        let mut words: Vec<String> =
            rule.matches.iter().map(|matched| condition(matched, rule.ipv4, own)).collect();
        words.push(verdict(&rule.verdict));
        words.join(" ")
    };
    addresses.into_iter().map(one).collect()
}

fn condition(matched: &Match, ipv4: bool, own: Option<IpAddr>) -> String {
    let not = |equal: &bool| if *equal { "" } else { "! " };
    match matched {
        Match::In(name, equal) => format!("{}-i {name}", not(equal)),
        Match::Out(name, equal) => format!("{}-o {name}", not(equal)),
        Match::InOwn => format!("-i {OWN}+"),
        Match::OutOwn => format!("-o {OWN}+"),
        Match::OutLike(pattern) => match pattern.start() {
            (name, true) => format!("-o {name}"),
            (start, false) => format!("-o {start}+"),
        },
        Match::From(address, length) => format!("-s {address}/{length}"),
        Match::To(address, length) => format!("-d {address}/{length}"),
        Match::ToHost => match own {
            Some(own) => format!("-d {own}"),
            None => "-m addrtype --dst-type LOCAL".into(),
        },
        Match::Sender(mac) => {
            let octets = mac.map(|octet| format!("{octet:02x}"));
            format!("-m mac --mac-source {}", octets.join(":"))
        }
        Match::Ports(protocol, range) => {
            format!("-p {protocol} -m {protocol} --dport {}:{}", range.first(), range.last())
        }
        Match::Port(protocol, port) => format!("-p {protocol} -m {protocol} --dport {port}"),
        Match::Icmp if ipv4 => "-p icmp".into(),
        Match::Icmp => "-p icmpv6".into(),
        Match::Answer => "-m conntrack --ctstate RELATED,ESTABLISHED".into(),
        Match::Published => "-m conntrack --ctstate DNAT".into(),
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "-j ACCEPT".into(),
        Verdict::Return => "-j RETURN".into(),
        Verdict::Drop => "-j DROP".into(),
        Verdict::Redirect(address, None) => format!("-j DNAT --to-destination {address}"),
        Verdict::Redirect(IpAddr::V6(address), Some(port)) => {
            format!("-j DNAT --to-destination [{address}]:{port}")
        }
        Verdict::Redirect(address, Some(port)) => format!("-j DNAT --to-destination {address}:{port}"),
        Verdict::Masquerade => "-j MASQUERADE".into(),
        Verdict::Clamp => "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_emptied() {
        let rule = Rule {
            chain: Chain::Publish,
            ipv4: true,
            matches: vec![Match::ToHost, Match::Port(crate::config::value::Protocol::Tcp, 8080)],
            verdict: Verdict::Redirect("10.89.40.2".parse().unwrap(), Some(80)),
        };
        let text = filled("ds-", "nat", &[], &[&rule], None);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "*nat",
                ":ds-publish - [0:0]",
                ":ds-publish-locally - [0:0]",
                ":ds-translate - [0:0]",
                "-I PREROUTING 1 -j ds-publish",
                "-I OUTPUT 1 -j ds-publish-locally",
                "-I POSTROUTING 1 -j ds-translate",
                "-A ds-publish -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.89.40.2:80",
                "COMMIT",
            ]
        );
        let saved: Vec<String> = [
            "*nat",
            ":ds-publish - [0:0]",
            ":mine - [0:0]",
            "-A PREROUTING -j ds-publish",
            "-A PREROUTING -j mine",
        ]
        .map(str::to_owned)
        .into();
        assert!(!filled("ds-", "nat", &saved, &[&rule], None).contains("-I PREROUTING"));
        assert_eq!(
            emptied("ds-", "nat", &saved).unwrap(),
            "*nat\n-D PREROUTING -j ds-publish\n-F ds-publish\n-X ds-publish\nCOMMIT\n"
        );
        assert_eq!(emptied("ds-", "nat", &saved[2..3]), None);
        let own: Vec<IpAddr> = ["192.0.2.1", "127.0.0.1", "::1"].map(|own| own.parse().unwrap()).into();
        let listed = words(&rule, Some(&own));
        assert_eq!(listed.len(), 2);
        assert!(listed[0].starts_with("-d 192.0.2.1 -p tcp"), "{listed:?}");
    }
}
