//! Mounts: which ones exist, and how a planned one is made.
//!
//! Owns the vocabulary of planned mounts (`op`), their execution (`perform`), the list of existing mounts (`info`) and
//! private mount namespaces (`namespace`). Decides nothing: what to mount is in `plan`.

pub mod info;
pub mod namespace;
pub mod op;
pub mod perform;
