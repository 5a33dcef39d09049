//! File system images and block devices: from a path to a mounted tree, and back.
//!
//! Owns the order in which nothing can be lost: claim the inode, look at the super block, check, label, attach,
//! mount. Works in a mount namespace that the caller made for itself, so that nothing survives the process. Starts
//! no container and draws nothing: what happens is told as [`ImageEvent`]s. loop(4), mount(2), e2fsck(8).

mod attach;
mod check;
pub mod claim;
mod inspect;
mod look;
mod place;
mod request;

pub use attach::{Attachment, attach};
pub use inspect::{Facts, inspect};
pub use request::{Access, Fsck, ImageEvent, ImageRequest};
