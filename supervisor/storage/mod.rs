//! Jobs that create and change root file systems: from archives, between directories and images, to and from files.
//!
//! Owns their atomicity. A child does the work (`job`) in a staging directory (`staging`). Its result moves into place
//! in one step, or in steps that `sweep` completes or undoes. If a job is killed at any moment, the original is intact;
//! a completed result is on disk. `rootfs` and `archive` implement trees, archives and images; `command` owns the
//! output.

pub mod convert;
pub mod copy;
pub mod create;
pub mod delete;
pub mod diagnosis;
pub mod digest;
pub mod duplicate;
pub mod export;
pub mod ext4;
pub mod fill;
pub mod format;
pub mod hoist;
pub mod identity;
pub mod import;
mod inside;
pub mod job;
pub mod mounted;
mod provision;
mod read_ahead;
pub mod remote;
pub mod reservation;
pub mod resize;
pub mod seed;
pub mod source;
pub mod space;
pub mod staging;
pub mod sweep;
pub mod transfer;
pub mod unpacked;
