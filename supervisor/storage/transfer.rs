//! Copies one tree into another, as an archive in a pipe: the copy contains exactly what an archive contains.
//!
//! A child packs into a pipe and this process unpacks it, so that both work in parallel. fork(2), pipe(2).

use std::fs::File;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::archive::compare::compare;
use crate::archive::pack::pack;
use crate::archive::unpack::{Rules, unpack};
use crate::archive::writer::Writer;
use crate::call;
use crate::confined::large_pipe;
use crate::rootfs::root::Root;
use crate::storage::job::Reporter;
use crate::subprocess::Subprocess;
use crate::sys::errno_of;

/// The report of the packing process: the skipped files, or its error and whether its reader had ended.
type Packed = Result<Vec<String>, (bool, String)>;

/// Maximum number of differences in a message.
const NAMED: usize = 3;

/// Copies the tree `from` into the empty tree `to`; `progress` receives the number of written bytes.
///
/// # Errors
/// If a file cannot be read or written, with its name.
pub fn transfer(from: &Root, to: &Root, reporter: &mut Reporter) -> Result<()> {
    let (reading, writing) = large_pipe()?;
    let (result, theirs) = call!(pipe2(OFlag::O_CLOEXEC), "pipe2")?;
    let mut ours = Some((File::from(reading), File::from(result)));
    let in_child = &mut ours;
    let mut child = Subprocess::fork(move || {
        // Its writes fail with EPIPE only if it holds no reading end itself.
        drop(in_child.take());
        let mut pipe = File::from(writing);
        let packed = pack(from, ".", &mut pipe, &mut |_| {});
        let packed = packed.and_then(|packed| Writer::new(&mut pipe).end().map(|()| packed.skipped));
        let packed: Packed =
            packed.map_err(|error| (errno_of(&error) == Some(Errno::EPIPE), format!("{error:#}")));
        u8::from(serde_json::to_writer(File::from(theirs), &packed).is_err())
    })?;
    let (mut stream, result) = ours.context("the pipes")?;
    let unpacked = unpack(&mut stream, to, &Rules::default(), &mut |done| reporter.progress(done));
    // The packing process gets EPIPE.
    drop(stream);
    let packed = std::io::read_to_string(result).context("read the messages of the packing process")?;
    child.wait()?;
    let packed: Packed = serde_json::from_str(&packed).context("the packing process died")?;
    let (skipped, unpacked) = match (packed, unpacked) {
        // If one side fails, the other one fails too: the first error is reported.
        (Err((true, _)), Err(error)) => return Err(error),
        (Err((_, reason)), _) => bail!("{reason}"),
        (Ok(skipped), unpacked) => (skipped, unpacked?),
    };
    for line in skipped.iter().chain(&unpacked.warnings) {
        reporter.warn(line)?;
    }
    reporter.finish(unpacked.bytes)
}

/// Verifies a copy.
///
/// # Errors
/// The differences.
pub fn verify(from: &Root, to: &Root, reporter: &mut Reporter) -> Result<()> {
    let differences = compare(from, to, &mut |done| reporter.progress(done))?;
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(NAMED);
    let named: Vec<String> = differences.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    bail!("the copy differs: {}{more}; nothing was changed", named.join(", "))
}
