//! The value types of the configuration: one newtype per kind of value, each valid once it exists.
//!
//! Owns the text form of every value (`FromStr` and `Display` are inverses except for spelling), the refusal of
//! control characters, and the one-line explanation of an invalid value. Knows no files, sections or keys
//! (`config::ini`, `config::keys`) and never touches the file system.

/// Serializes types in their text form.
macro_rules! text_in_serde {
    ($($type:ty),+ $(,)?) => {$(
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    )+};
}

mod android;
mod bind;
mod choice;
mod device;
mod invalid;
mod label;
mod list;
mod mirror;
mod name;
mod number;
mod path;
mod ports;
mod seed;
mod tmpfs;
mod uplink;
mod user;

pub use android::{NameServers, SharedStorage};
pub use bind::{Bind, BindList, BindOptions};
pub use choice::{
    CgroupLayout, DeadlockShield, DeviceKind, DisplayProfile, Fsck, GlProfile, HardwareAccess, LogLevel,
    NetworkMode, PidNamespace, Privileged, RestartPolicy, SoundProfile, StartAfter, Switch, UserNamespaces,
    VpnPolicy, WakelockPolicy,
};
pub use device::{DeviceList, DevicePattern, DeviceRequest, Selector, matches};
pub use invalid::Invalid;
pub(crate) use invalid::{quoted, refuse_control_characters};
pub use label::ImageLabel;
pub use mirror::{Mirrors, is_loopback};
pub use name::{EnvironmentName, EnvironmentValue, Hostname, Name, Uuid};
pub use number::{Cpus, NoSize, Priority, Seconds, Size, Whole};
pub use path::{ContainerPath, HostPath};
pub use ports::{NetworkAddress, PortList, PortRange, Protocol, Publication};
pub use seed::{Seed, SeedItem, Subsystems};
pub use tmpfs::{Tmpfs, TmpfsList};
pub use uplink::{InterfaceName, InterfacePattern, Uplink};
pub use user::{Account, AccountName, UserSpec};
