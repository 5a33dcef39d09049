//! What a profile consists of. Each has a file of its own beside this one.

/// The directory of Termux, for rows.
pub const TERMUX: &str = "/data/data/com.termux/files";

/// A server, and how programs in a container reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The setting that selects it, as `key = value`.
    pub setting: &'static str,
    /// Where its socket may be on the host: a directory, and the path in it. Links do not lead out of the directory,
    /// because its owner may be less than root.
    pub sockets: &'static [(&'static str, &'static str)],
    /// Where the socket is in the container.
    pub place: &'static str,
    /// Where programs look for it, if no variable says otherwise.
    pub usual: Option<&'static str>,
    /// Variables for all programs in the container.
    pub environment: &'static [(&'static str, &'static str)],
    /// What to do on the host if there is no socket.
    pub remedy: &'static str,
}
