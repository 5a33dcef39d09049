//! Creates, measures and resizes ext4 file systems in files, with e2fsprogs.
//!
//! Owns the features of a new file system (mke2fs chooses its UUID), and the interpretation of the programs' exit
//! codes. mke2fs(8), e2fsck(8), resize2fs(8), ext4(5).

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::config::value::Name;
use crate::sys::process::Ended;
use crate::tool::{Invocation, Tool, ToolResult};

/// Unit of an image's size, bytes: the block size.
pub const BLOCK: u64 = 4096;
/// Minimum size of an image: a smaller one has no space for a journal and a system.
pub const SMALLEST: u64 = 16 << 20;
/// Maximum length of a label, in bytes.
const LABEL: usize = 16;
/// All features that a kernel 4.9 supports, and no newer ones such as metadata_csum_seed and orphan_file. Listed
/// explicitly, because the defaults of mke2fs differ between versions.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Finds one of the programs.
///
/// # Errors
/// If it is not installed.
fn tool(name: &str) -> Result<Tool> {
    Tool::find(name).with_context(|| format!("{name} is not installed; install e2fsprogs"))
}

/// Creates the sparse file `path` of `size` bytes, mode 0600, with an empty file system for at least `inodes` files.
///
/// # Errors
/// If mke2fs is missing or fails.
pub fn make(path: &Path, size: u64, name: &Name, inodes: Option<u64>) -> Result<()> {
    ensure!(size >= SMALLEST, "an image of {size} bytes is too small; make it at least 16M");
    let program = tool("mke2fs")?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("create {}", path.display()))?;
    file.set_len(size / BLOCK * BLOCK).with_context(|| format!("ftruncate({})", path.display()))?;
    // Names are ASCII.
    let label = &name.as_str()[..name.as_str().len().min(LABEL)];
    let inodes = inodes.map(|inodes| inodes.to_string());
    let mut arguments = vec![
        "-t",
        "ext4",
        "-F",
        "-q",
        "-b",
        "4096",
        "-I",
        "256",
        "-m",
        "0",
        "-O",
        FEATURES,
        "-L",
        label,
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
    ];
    if let Some(inodes) = &inodes {
        arguments.extend(["-N", inodes]);
    }
    let made = run(&program, &arguments, path)?;
    ensure!(made.is_success(), "mke2fs: {}", made.last_words());
    file.sync_all().context("write the image")
}

/// Checks a file system without changing it.
///
/// # Errors
/// If it has errors.
pub fn verify(path: &Path) -> Result<()> {
    let Some(program) = Tool::find("e2fsck") else { return Ok(()) };
    let checked = run(&program, &["-f", "-n"], path)?;
    ensure!(checked.is_success(), "e2fsck finds the new file system damaged: {}", checked.last_words());
    Ok(())
}

/// Checks and repairs a file system.
///
/// # Errors
/// If errors remain.
pub fn repair(path: &Path) -> Result<()> {
    let checked = run(&tool("e2fsck")?, &["-f", "-y"], path)?;
    match checked.ended {
        // Bits: errors corrected, and reboot needed; values from 4 on mean remaining errors.
        Ended::Exited(0..=3) => Ok(()),
        _ => bail!("e2fsck cannot repair the file system: {}", checked.last_words()),
    }
}

/// The minimum size to which a file system can be shrunk, in bytes, as resize2fs estimates it.
///
/// # Errors
/// If resize2fs is missing or fails.
pub fn least(path: &Path, block: u64) -> Result<u64> {
    let said = run(&tool("resize2fs")?, &["-P"], path)?;
    ensure!(said.is_success(), "resize2fs: {}", said.last_words());
    parse_least(&said.said).map(|blocks| blocks.saturating_mul(block)).with_context(|| {
        format!("resize2fs does not report the minimum size of the file system: {}", said.last_words())
    })
}

fn parse_least(said: &str) -> Option<u64> {
    said.lines().rev().find_map(|line| {
        let (what, number) = line.rsplit_once(": ")?;
        number.trim().parse().ok().filter(|_| what.contains("minimum size"))
    })
}

/// Resizes a file system and its file. The file system must have been checked.
///
/// # Errors
/// If resize2fs fails: the file system may then be damaged.
pub fn resize(path: &Path, size: u64) -> Result<()> {
    let program = tool("resize2fs")?;
    let file =
        OpenOptions::new().write(true).open(path).with_context(|| format!("open {}", path.display()))?;
    let length = file.metadata().context("stat")?.len();
    if size > length {
        file.set_len(size).context("ftruncate")?;
    }
    let blocks = format!("{}K", size / 1024);
    let arguments = [path.as_os_str(), OsStr::new(&blocks)];
    let done = program.run(&mut Invocation::new(&arguments))?;
    ensure!(done.is_success(), "resize2fs: {}", done.last_words());
    if size < length {
        file.set_len(size).context("ftruncate")?;
    }
    Ok(())
}

fn run(program: &Tool, options: &[&str], path: &Path) -> Result<ToolResult> {
    let options = options.iter().map(OsStr::new);
    let arguments: Vec<&OsStr> = options.chain([path.as_os_str()]).collect();
    program.run(&mut Invocation::new(&arguments))
}

/// The block size of the ext file system in a file.
///
/// # Errors
/// If it has no ext file system.
pub fn block_size(file: &File) -> Result<u64> {
    use std::os::unix::fs::FileExt;
    // The superblock begins at 1024: s_log_block_size at 0x18, s_magic at 0x38.
    let mut superblock = [0_u8; 0x40];
    let read = file.read_exact_at(&mut superblock, 1024);
    let magic = u16::from_le_bytes([superblock[0x38], superblock[0x39]]);
    let shift = u32::from_le_bytes([superblock[0x18], superblock[0x19], superblock[0x1a], superblock[0x1b]]);
    ensure!(
        read.is_ok() && magic == 0xef53 && shift <= 6,
        "it has no ext4 file system, and ds cannot resize others"
    );
    Ok(1024 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn image(size: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rootfs.img");
        make(&path, size, &"a-name-longer-than-sixteen-bytes".parse().unwrap(), None).unwrap();
        (directory, path)
    }

    #[test]
    fn a_new_image_is_sparse_private_labelled_and_complete() {
        let (_directory, path) = image(512 << 20);
        let about = std::fs::metadata(&path).unwrap();
        assert_eq!(about.len(), 512 << 20);
        assert!(about.blocks() * 512 < 32 << 20, "{} blocks", about.blocks());
        assert_eq!(about.permissions().mode() & 0o7777, 0o600);
        verify(&path).unwrap();
        let shown = run(&tool("dumpe2fs").unwrap(), &["-h"], &path).unwrap().said;
        for line in ["Filesystem volume name:   a-name-longer-th", "Reserved block count:     0"] {
            assert!(shown.contains(line), "{line} in {shown}");
        }
        for feature in ["metadata_csum_seed", "orphan_file", "uninit"] {
            assert!(!shown.contains(feature), "{feature} in {shown}");
        }
        // No inode table is left for the kernel to initialise later.
        let groups = run(&tool("dumpe2fs").unwrap(), &[], &path).unwrap().said;
        assert!(!groups.contains("INODE_UNINIT, ") || groups.contains("ITABLE_ZEROED"), "{groups}");
    }

    #[test]
    fn sizes_change_both_ways_and_never_below_what_is_used() {
        let (_directory, path) = image(64 << 20);
        let block = block_size(&File::open(&path).unwrap()).unwrap();
        assert_eq!(block, BLOCK);
        for size in [256 << 20, 32 << 20] {
            repair(&path).unwrap();
            resize(&path, size).unwrap();
            verify(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
        }
        let least = least(&path, block).unwrap();
        assert!(least > 0 && least < 32 << 20, "{least}");
        repair(&path).unwrap();
        assert!(resize(&path, least / 2).is_err());
    }

    #[test]
    fn the_output_of_resize2fs_is_parsed() {
        let said = "resize2fs 1.47.0 (5-Feb-2023)\nEstimated minimum size of the filesystem: 12345\n";
        assert_eq!(parse_least(said), Some(12345));
        assert_eq!(parse_least("resize2fs: Bad magic number: 7\n"), None);
    }

    #[test]
    fn damage_and_other_content_are_reported() {
        let (directory, path) = image(SMALLEST);
        let other = directory.path().join("other");
        std::fs::write(&other, vec![7; 100_000]).unwrap();
        assert!(block_size(&File::open(&other).unwrap()).is_err());
        assert!(verify(&other).is_err());
        assert!(repair(&other).is_err());
        let error = make(&path, 4096, &"web".parse().unwrap(), None).unwrap_err();
        assert!(error.to_string().contains("at least 16M"), "{error}");
    }
}
