//! Tar streams in and out of a directory tree, and their compression; nothing else.
//!
//! An archive is untrusted: no member may be made outside of the tree that it is unpacked into, whatever it says, and
//! none may take more space or memory than the caller allows. The format is that of POSIX.1-2001 pax(1) with the
//! extensions of GNU tar (its manual, "Tar Internals") and the attributes of star (SCHILY.xattr). Nothing here knows of
//! containers, progress bars or files on the host: callers give streams and roots.

pub mod acl;
pub mod codec;
pub mod compare;
pub mod compress;
pub mod decompress;
mod deferred;
pub mod entry;
pub mod header;
pub mod name;
pub mod pack;
pub mod pax;
pub mod reader;
pub mod sparse;
pub mod status;
pub mod time;
mod tree;
pub mod unpack;
mod vocabulary;
pub mod writer;

/// The extended attributes that belong to a file and not to the file system or the policy it happens to live under:
/// the ones that are packed, unpacked and compared. SELinux labels, IMA and EVM signatures are left out: they are the
/// target system's own, and would be wrong or refused there. xattr(7).
#[must_use]
pub fn carries(attribute: &[u8]) -> bool {
    const NAMES: [&[u8]; 3] =
        [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];
    NAMES.contains(&attribute) || attribute.starts_with(b"user.") || attribute.starts_with(b"trusted.")
}
