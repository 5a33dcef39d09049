//! Mounts: the list of existing ones, planned operations, and their execution. Decides nothing; `plan` does.

mod bind;
mod entries;
pub mod info;
pub mod namespace;
pub mod op;
pub mod perform;
pub mod sockets;
