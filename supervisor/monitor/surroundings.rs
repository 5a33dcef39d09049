//! The facts about the devices of the host and the groups of a tree that the plan of one boot needs.
//!
//! Looks up nothing for a container without devices of the host. Changes nothing.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::host::devices::{Node, node_at, scan};
use crate::plan::hardware::{Surroundings, is_wanted};
use crate::rootfs::files;
use crate::rootfs::root::Root;

/// Maximum size of group(5), in bytes.
const LIMIT: u64 = 1 << 20;

/// Looks them up. Without a tree, there are no groups.
#[must_use]
pub fn look(config: &Config, root: Option<&Root>) -> Surroundings {
    let bound = config.mounts.bind.iter().filter(|bind| !bind.options.nodev);
    let bound = bound.filter_map(|bind| {
        let node = node_at(bind.source.as_path())?;
        Some(Node { name: bind.source.as_str().to_owned(), ..node })
    });
    let mut around = Surroundings { bound: bound.collect(), ..Surroundings::default() };
    if is_wanted(config) {
        around.nodes = scan();
        around.groups = root.map(groups).unwrap_or_default();
    }
    around
}

/// The groups of a tree. A tree without the file, or with an unreadable one, has none.
fn groups(root: &Root) -> BTreeMap<String, u32> {
    let bytes = root.read(files::GROUP, LIMIT).unwrap_or_default();
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(text: &str) -> BTreeMap<String, u32> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            Some((name.to_owned(), id.parse().ok().filter(|id| *id != u32::MAX)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_numbers() {
        let groups = parse("root:x:0:\nvideo:x:44:user\nbad\nworse:x:-1:\nhuge:x:4294967295:\n");
        assert_eq!(groups, BTreeMap::from([("root".to_owned(), 0), ("video".to_owned(), 44)]));
    }
}
