//! The content of a profile. Each profile has its own file beside this one.

/// The directory of Termux.
pub const TERMUX: &str = "/data/data/com.termux/files";

/// A server, and its connection to programs in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The setting that selects it, as `key = value`.
    pub setting: &'static str,
    /// The possible locations of its socket on the host: a directory, and a path in it. Links must not lead out of the
    /// directory, because its owner may be unprivileged.
    pub sockets: &'static [(&'static str, &'static str)],
    /// The path of the socket in the container.
    pub place: &'static str,
    /// The path where programs expect it, unless a variable sets another one.
    pub usual: Option<&'static str>,
    /// Variables for all programs in the container.
    pub environment: &'static [(&'static str, &'static str)],
    /// The remedy on the host if there is no socket.
    pub remedy: &'static str,
}
