//! Reads and writes tar streams from and to a directory tree, and their compression.
//!
//! An archive is untrusted: whatever it contains, no member is created outside the target tree, and no member uses more
//! space or memory than the caller permits. The format is that of POSIX.1-2001 pax(1) with the extensions of GNU tar
//! (its manual, "Tar Internals") and the attributes of star (SCHILY.xattr). It knows nothing about containers, progress
//! display or files on the host: callers pass streams and roots.

pub mod acl;
mod buffer;
mod checksum;
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
mod pool;
pub mod reader;
pub mod sparse;
pub mod status;
pub mod time;
mod tree;
pub mod unpack;
mod vocabulary;
pub mod writer;
mod xz;

/// The extended attributes that belong to a file and not to the file system or its policy; they are packed, unpacked
/// and compared. SELinux labels and IMA and EVM signatures are excluded: they belong to the target system, and would be
/// wrong or refused there. xattr(7).
#[must_use]
pub fn carries(attribute: &[u8]) -> bool {
    const NAMES: [&[u8]; 3] =
        [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];
    NAMES.contains(&attribute) || attribute.starts_with(b"user.") || attribute.starts_with(b"trusted.")
}
