//! Enumerations, and the set of privileges.
//!
//! Owns the words; `plan` decides their effect.

use std::fmt;
use std::str::FromStr;

use super::invalid::{Invalid, quoted};

/// An enumeration with one word for each variant, case-insensitive. If `yes` or `no` is one of the
/// words, the other spellings of a [`Switch`] are accepted as well.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$meaning])* $variant,)+ }

        impl $name {
            /// The words, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let lower = text.to_ascii_lowercase();
                let plain = match lower.parse::<Switch>() {
                    Ok(switch) if Self::WORDS.contains(&switch.word()) => switch.word(),
                    _ => &lower,
                };
                match plain {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(not_one_of(text, Self::WORDS)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(match self { $(Self::$variant => $word,)+ })
            }
        }

        text_in_serde!($name);
    };
}

choice! {
    /// When the supervisor restarts a container.
    RestartPolicy {
        /// Never.
        No = "no",
        /// After a failure: a signal killed its init, or its exit code was not 0.
        OnFailure = "on-failure",
        /// After every end except by `ds stop`.
        Always = "always",
    }
}

choice! {
    /// The start condition of a container at boot.
    StartAfter {
        /// `network` for a container that uses one, else `boot`.
        Auto = "auto",
        /// Nothing.
        Boot = "boot",
        /// A default route.
        Network = "network",
        /// The first unlock of the phone.
        Unlock = "unlock",
    }
}

choice! {
    /// The policy of a container with its own network for virtual private networks.
    VpnPolicy {
        /// It uses them as programs of the host do.
        Follow = "follow",
        /// It uses none.
        Bypass = "bypass",
        /// It uses only VPNs.
        Only = "only",
    }
}

choice! {
    /// When the machine is prevented from suspending.
    WakelockPolicy {
        /// Never.
        No = "no",
        /// While the container runs.
        Running = "running",
        /// Also while it waits for its start.
        Always = "always",
    }
}

choice! {
    /// The cgroup hierarchies that a container sees.
    CgroupLayout {
        /// The newest version that the host has and the init system supports.
        Auto = "auto",
        /// The legacy hierarchies, one per controller.
        V1 = "v1",
        /// The unified hierarchy.
        V2 = "v2",
    }
}

choice! {
    /// The behaviour on a kernel without PID namespaces.
    PidNamespace {
        /// The monitor answers calls about processes instead of the kernel.
        Auto = "auto",
        /// The start fails.
        Required = "required",
    }
}

choice! {
    /// The network of a container.
    NetworkMode {
        /// The host's own.
        Host = "host",
        /// A network namespace with only `lo`.
        None = "none",
        /// A network namespace behind address translation.
        Nat = "nat",
        /// A network namespace whose only router is another container.
        Gateway = "gateway",
    }
}

choice! {
    /// The device nodes in /dev of a container.
    HardwareAccess {
        /// The standard nodes.
        None = "none",
        /// Also the nodes of graphics processors.
        Gpu = "gpu",
        /// All, including block devices.
        Full = "full",
    }
}

choice! {
    /// A kind of devices; `plan::hardware` has their names.
    DeviceKind {
        /// Virtual machines.
        Kvm = "kvm",
        /// Loop devices.
        Loop = "loop",
        /// Sound cards.
        Snd = "snd",
        /// Keyboards, mice, touch screens.
        Input = "input",
        /// The device that creates input devices.
        Uinput = "uinput",
        /// Graphics processors.
        Gpu = "gpu",
        /// USB devices.
        Usb = "usb",
        /// Serial ports.
        Tty = "tty",
        /// Cameras and video codecs.
        Video = "video",
        /// Human interface devices without the input layer.
        Hidraw = "hidraw",
        /// I²C buses.
        I2c = "i2c",
        /// GPIO pins.
        Gpio = "gpio",
    }
}

choice! {
    /// The display of a container's programs.
    DisplayProfile {
        /// None.
        No = "no",
        /// That of Termux:X11, or another X server of the host.
        TermuxX11 = "termux-x11",
    }
}

choice! {
    /// The sound server of a container's programs.
    SoundProfile {
        /// None.
        No = "no",
        /// A PulseAudio server of the host.
        Pulse = "pulse",
    }
}

choice! {
    /// The rendering server of a container's programs, for containers without access to the graphics processor.
    GlProfile {
        /// None.
        No = "no",
        /// A virgl server of the host.
        Virgl = "virgl",
    }
}

choice! {
    /// When an image's file system is checked before it is mounted (e2fsck(8)).
    Fsck {
        /// Before every mount.
        Always = "always",
        /// If its superblock is unclean or a check is overdue.
        Auto = "auto",
        /// Never.
        Never = "never",
    }
}

choice! {
    /// Whether processes in the container may create user namespaces.
    UserNamespaces {
        /// Allowed on kernels from 5.0 on.
        Auto = "auto",
        /// Allowed.
        Yes = "yes",
        /// Refused.
        No = "no",
    }
}

choice! {
    /// Whether the container may create namespaces; old kernels can deadlock when systemd does.
    DeadlockShield {
        /// Refused on kernels before 5.0.
        Auto = "auto",
        /// Refused.
        Yes = "yes",
        /// Allowed.
        No = "no",
    }
}

choice! {
    /// The least severe level that is logged.
    LogLevel {
        /// Errors.
        Error = "error",
        /// Also warnings.
        Warn = "warn",
        /// Also informational messages.
        Info = "info",
        /// Also debug messages.
        Debug = "debug",
    }
}

/// The error for a word that is not in `words`.
fn not_one_of(text: &str, words: &[&str]) -> Invalid {
    Invalid::new(format!("{} is not a known word", quoted(text)), format!("use one of {}", words.join(", ")))
}

/// A switch: `yes`, `true`, `on`, `1` or `no`, `false`, `off`, `0`; written `yes` or `no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Switch(pub bool);

impl Switch {
    /// Its words.
    pub const WORDS: &'static [&'static str] = &["yes", "no"];

    /// Its word.
    pub const fn word(self) -> &'static str {
        if self.0 { "yes" } else { "no" }
    }
}

impl FromStr for Switch {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" | "1" => Ok(Self(true)),
            "no" | "false" | "off" | "0" => Ok(Self(false)),
            _ => Err(Invalid::new(format!("{} is neither yes nor no", quoted(text)), "use yes or no")),
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// The disabled protections of a container: a comma-separated set of tags, `no` for none, and `full`
/// (or `yes`) for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Privileged(u8);

impl Privileged {
    /// All protections are enabled.
    pub const NO: Self = Self(0);
    /// All protections are disabled.
    pub const FULL: Self = Self(0b1_1111);
    /// The words and their bits.
    const TAGS: [(&'static str, u8); 5] =
        [("nomask", 1), ("nocaps", 2), ("noseccomp", 4), ("shared", 8), ("unfiltered-dev", 16)];
    /// The permitted words, for help and completion.
    pub const WORDS: &'static [&'static str] =
        &["no", "nomask", "nocaps", "noseccomp", "shared", "unfiltered-dev", "full"];

    /// Files of /proc and /sys that can harm the host are not masked.
    pub const fn nomask(self) -> bool {
        self.0 & 1 != 0
    }

    /// No capability is dropped.
    pub const fn nocaps(self) -> bool {
        self.0 & 2 != 0
    }

    /// No system call is filtered.
    pub const fn noseccomp(self) -> bool {
        self.0 & 4 != 0
    }

    /// Mounts in the container propagate among its namespaces (`MS_SHARED`, mount_namespaces(7)).
    pub const fn shared(self) -> bool {
        self.0 & 8 != 0
    }

    /// Hardware access includes dangerous device nodes.
    pub const fn unfiltered_dev(self) -> bool {
        self.0 & 16 != 0
    }
}

impl FromStr for Privileged {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let whole = text.to_ascii_lowercase();
        // Protections are removed by name, so there is no "yes".
        if let Ok(Switch(false)) = whole.parse() {
            return Ok(Self::NO);
        }
        let (mut bits, mut offset) = (0, 0);
        for item in whole.split(',') {
            let word = item.trim();
            let tag = Self::TAGS.iter().find(|(tag, _)| *tag == word);
            bits |= match (word, tag) {
                ("full", _) => Self::FULL.0,
                (_, Some((_, bit))) => *bit,
                _ => return Err(not_one_of(word, Self::WORDS).at(offset)),
            };
            offset += item.len() + 1;
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for Privileged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags = Self::TAGS.iter().filter(|(_, bit)| self.0 & bit != 0).map(|(tag, _)| *tag);
        match *self {
            Self::NO => formatter.pad("no"),
            Self::FULL => formatter.pad("full"),
            _ => formatter.pad(&tags.collect::<Vec<_>>().join(",")),
        }
    }
}

text_in_serde!(Switch, Privileged);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_round_trips() {
        for word in RestartPolicy::WORDS {
            assert_eq!(word.parse::<RestartPolicy>().unwrap().to_string(), *word);
        }
        for word in NetworkMode::WORDS {
            assert_eq!(word.to_uppercase().parse::<NetworkMode>().unwrap().to_string(), *word);
        }
        let fault = "bridge".parse::<NetworkMode>().unwrap_err();
        assert_eq!(fault.to_string(), "'bridge' is not a known word; use one of host, none, nat, gateway");
    }

    #[test]
    fn a_choice_with_the_words_of_a_switch_takes_its_other_spellings() {
        for (text, value) in [
            ("auto", UserNamespaces::Auto),
            ("yes", UserNamespaces::Yes),
            ("TRUE", UserNamespaces::Yes),
            ("1", UserNamespaces::Yes),
            ("off", UserNamespaces::No),
        ] {
            assert_eq!(text.parse::<UserNamespaces>().unwrap(), value, "{text}");
        }
        assert_eq!("false".parse::<RestartPolicy>().unwrap(), RestartPolicy::No);
        assert!("true".parse::<RestartPolicy>().is_err(), "there is no yes");
        assert!("1".parse::<NetworkMode>().is_err());
    }

    #[test]
    fn switches() {
        for on in ["yes", "true", "on", "1", "Yes", "TRUE"] {
            assert!(on.parse::<Switch>().unwrap().0);
        }
        for off in ["no", "false", "off", "0"] {
            assert!(!off.parse::<Switch>().unwrap().0);
        }
        for bad in ["", "y", "2", "enabled", "yes "] {
            assert!(bad.parse::<Switch>().is_err());
        }
    }

    #[test]
    fn privileges() {
        for (text, shown) in [
            ("no", "no"),
            ("false", "no"),
            ("full", "full"),
            ("nomask,full", "full"),
            ("noseccomp, nomask", "nomask,noseccomp"),
            ("nomask,nocaps,noseccomp,shared,unfiltered-dev", "full"),
        ] {
            assert_eq!(text.parse::<Privileged>().unwrap().to_string(), shown);
        }
        let all: Vec<Privileged> = (0..32).map(Privileged).collect();
        assert!(all.iter().all(|set| set.to_string().parse::<Privileged>().unwrap() == *set));
        for bad in ["", ",", "nomask,", "nomask,no", "root", "yes", "true"] {
            assert!(bad.parse::<Privileged>().is_err(), "{bad}");
        }
        let set: Privileged = "nocaps,shared".parse().unwrap();
        assert!(set.nocaps() && set.shared() && !set.nomask() && !set.noseccomp() && !set.unfiltered_dev());
    }
}
