//! The features of this kernel, with the purpose of each and the behaviour without it.
//!
//! Owns [`FEATURES`], which `ds check` prints and docs/kernel-features.md documents. Each probe makes the call that
//! is needed later and ignores version numbers. It changes nothing, because a call that could is tried in a child
//! with its own namespaces (`trial`). man pages: see each probe; options: Kconfig of the kernel.

mod feature;
mod features;
mod link;
mod trial;

pub use feature::Feature;
pub use features::FEATURES;

use self::feature::Ground;
use super::Host;

/// A feature on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The feature.
    pub feature: &'static Feature,
    /// Whether it is supported.
    pub present: bool,
}

/// Probes all features in short-lived children. Without root, most probes fail and the features count as missing.
#[must_use]
pub fn probe(host: &Host) -> Vec<Found> {
    let ground = Ground::new(host);
    FEATURES.iter().map(|feature| Found { feature, present: (feature.probe)(&ground) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Hierarchies, Namespaces};
    use std::fmt::Write;
    use std::path::Path;

    fn host() -> Host {
        Host {
            android: false,
            release: "5.10.0".into(),
            machine: "aarch64".into(),
            namespaces: Namespaces(0),
            answers: false,
            ipc: true,
            cgroups: Hierarchies::default(),
        }
    }

    #[test]
    fn what_the_kernel_lists_or_can_load_is_there() {
        let host = host();
        let ground = Ground {
            host: &host,
            filesystems: "nodev\ttmpfs\n\text4\nnodev\tfuse\n".into(),
            devices: "229 fuse\n237 loop-control\n".into(),
            modules: "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/drivers/net/tun.ko: kernel/fs/x.ko\n\
                      kernel/fs/squashfs/other.ko:\n"
                .into(),
        };
        for (name, there) in [
            ("tmpfs", true),
            ("ext4", true),
            ("overlay", true),
            ("ext", false),
            ("squashfs", false),
            ("x", false),
        ] {
            assert_eq!(ground.has_filesystem(name), there, "{name}");
        }
        assert!(ground.has_device("loop-control", "loop"));
        assert!(ground.has_device("tun", "tun"), "by its module");
        assert!(!ground.has_device("kvm", "kvm"));
        assert!(!ground.has_controller("memory"));
    }

    #[test]
    fn every_feature_says_what_it_is_for_and_what_happens_without_it() {
        for (index, feature) in FEATURES.iter().enumerate() {
            assert!(!feature.purpose.is_empty() && !feature.without.is_empty(), "{}", feature.name);
            assert!(
                FEATURES[..index].iter().all(|other| other.name != feature.name),
                "{} twice",
                feature.name
            );
            assert!(
                feature.option.split(' ').all(|option| option.is_empty() || option.starts_with("CONFIG_"))
            );
        }
        let last = FEATURES.iter().rposition(|feature| feature.required).unwrap();
        assert!(FEATURES[..last].iter().all(|feature| feature.required), "required ones come first");
    }

    /// The table in docs/kernel-features.md is generated from [`FEATURES`] by `UPDATE_DOCS=1 cargo test`.
    #[test]
    fn documentation_is_up_to_date() {
        const MARK: &str = "<!-- written from the table of features -->\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kernel-features.md");
        let found = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = found.split_once(MARK).unwrap();
        let (_, after) = rest.split_once("<!-- end -->").unwrap();
        let expected = format!("{before}{MARK}\n{}\n<!-- end -->{after}", table());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        assert!(
            found == expected,
            "docs/kernel-features.md differs from FEATURES; run UPDATE_DOCS=1 cargo test"
        );
    }

    fn table() -> String {
        let mut text =
            "| feature | since | options | what for | without it |\n|---|---|---|---|---|\n".to_owned();
        let shown = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
        for feature in FEATURES {
            let name =
                if feature.required { format!("**{}**", feature.name) } else { feature.name.to_owned() };
            let (since, option) = (shown(feature.since), shown(&feature.option.replace(' ', "<br>")));
            let (purpose, without) = (feature.purpose, feature.without);
            writeln!(text, "| {name} | {since} | {option} | {purpose} | {without} |").unwrap();
        }
        text
    }
}
