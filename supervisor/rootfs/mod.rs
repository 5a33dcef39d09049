//! Root file systems: safe access to one, and mounting of images. Owns the access to files of a guest; decides nothing
//! about containers.

mod creation;
pub mod deadline;
pub mod files;
pub mod guest;
pub mod image;
pub mod label;
pub mod login;
pub mod loop_device;
pub mod magic;
pub mod overlay;
pub mod partition;
mod replace;
pub mod root;
pub mod size;
pub mod superblock;
