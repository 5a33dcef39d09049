//! Root file systems: looking into one safely.

pub mod guest;
pub mod root;
pub mod size;
pub mod superblock;
pub mod tool;
