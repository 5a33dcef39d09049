//! Files that are not a root file system: detects their kind and suggests a remedy.
//!
//! Owns a table of magic numbers, file(1); reads nothing by itself.

/// A file that is neither an image nor an archive of a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignFile {
    /// Its kind, with its article.
    pub kind: &'static str,
    /// The remedy.
    pub remedy: &'static str,
}

/// The offset of a magic number, the number, the kind, and the remedy.
type Row = (usize, &'static [u8], &'static str, &'static str);

const CONVERT: &str = "make a raw image of it with 'qemu-img convert -O raw', and use that with --image";
const INSTALL: &str = "install it in a container that has a package manager";
const REPACK: &str = "unpack it; use a tree in it with --rootfs, or a tar archive with --from";
const MEDIUM: &str =
    "it starts an installer; use an installed root file system, such as the squashfs file in it";

/// Kinds with two magic numbers are first.
const KNOWN: &[Row] = &[
    (0, b"QFI\xFB", "a qcow2 disk", CONVERT),
    (0, b"KDMV", "a VMware disk (vmdk)", CONVERT),
    (0, b"# Disk DescriptorFile", "a VMware disk (vmdk)", CONVERT),
    (0, b"vhdxfile", "a Hyper-V disk (vhdx)", CONVERT),
    (0, b"conectix", "a Virtual PC disk (vhd)", CONVERT),
    (64, &[0x7F, 0x10, 0xDA, 0xBE], "a VirtualBox disk (vdi)", CONVERT),
    (
        0,
        &[0x3A, 0xFF, 0x26, 0xED],
        "an Android sparse image",
        "make a raw image of it with simg2img, and use that with --image",
    ),
    (0x8001, b"CD001", "a CD or DVD image (iso9660)", MEDIUM),
    (0, b"!<arch>\ndebian-binary", "a Debian package (.deb)", INSTALL),
    (0, b"!<arch>\n", "an ar archive", REPACK),
    (0, &[0xED, 0xAB, 0xEE, 0xDB], "an RPM package", INSTALL),
    (0, b"PK\x03\x04", "a zip archive", REPACK),
    (0, b"PK\x05\x06", "an empty zip archive", REPACK),
    (0, b"7z\xBC\xAF\x27\x1C", "a 7z archive", REPACK),
    (0, b"Rar!\x1A\x07", "a RAR archive", REPACK),
    (0, b"070701", "a cpio archive, perhaps an initramfs", REPACK),
    (0, b"070702", "a cpio archive, perhaps an initramfs", REPACK),
    (0, b"070707", "a cpio archive, perhaps an initramfs", REPACK),
    (0, b"MSWIM\0\0\0", "an archive of Windows (wim)", REPACK),
    (0, b"\x7FELF", "a program", "give a root file system that has an init program"),
    (
        0,
        b"<!DOCTYPE",
        "a web page",
        "the download returned a page instead of the file; read the page, then download the file again",
    ),
    (
        0,
        b"<!doctype",
        "a web page",
        "the download returned a page instead of the file; read the page, then download the file again",
    ),
    (
        0,
        b"<html",
        "a web page",
        "the download returned a page instead of the file; read the page, then download the file again",
    ),
    (
        0,
        &[0x1F, 0x8B],
        "compressed with gzip",
        "unpack it with 'gzip -dk', or, if it contains an archive, use it with --from",
    ),
    (
        0,
        b"\xFD7zXZ",
        "compressed with xz",
        "unpack it with 'xz -dk', or, if it contains an archive, use it with --from",
    ),
    (
        0,
        &[0x28, 0xB5, 0x2F, 0xFD],
        "compressed with zstd",
        "unpack it with 'zstd -d', or, if it contains an archive, use it with --from",
    ),
    (0, b"BZh", "compressed with bzip2", "unpack it with 'bzip2 -dk'"),
    (0, &[0x04, 0x22, 0x4D, 0x18], "compressed with lz4", "unpack it with 'lz4 -d'"),
    (257, b"ustar", "a tar archive", "use it with --from"),
];

/// The kind according to the first bytes; `None` if unknown.
#[must_use]
pub fn recognise(front: &[u8]) -> Option<ForeignFile> {
    let is = |row: &&Row| front.get(row.0..).is_some_and(|rest| rest.starts_with(row.1));
    KNOWN.iter().find(is).map(|(_, _, kind, remedy)| ForeignFile { kind, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_fits_counts() {
        assert_eq!(recognise(b"!<arch>\ndebian-binary   ").unwrap().kind, "a Debian package (.deb)");
        assert_eq!(recognise(b"!<arch>\nx").unwrap().kind, "an ar archive");
        assert_eq!(recognise(b""), None);
        assert_eq!(recognise(&[0; 0x9000]), None);
        for row in KNOWN {
            let front = [&vec![0; row.0][..], row.1].concat();
            assert_eq!(recognise(&front).unwrap().kind, row.2);
            assert!(!row.3.is_empty());
        }
    }
}
