//! Work inside the root file system of a stopped container: a directory in place, an image while it is mounted for the
//! job alone.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::job::{self, Reporter, Watcher};
use super::mounted::{Mounting, label, mount};
use super::reservation::Reservation;
use crate::rootfs::image::{Access, Fsck};
use crate::rootfs::root::Root;
use crate::worker::Env;

/// Does `work` in a job; an image is mounted below `staging`.
///
/// # Errors
/// If the root file system cannot be used, or the work fails.
pub(super) fn inside(
    env: &Env,
    held: &Reservation,
    staging: &Path,
    access: Access,
    watcher: Watcher<'_>,
    work: &mut dyn FnMut(&Root, &mut Reporter) -> Result<Value>,
) -> Result<Value> {
    let tree = held.tree()?;
    job::run(env, watcher, &mut |reporter| {
        if let Some(tree) = &tree {
            return work(&tree.root, reporter);
        }
        let image = held.image()?;
        let mounting = Mounting {
            image: &image,
            staging,
            partition: held.config.container.image_partition,
            access,
            fsck: Fsck::Auto,
            label: label(&held.config),
        };
        let attached = mount(&mounting, reporter)?;
        let done = work(attached.root(), reporter)?;
        attached.detach()?;
        Ok(done)
    })
}
