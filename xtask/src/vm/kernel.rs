//! Unpacks the kernel into the form that QEMU starts fastest.
//!
//! Owns the parser of a bzImage (Documentation/arch/x86/boot.rst). QEMU starts the ELF file inside through its PVH entry,
//! without firmware and without the kernel's decompressor, which takes as long in an emulator as the rest of the boot.

use crate::process;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// Offsets in the header of a bzImage: the number of sectors before the protected-mode part, and offset and length of the
/// compressed kernel in that part.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// Unpacks the kernel `from` to `to`.
///
/// # Errors
/// If this is not a bzImage, or uses neither xz nor zstd.
pub fn unpack(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let payload = payload(&bytes).with_context(|| format!("{} is not a bzImage", from.display()))?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => bail!("{}: the kernel is compressed with neither xz nor zstd", from.display()),
    };
    let packed = to.with_extension("packed");
    fs::write(&packed, payload)?;
    let mut command = Command::new(program);
    command.args(["--decompress", "--stdout"]).stdin(File::open(&packed)?);
    process::run(command.stdout(Stdio::from(File::create(to)?)))?;
    fs::remove_file(&packed)?;
    if !fs::read(to)?.starts_with(b"\x7fELF") {
        bail!("{}: the kernel is not an ELF file", from.display());
    }
    Ok(())
}

/// The compressed kernel inside, without the last four bytes, which are its uncompressed length.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let begin = (usize::from(*image.get(SETUP_SECTORS)?) + 1) * 512
        + usize::try_from(number(PAYLOAD_OFFSET)?).ok()?;
    let length = usize::try_from(number(PAYLOAD_LENGTH)?).ok()?;
    image.get(begin..begin.checked_add(length)?.checked_sub(4)?)
}

#[cfg(test)]
mod tests {
    use super::{PAYLOAD_LENGTH, PAYLOAD_OFFSET, SETUP_SECTORS, payload};

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut image = vec![0; 2048];
        image[SETUP_SECTORS] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET] = 16;
        image[PAYLOAD_LENGTH] = 12;
        image[1040..1048].copy_from_slice(b"compress");
        assert_eq!(payload(&image), Some(&b"compress"[..]));
        image[PAYLOAD_LENGTH + 3] = 255;
        assert_eq!(payload(&image), None);
        assert_eq!(payload(b"short"), None);
    }
}
