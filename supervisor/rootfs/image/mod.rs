//! File system images and block devices: from a path to a mounted tree, and back.
//!
//! Owns the order that prevents data loss: claim the inode, read the super block, check, label, attach, mount. Works in
//! the caller's own mount namespace, so that nothing outlives the process. Starts no container and prints nothing:
//! progress is reported as [`ImageEvent`]s. loop(4), mount(2), e2fsck(8).

mod attach;
mod check;
pub mod claim;
mod content;
mod inspect;
mod place;
mod request;

pub use attach::{Attachment, attach};
pub use inspect::{Facts, inspect};
pub use request::{Access, Fsck, ImageEvent, ImageRequest};
