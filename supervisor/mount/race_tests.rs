//! Another process changes the tree while a directory of the host is bound into it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::mount::{MntFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use super::*;

const ROUNDS: usize = 1000;

/// Binds again and again, in a mount namespace of the calling thread's own; how often that succeeded.
fn bind_in(tree: &Path, outside: &Path, source: &Path) -> usize {
    let none = None::<&Path>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    enter_proc(trusted_proc().unwrap().as_fd()).unwrap();
    let performer = Performer::new(Root::open(tree).unwrap()).unwrap();
    let operation = Operation::Bind {
        source: source.to_str().unwrap().to_owned(),
        target: "/srv/shared".to_owned(),
        flags: MsFlags::MS_RDONLY,
        required: true,
    };
    let mounts = || -> Vec<PathBuf> {
        let all = info::read("thread-self").unwrap();
        all.into_iter()
            .map(|mount| mount.target)
            .filter(|target| target.starts_with(tree.parent().unwrap()))
            .collect()
    };
    let mut succeeded = 0;
    for round in 0..ROUNDS {
        succeeded += usize::from(performer.perform(&operation).is_ok());
        // Its path may change at any moment, so that the first unmount fails.
        while let Some(target) = mounts().pop() {
            assert!(!target.starts_with(outside), "round {round}: {}", target.display());
            let _ = umount2(&target, MntFlags::MNT_DETACH);
        }
    }
    succeeded
}

#[test]
fn a_bind_mount_never_lands_outside_of_a_tree_that_changes() {
    if !geteuid().is_root() {
        eprintln!("not root: no bind mounts are made");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for directory in ["tree/srv", "outside/shared", "source"] {
        fs::create_dir_all(path(directory)).unwrap();
    }
    for to in [path("outside"), PathBuf::from("../outside")] {
        symlink(to, path("tree/link")).unwrap();
        let stop = AtomicBool::new(false);
        let succeeded = scope(|scope| {
            scope.spawn(|| {
                let (shown, link) = (path("tree/srv"), path("tree/link"));
                while !stop.load(Ordering::Relaxed) {
                    renameat2(AT_FDCWD, &shown, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
            });
            let binder = scope.spawn(|| bind_in(&path("tree"), &path("outside"), &path("source")));
            let succeeded = binder.join();
            stop.store(true, Ordering::Relaxed);
            succeeded.unwrap()
        });
        assert!(succeeded > 0, "the race is never won");
        assert_eq!(fs::read_dir(path("outside")).unwrap().count(), 1);
        for name in ["tree/srv", "tree/link"] {
            if path(name).is_symlink() {
                fs::remove_file(path(name)).unwrap();
            }
        }
        fs::create_dir_all(path("tree/srv")).unwrap();
        let _ = fs::remove_dir_all(path("tree/link"));
    }
}
