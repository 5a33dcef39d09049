//! Replacement of the rules in the tables of nf_tables, as little of them as possible.
//!
//! Owns the record of what the last transaction has set up: the kernel's generation after it, and a digest of each
//! chain. While the generation is the same, no program has changed any rule, so only chains that differ are replaced.
//! The kernel refuses the transaction if the generation changes in the meantime (`NFNL_BATCH_GENID`, Linux 4.16).
//! Otherwise, everything is replaced.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{Pid, getpid};
use serde::{Deserialize, Serialize};

use super::nftables::{
    FAMILIES, NEW_TABLE, SUBSYSTEM, delete_chain, flush_chain, message, new_chain, new_rule, place, removal,
};
use super::rules::{Chain, Rule};
use crate::durable;
use crate::netlink::{CREATE, Message, Netlink, attribute};

/// `NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = 16;
/// `NFT_MSG_GETRULE`.
const GET_RULE: u16 = 7;
/// The maximum size of the record, bytes.
const LIMIT: u64 = 64 << 10;

/// What the last transaction has set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    generation: u32,
    /// Digests of chains by family and name.
    chains: BTreeMap<String, u64>,
}

/// One chain that is to be.
struct Wanted {
    family: u8,
    chain: Chain,
    rules: Vec<Message>,
}

impl Wanted {
    fn key(&self) -> String {
        key(self.family, self.chain)
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.rules.hash(&mut hasher);
        hasher.finish()
    }
}

fn key(family: u8, chain: Chain) -> String {
    format!("{family} {}", place(chain).3)
}

thread_local! {
    /// The socket of this process. It stays open, because closing it after a transaction waits until the kernel has freed
    /// what the transaction has removed (`nft_rcv_nl_event`): 6 to 16 ms.
    static KEPT: Cell<Option<(Pid, Netlink)>> = const { Cell::new(None) };
}

/// Sets up these rules of ds and no others. `record` is the file with the record.
///
/// # Errors
/// If the kernel lacks a feature that a rule needs; nothing is then changed.
pub fn apply(table: &str, rules: &[Rule], record: &Path) -> Result<()> {
    let netfilter = match KEPT.take() {
        Some((owner, kept)) if owner == getpid() => kept,
        // After a fork, its number may be that of another file.
        inherited => {
            mem::forget(inherited);
            Netlink::netfilter()?
        }
    };
    let applied = apply_with(&netfilter, table, rules, record);
    KEPT.set(Some((getpid(), netfilter)));
    applied
}

fn apply_with(netfilter: &Netlink, table: &str, rules: &[Rule], record: &Path) -> Result<()> {
    let wanted = wanted(table, rules);
    let before = generation(netfilter);
    let known = load(record).filter(|known| Some(known.generation) == before);
    let digests: BTreeMap<String, u64> = wanted.iter().map(|one| (one.key(), one.digest())).collect();
    let changes = known.as_ref().and_then(|known| changes(table, &wanted, &digests, &known.chains));
    if changes.as_ref().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    // A record that does not apply any more must not survive this process.
    let _ = fs::remove_file(record);
    let done = changes.map(|batch| netfilter.transaction(SUBSYSTEM, batch, before));
    if !matches!(done, Some(Ok(()))) {
        netfilter.transaction(SUBSYSTEM, everything(table, wanted), None)?;
    }
    // If another program has changed something meanwhile, the next change replaces everything.
    let after = generation(netfilter);
    if let (Some(after), Some(before)) = (after, before)
        && after == before.wrapping_add(1)
    {
        let bytes = serde_json::to_vec(&Record { generation: after, chains: digests })?;
        durable::replace(record, &bytes, 0o600).with_context(|| format!("write {}", record.display()))?;
    }
    Ok(())
}

/// Whether all of these rules are there: nothing has changed since they were made, or their number is right.
///
/// # Errors
/// The error of the kernel.
pub fn is_intact(table: &str, rules: &[Rule], record: &Path) -> Result<bool> {
    let netfilter = Netlink::netfilter()?;
    if load(record).is_some_and(|known| Some(known.generation) == generation(&netfilter)) {
        return Ok(true);
    }
    for (ipv4, family) in FAMILIES {
        let wanted = rules.iter().filter(|rule| rule.ipv4 == ipv4).count();
        if wanted == 0 {
            continue;
        }
        let answers = netfilter.dump(message(GET_RULE, 0, family).with_text(1, table))?;
        let is_ours = |body: &[u8]| {
            let name = body.get(4..).and_then(|inside| attribute(inside, 1)).unwrap_or_default();
            body.first() == Some(&family) && name.strip_suffix(&[0]).unwrap_or(name) == table.as_bytes()
        };
        if answers.iter().filter(|answer| is_ours(&answer.body)).count() != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The number of changes of rules in this network namespace; `None` if the kernel does not count them.
fn generation(netfilter: &Netlink) -> Option<u32> {
    let answer = netfilter.ask(message(GET_GENERATION, 0, 0)).ok()?;
    let value = attribute(answer.body.get(4..)?, 1)?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn load(record: &Path) -> Option<Record> {
    serde_json::from_slice(&durable::read(record, LIMIT).ok()?).ok()
}

/// The chains for these rules, in the order of their making.
fn wanted(table: &str, rules: &[Rule]) -> Vec<Wanted> {
    let mut found = Vec::new();
    for (ipv4, family) in FAMILIES {
        for chain in Chain::ALL {
            let here = rules.iter().filter(|rule| rule.ipv4 == ipv4 && rule.chain == chain);
            let rules: Vec<Message> = here.map(|rule| new_rule(table, family, rule)).collect();
            if !rules.is_empty() {
                found.push(Wanted { family, chain, rules });
            }
        }
    }
    found
}

/// All tables, made anew.
fn everything(table: &str, wanted: Vec<Wanted>) -> Vec<Message> {
    let mut batch = removal(table, |_| true);
    let families: BTreeSet<u8> = wanted.iter().map(|one| one.family).collect();
    batch.extend(families.iter().map(|family| message(NEW_TABLE, CREATE, *family).with_text(1, table)));
    batch.extend(wanted.iter().map(|one| new_chain(table, one.family, one.chain)));
    batch.extend(wanted.into_iter().flat_map(|one| one.rules));
    batch
}

/// The messages that turn the `known` chains into those that are `wanted`; `None` if a family comes or goes.
fn changes(
    table: &str,
    wanted: &[Wanted],
    digests: &BTreeMap<String, u64>,
    known: &BTreeMap<String, u64>,
) -> Option<Vec<Message>> {
    let mut batch = Vec::new();
    for (_, family) in FAMILIES {
        let here = |chains: &BTreeMap<String, u64>| {
            Chain::ALL.iter().any(|chain| chains.contains_key(&key(family, *chain)))
        };
        if here(digests) != here(known) {
            return None;
        }
        for chain in Chain::ALL {
            let name = key(family, chain);
            let is_gone = known.contains_key(&name) && !digests.contains_key(&name);
            batch.extend(is_gone.then(|| [flush_chain, delete_chain].map(|one| one(table, family, chain))));
        }
    }
    let mut batch: Vec<Message> = batch.into_iter().flatten().collect();
    for one in wanted {
        let name = one.key();
        let old = known.get(&name);
        if old == digests.get(&name) {
            continue;
        }
        let first = if old.is_some() { flush_chain } else { new_chain };
        batch.push(first(table, one.family, one.chain));
        batch.extend(one.rules.iter().cloned());
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::firewall::rules::Verdict;

    fn rule(chain: Chain, ipv4: bool, verdict: Verdict) -> Rule {
        Rule { chain, ipv4, matches: Vec::new(), verdict }
    }

    /// The number of messages that lead from one set of rules to another.
    fn steps(from: &[Rule], to: &[Rule]) -> Option<usize> {
        let digests = |wanted: &[Wanted]| wanted.iter().map(|one| (one.key(), one.digest())).collect();
        let (from, to) = (wanted("t", from), wanted("t", to));
        changes("t", &to, &digests(&to), &digests(&from)).map(|batch| batch.len())
    }

    #[test]
    fn only_chains_that_differ_are_replaced() {
        let sources: Vec<Rule> = (0..50).map(|_| rule(Chain::Sources, true, Verdict::Drop)).collect();
        let with = |more: &[Rule]| [&sources[..], more].concat();
        let publish = rule(Chain::Publish, true, Verdict::Accept);
        let other = rule(Chain::Publish, true, Verdict::Return);
        assert_eq!(steps(&sources, &sources), Some(0));
        assert_eq!(steps(&sources, &with(std::slice::from_ref(&publish))), Some(2), "chain, rule");
        assert_eq!(steps(&with(std::slice::from_ref(&publish)), &with(&[other])), Some(2), "flush, rule");
        assert_eq!(steps(&with(&[publish]), &sources), Some(2), "flush, delete");
        let six = rule(Chain::Sources, false, Verdict::Drop);
        assert_eq!(steps(&sources, &with(&[six])), None, "a new table");
    }
}
