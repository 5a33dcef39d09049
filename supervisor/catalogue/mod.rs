//! The catalogue of distributions: the list of images, the selection of an image by name, and verified downloads.
//!
//! Owns the index, the selection, the download and the cache. It uses the network only in a confined child (`fetch`),
//! and writes only to the cache directory. It never unpacks: it delivers bytes and reports at the end whether they are
//! valid.

pub mod address;
pub mod cache;
pub mod choose;
pub mod download;
pub mod failure;
pub mod feeder;
pub mod fetch;
pub mod index;
pub mod listing;
mod names;
mod trust;
