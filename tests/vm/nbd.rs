//! An NBD server for QEMU: one client, one disk, one request at a time.
//!
//! See the protocol's `doc/proto.md`: fixed newstyle negotiation, simple replies. Ends with QEMU.

use crate::disk::Disk;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// Options of the negotiation, and the answers to them.
const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACKNOWLEDGED: u32 = 1;
const REPLY_INFORMATION: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;

/// Features of the disk: flags, flushes, and writes that bypass the cache.
const FEATURES: u16 = 1 | 1 << 2 | 1 << 3;
/// The flag of a write that bypasses the cache.
const THROUGH: u16 = 1;

/// Serves the disk until the client closes the connection.
pub fn serve(disk: &Disk, mut stream: UnixStream) {
    // QEMU is killed at any moment: the end of the connection is not an error.
    let _ = negotiate(disk, &mut stream).and_then(|()| transmit(disk, &mut stream));
}

fn negotiate(disk: &Disk, stream: &mut UnixStream) -> Result<()> {
    stream.write_all(b"NBDMAGIC")?;
    stream.write_all(&OPTION_MAGIC.to_be_bytes())?;
    // Fixed newstyle, no padding.
    stream.write_all(&3_u16.to_be_bytes())?;
    let _client_flags: [u8; 4] = take(stream)?;
    loop {
        expect(u64::from_be_bytes(take(stream)?) == OPTION_MAGIC, "the magic number of an option")?;
        let option = u32::from_be_bytes(take(stream)?);
        let length = u32::from_be_bytes(take(stream)?);
        let mut data = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        stream.read_exact(&mut data)?;
        match option {
            OPTION_GO => {
                // The kind of information, the size, the features.
                let mut about = 0_u16.to_be_bytes().to_vec();
                about.extend(disk.size().to_be_bytes());
                about.extend(FEATURES.to_be_bytes());
                answer(stream, option, REPLY_INFORMATION, &about)?;
                return answer(stream, option, REPLY_ACKNOWLEDGED, &[]);
            }
            OPTION_ABORT => return Err(ErrorKind::ConnectionAborted.into()),
            _ => answer(stream, option, REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn answer(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> Result<()> {
    let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(u32::try_from(data.len()).expect("short").to_be_bytes());
    bytes.extend(data);
    stream.write_all(&bytes)
}

fn transmit(disk: &Disk, stream: &mut UnixStream) -> Result<()> {
    let mut data = Vec::new();
    loop {
        expect(u32::from_be_bytes(take(stream)?) == REQUEST_MAGIC, "the magic number of a request")?;
        let flags = u16::from_be_bytes(take(stream)?);
        let kind = u16::from_be_bytes(take(stream)?);
        let handle: [u8; 8] = take(stream)?;
        let offset = u64::from_be_bytes(take(stream)?);
        let length = u32::from_be_bytes(take(stream)?) as usize;
        data.clear();
        let done = match kind {
            0 => {
                data.resize(length, 0);
                disk.read(offset, &mut data)
            }
            1 => {
                let mut written = vec![0; length];
                stream.read_exact(&mut written)?;
                disk.write(offset, &written, flags & THROUGH != 0)
            }
            2 => return Ok(()),
            3 => disk.flush(),
            _ => Err(ErrorKind::Unsupported.into()),
        };
        if disk.is_dead() {
            // No answer, not even an error: the power has been cut.
            return std::io::copy(stream, &mut std::io::sink()).map(|_| ());
        }
        let number: u32 = match &done {
            Ok(()) => 0,
            // The protocol's numbers of EINVAL and EIO.
            Err(error) if error.kind() == ErrorKind::Unsupported => 22,
            Err(_) => 5,
        };
        let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
        reply.extend(number.to_be_bytes());
        reply.extend(handle);
        if done.is_ok() {
            reply.extend(&data);
        }
        stream.write_all(&reply)?;
    }
}

fn take<const LENGTH: usize>(stream: &mut UnixStream) -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn expect(met: bool, what: &str) -> Result<()> {
    if met { Ok(()) } else { Err(Error::new(ErrorKind::InvalidData, what.to_owned())) }
}
