//! Jobs that make and change root file systems: from archives, between directories and images, into and out of files.
//!
//! Each job is done in a process of its own (`job`), in a directory that does not count (`staging`), and what it has
//! made takes its place in one step, or in steps that `sweep` completes or undoes: killed at any moment, the original
//! is whole, and what was reported done is on the medium. How trees, archives and images work is not known here but
//! in `rootfs` and `archive`; what the user sees is `command`'s.

pub mod convert;
pub mod copy;
pub mod create;
pub mod delete;
pub mod digest;
pub mod duplicate;
pub mod export;
pub mod ext4;
pub mod fill;
pub mod format;
mod furnish;
pub mod held;
pub mod hoist;
pub mod identity;
pub mod import;
mod inside;
pub mod job;
pub mod mounted;
pub mod remote;
pub mod resize;
pub mod seed;
pub mod source;
pub mod space;
pub mod staging;
pub mod stranger;
pub mod sweep;
pub mod transfer;
pub mod unpacked;
