//! Mounts: what is there, and how a planned one is made.

pub mod info;
pub mod namespace;
pub mod op;
pub mod perform;
