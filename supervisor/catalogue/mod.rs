//! The catalogue of distributions: what a server offers, which image a name means, and verified copies of it.
//!
//! Owns the index, the choice of an image, the download and the cache. Touches the network only through a confined
//! child (`fetch`), and nothing on disk but the cache directory. It never unpacks: it hands on bytes, and says at their
//! end whether they were the right ones.

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
