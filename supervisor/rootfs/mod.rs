//! Root file systems: looking into one safely, and mounting those that are images.

pub mod deadline;
pub mod files;
pub mod guest;
pub mod image;
pub mod label;
pub mod login;
pub mod loop_device;
pub mod overlay;
pub mod partition;
mod replace;
pub mod root;
pub mod size;
pub mod stranger;
pub mod superblock;
