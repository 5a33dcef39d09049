//! A disk with a write cache that loses its content at a power cut.
//!
//! Writes of a machine stay in memory until the machine flushes them to the file. At a power cut, a random part of the
//! unflushed blocks survives, as on a real disk, in any order. A block is never torn. [`crate::nbd`] serves the disk to
//! QEMU.
//!
//! A block has 4096 bytes, as in flash memory and in disks of the last fifteen years, whatever sector size they report.
//! ext4 depends on it: the checksum of a commit block covers the whole block, and before Linux 6.11 a file system with a
//! torn last commit block cannot be mounted (`error loading journal`).

use crate::chance::Chance;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

/// The unit of requests.
pub const SECTOR: usize = 512;

/// The number of sectors of a block, which is written atomically.
const BLOCK: u64 = 8;

type Sector = Box<[u8; SECTOR]>;

/// One disk; clones are the same disk.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    file: File,
    size: u64,
    /// Whether the file never changes: flushed sectors stay in the cache.
    volatile: bool,
    /// Unflushed sectors, by number.
    cache: BTreeMap<u64, Sector>,
    /// The number of writes and flushes so far.
    changes: u64,
    /// The number of writes and flushes at which the power fails.
    last: u64,
}

impl Disk {
    /// The disk in this file, whose size must be a multiple of the sector size.
    pub fn open(file: &Path) -> Self {
        let file = File::options().read(true).write(true).open(file).expect("a disk's file");
        Self::of(file, false)
    }

    fn of(file: File, volatile: bool) -> Self {
        let size = file.metadata().expect("metadata").len();
        assert_eq!(size % SECTOR as u64, 0, "the size of a disk");
        let (cache, changes, last) = (BTreeMap::new(), 0, u64::MAX);
        Self(Arc::new(Mutex::new(State { file, size, volatile, cache, changes, last })))
    }

    /// A disk with the content of a shared file, which does not change: all writes are lost with the disk.
    pub fn volatile(file: &Path) -> Self {
        let file = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self::of(file, true)
    }

    /// An empty disk of this size in bytes.
    pub fn new(file: &Path, size: u64) -> Self {
        File::create(file).and_then(|file| file.set_len(size)).expect("an empty disk");
        Self::open(file)
    }

    /// A disk with an ext4 file system that contains the files of a folder.
    pub fn ext4(file: &Path, size: u64, folder: &Path) -> Self {
        let mut command = Command::new("mke2fs");
        command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-E", "root_owner=0:0", "-d"]);
        let output = command.arg(folder).arg(file).arg(format!("{}K", size / 1024)).output().expect("mke2fs");
        assert!(output.status.success(), "mke2fs: {}", String::from_utf8_lossy(&output.stderr));
        Self::open(file)
    }

    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// The number of writes and flushes so far.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Cuts the power after this number of further writes and flushes: no later request is answered. Thus, the moment does
    /// not depend on time.
    pub fn lose_power_after(&self, changes: u64) {
        let mut state = self.lock();
        state.last = state.changes + changes;
    }

    /// Whether the power has been cut.
    pub fn is_dead(&self) -> bool {
        let state = self.lock();
        state.changes >= state.last
    }

    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let state = self.lock();
        state.file.read_exact_at(bytes, offset)?;
        let (first, end) = (offset / SECTOR as u64, offset + bytes.len() as u64);
        for (number, sector) in state.cache.range(first..end.div_ceil(SECTOR as u64)) {
            let at = usize::try_from(number * SECTOR as u64 - offset).expect("aligned");
            bytes[at..at + SECTOR].copy_from_slice(&**sector);
        }
        Ok(())
    }

    /// Writes to the cache, or also to the file.
    pub fn write(&self, offset: u64, bytes: &[u8], through: bool) -> Result<()> {
        let mut state = self.change()?;
        let through = through && !state.volatile;
        if through {
            state.file.write_all_at(bytes, offset)?;
        }
        let numbers = offset / SECTOR as u64..;
        for (number, sector) in numbers.zip(bytes.chunks_exact(SECTOR)) {
            if through {
                state.cache.remove(&number);
            } else {
                state.cache.insert(number, Box::new(sector.try_into().expect("a sector")));
            }
        }
        Ok(())
    }

    /// Writes the cache to the file.
    pub fn flush(&self) -> Result<()> {
        let mut state = self.change()?;
        if state.volatile {
            return Ok(());
        }
        for (number, sector) in std::mem::take(&mut state.cache) {
            state.file.write_all_at(&*sector, number * SECTOR as u64)?;
        }
        Ok(())
    }

    /// Cuts the power: a random part of the unflushed blocks survives, each of them completely. Returns the number of lost
    /// sectors.
    pub fn cut(&self, chance: &mut Chance) -> usize {
        let mut state = self.lock();
        state.last = u64::MAX;
        let survivors = [0, 10, 50, 90, 100][usize::try_from(chance.below(5)).expect("small")];
        let (mut lost, mut block, mut survives) = (0, u64::MAX, false);
        for (number, sector) in std::mem::take(&mut state.cache) {
            if number / BLOCK != block {
                (block, survives) = (number / BLOCK, chance.below(100) < survivors);
            }
            if survives {
                state.file.write_all_at(&*sector, number * SECTOR as u64).expect("write");
            } else {
                lost += 1;
            }
        }
        lost
    }

    /// Counts a write or flush; fails after the power cut.
    fn change(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.changes >= state.last {
            return Err(ErrorKind::BrokenPipe.into());
        }
        state.changes += 1;
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }
}

#[test]
fn what_was_flushed_survives_a_cut_and_the_rest_may_not() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = Disk::new(&folder.path().join("disk"), 64 * SECTOR as u64);
    let read = |number: u64| {
        let mut bytes = [0; SECTOR];
        disk.read(number * SECTOR as u64, &mut bytes).unwrap();
        bytes[0]
    };
    disk.write(0, &[1; 2 * SECTOR], false).unwrap();
    disk.flush().unwrap();
    disk.write(SECTOR as u64, &[2; 40 * SECTOR], false).unwrap();
    disk.write(41 * SECTOR as u64, &[3; SECTOR], true).unwrap();
    assert_eq!([read(0), read(1), read(40), read(41), read(42)], [1, 2, 2, 3, 0]);
    let mut chance = Chance::from_seed(3);
    let lost = disk.cut(&mut chance);
    assert_eq!([read(0), read(41), read(42)], [1, 3, 0]);
    let is_old = |number: &u64| read(*number) == u8::from(*number == 1);
    assert_eq!((1..41).filter(is_old).count(), lost);
    for block in 1..5 {
        let old = (block * BLOCK..(block + 1) * BLOCK).filter(is_old).count() as u64;
        assert!([0, BLOCK].contains(&old), "of block {block}, {old} sectors are old");
    }
}
