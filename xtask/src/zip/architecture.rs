//! The processors that the module is built for.
//!
//! Owns the names of each processor: that of installers, the compiler's target, Debian's architecture and the GNU tools
//! for linking.

use anyhow::{Context, Result};
use std::env::consts::ARCH;

/// One processor.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The value of `ARCH` in root managers' installers, and the name of the program's file.
    pub name: &'static str,
    /// The name on the command line.
    pub aliases: &'static [&'static str],
    /// The compiler's target.
    pub target: &'static str,
    /// Other options of the compiler.
    pub flags: &'static [&'static str],
    /// Prefix of the GNU tools, and its name in Debian's cross toolchains.
    pub tools: &'static str,
    /// Debian's directory of musl, below /usr/lib and /usr/include.
    pub musl: &'static str,
    /// Debian's name for it.
    pub debian: &'static str,
    /// Rust's name of the processor; if xtask runs on it, no emulator is needed.
    pub rust: &'static str,
    /// The emulator of QEMU.
    pub emulator: &'static str,
}

/// All of them, in the order in which they are built.
pub const ALL: [Architecture; 3] = [
    Architecture {
        name: "arm64",
        aliases: &["aarch64"],
        target: "aarch64-unknown-linux-musl",
        flags: &[],
        tools: "aarch64-linux-gnu",
        musl: "aarch64-linux-musl",
        debian: "arm64",
        rust: "aarch64",
        emulator: "qemu-aarch64-static",
    },
    Architecture {
        name: "arm",
        aliases: &["armv7", "armhf"],
        target: "armv7-unknown-linux-musleabihf",
        // Every ARMv7 supports Thumb-2, whose instructions are shorter.
        flags: &["-Ctarget-feature=+thumb-mode"],
        tools: "arm-linux-gnueabihf",
        musl: "arm-linux-musleabihf",
        debian: "armhf",
        rust: "arm",
        emulator: "qemu-arm-static",
    },
    Architecture {
        name: "x64",
        aliases: &["x86_64", "amd64"],
        target: "x86_64-unknown-linux-musl",
        flags: &[],
        tools: "x86_64-linux-gnu",
        musl: "x86_64-linux-musl",
        debian: "amd64",
        rust: "x86_64",
        emulator: "qemu-x86_64-static",
    },
];

impl Architecture {
    /// The processor of this name.
    ///
    /// # Errors
    /// If there is none of it.
    pub fn named(name: &str) -> Result<&'static Self> {
        let known = || ALL.map(|architecture| architecture.name).join(", ");
        ALL.iter()
            .find(|architecture| architecture.name == name || architecture.aliases.contains(&name))
            .with_context(|| format!("no architecture {name}; use one of {}", known()))
    }

    /// Whether xtask itself runs on it.
    pub fn is_own(&self) -> bool {
        self.rust == ARCH
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Architecture};

    #[test]
    fn every_name_leads_to_one() {
        for architecture in &ALL {
            for name in architecture.aliases.iter().chain([&architecture.name]) {
                assert_eq!(Architecture::named(name).unwrap(), architecture);
            }
        }
        assert!(Architecture::named("mips").unwrap_err().to_string().contains("arm64, arm, x64"));
    }
}
