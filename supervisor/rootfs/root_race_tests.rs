//! Another process changes the tree while paths in it are resolved.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

use nix::fcntl::{RenameFlags, renameat2};

use super::*;

const ROUNDS: usize = 1000;

/// A directory and a link that leads out take turns at the same name.
struct Racer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Racer {
    fn start(tree: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = spawn(move || {
            let (shown, link) = (tree.join("etc"), tree.join("link"));
            while !seen.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &shown, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        Self { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn race(walk_only: bool, target: impl Fn(&Path) -> PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let (tree, outside) = (place.path().join("tree"), place.path().join("outside"));
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "").unwrap();
    symlink(target(&outside), tree.join("link")).unwrap();
    let mut root = Root::open(&tree).unwrap();
    root.walk_only = walk_only;
    let racer = Racer::start(tree.clone());
    let secret = fs::metadata(outside.join("secret")).unwrap();
    for round in 0..ROUNDS {
        // Each may fail, and may find what is inside; none may reach what is outside.
        let _ = root.make_file(Path::new(&format!("/etc/file{}", round % 7)));
        let _ = root.make_directories(Path::new(&format!("/etc/directory{}/below", round % 7)));
        if let Ok(found) = root.resolve(Path::new("/etc/secret")) {
            use std::os::unix::fs::MetadataExt;
            assert_ne!(fstat(&found).unwrap().st_ino, secret.ino(), "round {round}");
        }
    }
    racer.end();
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"], "something was made outside of the tree");
}

#[test]
fn a_racing_link_to_the_outside_is_never_followed_out() {
    for walk_only in [false, true] {
        race(walk_only, Path::to_path_buf);
        race(walk_only, |_| PathBuf::from("../outside"));
    }
}
