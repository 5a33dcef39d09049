//! Root file systems: looking into one safely, and mounting those that are images.
//!
//! Owns path resolution inside an untrusted tree (`root`), the recognition of its init system (`guest`), and images and
//! their loop devices (`image`). Never follows a path out of the tree, and knows no container and no configuration key.

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
