//! Images and backups of LXD, Incus and LXC: ds finds the root file system in them.

use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::storage::{assert_boots, assert_tidy, directory, text};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

fn pack(sandbox: &Sandbox, name: &str, option: &str) -> PathBuf {
    let packed = sandbox.path(&format!("{name}.archive"));
    let model = sandbox.path(name);
    let done = Command::new("tar")
        .args(["--numeric-owner", option, "-cf", text(&packed), "-C", text(&model)])
        .args(fs::read_dir(&model).expect("model").map(|entry| entry.expect("entry").file_name()))
        .status();
    assert!(done.expect("tar").success());
    packed
}

#[test]
fn a_unified_image_and_backups_boot() {
    let sandbox = Sandbox::new();
    for (name, place, beside, option) in [
        ("unified", "rootfs", &["metadata.yaml", "templates/hostname.tpl"][..], "-J"),
        ("backup", "backup/container/rootfs", &["backup/index.yaml", "backup/container/backup.yaml"], "-z"),
        ("lxc", "web/rootfs", &["web/config"], "--zstd"),
    ] {
        let tree = Tree::with_probe(&sandbox.path(name).join(place));
        tree.write("etc/hostname", "LXC_NAME\n");
        let top = Tree(sandbox.path(name));
        beside.iter().for_each(|file| top.write(file, "rm -rf /\n"));
        let packed = pack(&sandbox, name, option);
        let created = sandbox.ds(&["create", name, "--from", text(&packed)]);
        let told = format!("the content of {place}/ became the root directory, and templates were not run\n");
        assert!(created.errors.contains(&told) && created.errors.lines().count() == 1, "{}", created.errors);
        created.succeeds();
        let left: Vec<_> = fs::read_dir(directory(&sandbox, name)).expect("tree").collect();
        assert_eq!(left.len(), fs::read_dir(&tree.0).expect("model").count());
        assert_boots(&sandbox, name);
        let image = format!("{name}-image");
        sandbox.ds(&["import", text(&packed), &image]).succeeds();
        assert_boots(&sandbox, &image);
        sandbox.ds(&["rm", &image]).succeeds();
        let bytes = fs::read(&packed).expect("read");
        sandbox.ds_with_input(&["import", "-", &image], &bytes).succeeds();
        assert_eq!(fs::read_dir(directory(&sandbox, &image)).expect("tree").count(), left.len());
        sandbox.ds(&["rm", &image]).succeeds();
        sandbox.ds(&["create", &image, "--from", text(&packed), "--size", "64M"]).succeeds();
        assert_boots(&sandbox, &image);
    }
    assert_tidy(&sandbox);
}

#[test]
fn an_ambiguous_or_hostile_archive_is_one_line() {
    let sandbox = Sandbox::new();
    for (name, expected) in [("two", "several root file systems"), ("link", "not a directory but a link")] {
        let top = Tree(sandbox.path(name));
        match name {
            "two" => ["a", "b"].iter().for_each(|one| {
                top.write(&format!("{one}/config"), "");
                top.write(&format!("{one}/rootfs/etc/passwd"), "");
            }),
            _ => {
                top.write("backup/container/backup.yaml", "");
                top.write("backup/elsewhere/etc/passwd", "");
                symlink("../elsewhere", top.path("backup/container/rootfs")).expect("symlink");
            }
        }
        let packed = pack(&sandbox, name, "-z");
        for size in [&[][..], &["--size", "64M"]] {
            let line = [&["create", "web", "--from", text(&packed)][..], size].concat();
            sandbox.ds(&line).fails(1, &["ds: create web: ", expected]);
            assert_tidy(&sandbox);
        }
    }
}
