//! Containers from images, and the jobs that create and move them: against directories, e2fsck(8), tar(1) and zstd(1).
//!
//! Owns an 8 GiB image with 2 GiB of data, and a tarball of a Debian. The other programs do the same work, including
//! the creation and flushing of file systems.

use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use super::table::Row;
use crate::process;
use anyhow::{Context, Result, anyhow};
use std::process::Command;
use std::time::{Duration, Instant};

/// The data in the image in addition to a Debian, in files of one mebibyte.
const FILLER_MIB: u32 = 1900;
/// The permitted additional time of a start.
const MORE_MS: f64 = 25.0;

/// Starts from an image against starts from a directory.
///
/// # Errors
/// If `ds` or a tool of e2fsprogs fails.
pub fn measure_start(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs("bookworm", "directory")?;
    let image = fill_image(bench, &rootfs)?;
    bench.ds.quiet(&["create", "directory", "--rootfs", &rootfs])?;
    bench.ds.quiet(&["create", "image", "--image", &image])?;
    let mut directory = Samples::default();
    let (mut quick, mut full, mut check, mut again) =
        (directory.clone(), directory.clone(), directory.clone(), directory.clone());
    rounds.each("images", |_| {
        directory.push(start(bench, "directory")?);
        bench.ds.quiet(&["stop", "directory", "--kill"])?;
        bench.ds.quiet(&["set", "image", "fsck=auto"])?;
        quick.push(start(bench, "image")?);
        again.push(boot_again(bench, "image")?);
        stop_cleanly(bench, "image")?;
        bench.ds.quiet(&["set", "image", "fsck=always"])?;
        full.push(start(bench, "image")?);
        stop_cleanly(bench, "image")?;
        check.push(stopwatch::time(Command::new("e2fsck").args(["-f", "-y", &image]))?);
        Ok(())
    })?;
    for name in ["directory", "image"] {
        bench.ds.quiet(&["rm", name])?;
    }
    let more = |longer: &Samples, shorter: &Samples| {
        (longer.median().unwrap_or_default() - shorter.median().unwrap_or_default()) * 1e3
    };
    let (clean, checked) = (more(&quick, &directory), more(&full, &check));
    Ok(vec![
        Row::limit("`ds start` of a clean 8 GiB image, more than of a directory", clean, MORE_MS, "ms"),
        Row::limit("the same with a full check, more than e2fsck itself", checked, MORE_MS, "ms"),
        Row::ratio(
            "`ds restart` of an image, from the end of PID 1",
            &again,
            "`ds start` of a directory",
            &Ok(directory),
            Some(1.0),
        ),
    ])
}

/// Unpacks a tarball into an image, against tar(1), and exports a container to a file, against tar and zstd.
///
/// # Errors
/// If `ds` fails.
pub fn measure_archives(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs("bookworm", "archive")?;
    let path = |name: &str| bench.folder(name).to_string_lossy().into_owned();
    let [tarball, image, tree, exported, theirs] =
        ["tree.tar", "tar.img", "tar.mount", "ds.tar.zst", "tar.tar.zst"].map(path);
    shell("tar -C \"$1\" --numeric-owner -cf \"$2\" .", &[&rootfs, &tarball])?;
    shell("mkdir -p \"$1\"", &[&tree])?;
    bench.ds.quiet(&["create", "archive", "--rootfs", &rootfs])?;
    let (mut unpacked, mut packed) = (Samples::default(), Samples::default());
    let (mut tar, mut zstd) = (Ok(Samples::default()), Ok(Samples::default()));
    rounds.each("archives", |_| {
        let create = ["create", "unpacked", "--from", &tarball, "--size", "2G"];
        unpacked.push(stopwatch::time(&mut bench.ds.command(&create))?);
        bench.ds.quiet(&["rm", "unpacked"])?;
        let script = "truncate -s 2G \"$1\"
            mke2fs -q -t ext4 -F -m 0 -E lazy_itable_init=0,lazy_journal_init=0 \"$1\"
            mount -o loop \"$1\" \"$2\"
            tar -C \"$2\" --numeric-owner --xattrs --xattrs-include='*' -xpf \"$3\"
            umount \"$2\"; sync \"$1\"";
        attempt(&mut tar, script, &[&image, &tree, &tarball]);
        packed.push(stopwatch::time(&mut bench.ds.command(&["export", "archive", "-o", &exported]))?);
        let script =
            "tar -C \"$1\" --numeric-owner --xattrs --xattrs-include='*' -cf - . | zstd -q -T0 -o \"$2\"
            sync \"$2\"";
        attempt(&mut zstd, script, &[&rootfs, &theirs]);
        shell("rm -f \"$@\"", &[&image, &exported, &theirs])
    })?;
    bench.ds.quiet(&["rm", "archive"])?;
    let rate = Some(1.0 / 0.9);
    Ok(vec![
        Row::ratio(
            "`ds create NAME --from TARBALL --size 2G`",
            &unpacked,
            "mke2fs, mount, tar -x",
            &tar,
            rate,
        ),
        Row::ratio("`ds export`", &packed, "tar | zstd -T0", &zstd, rate),
    ])
}

/// An image of 8 GiB with a Debian and further data.
fn fill_image(bench: &Bench, rootfs: &str) -> Result<String> {
    let image = bench.folder("image.img").to_string_lossy().into_owned();
    let mount = bench.folder("image.mount").to_string_lossy().into_owned();
    let script = "truncate -s 8G \"$1\"
        mke2fs -q -t ext4 -F -m 0 -d \"$2\" -E lazy_itable_init=0,lazy_journal_init=0 \"$1\"
        mkdir -p \"$3\"; mount -o loop \"$1\" \"$3\"; mkdir \"$3/filler\"
        split -a 4 -b 1M - \"$3/filler/\"
        umount \"$3\"";
    let mut writer = private_shell(script, &[&image, rootfs, &mount]);
    let zero = Command::new("head")
        .args(["-c", &format!("{FILLER_MIB}M"), "/dev/zero"])
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut zero = zero.context("cannot run head")?;
    let source = zero.stdout.take().context("head has no stdout")?;
    let status = writer.stdin(source).status().context("cannot run unshare")?;
    zero.wait()?;
    if !status.success() {
        return Err(anyhow!("create the image: {}", process::ending(status)));
    }
    Ok(image)
}

fn start(bench: &Bench, name: &str) -> Result<Duration> {
    stopwatch::time(&mut bench.ds.command(&["start", name]))
}

/// The time between the end of the old PID 1 and the return of `ds restart`.
fn boot_again(bench: &Bench, name: &str) -> Result<Duration> {
    bench.ds.quiet(&["start", name, "--wait"])?;
    let death = stopwatch::watch_end(bench.ds.pid(name)?)?;
    stopwatch::time(&mut bench.ds.command(&["restart", name]))?;
    let returned = Instant::now();
    let died = death.join().map_err(|_| anyhow!("the watch for the end of PID 1 panicked"))??;
    Ok(returned.saturating_duration_since(died))
}

/// A boot and a clean shutdown, so that the image is clean.
fn stop_cleanly(bench: &Bench, name: &str) -> Result<()> {
    bench.ds.quiet(&["start", name, "--wait"])?;
    bench.ds.quiet(&["stop", name]).map(drop)
}

/// Runs a script in its own mount namespace.
fn private_shell(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", script, "sh"]).args(arguments);
    command
}

pub(super) fn shell(script: &str, arguments: &[&str]) -> Result<()> {
    process::run_quietly(&mut private_shell(script, arguments)).map(drop)
}

/// A round of another program; its first failure replaces all its samples.
pub(super) fn attempt(samples: &mut Result<Samples>, script: &str, arguments: &[&str]) {
    stopwatch::attempt(samples, || stopwatch::time(&mut private_shell(script, arguments)));
}

#[cfg(test)]
mod tests {
    use super::{private_shell, shell};

    #[test]
    fn a_script_has_its_arguments_and_fails_at_the_first_error() {
        let command = private_shell("test \"$1\" = a", &["a b"]);
        assert_eq!(command.get_args().last().and_then(|word| word.to_str()), Some("a b"));
        // Without root, the namespace cannot be created, which also fails.
        assert!(shell("false; true", &[]).is_err());
    }

    #[test]
    fn paths_are_never_words_of_a_script() {
        let command = private_shell("true", &["; rm -rf /"]);
        let script = command.get_args().nth(5).and_then(|word| word.to_str());
        assert_eq!(script, Some("true"));
    }
}
