//! The kernel's list of mounts: /proc/PID/mountinfo, proc_pid_mountinfo(5). Owns the parser; changes nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Identity of the mount.
    pub id: u32,
    /// Identity of the parent mount; its own at the top.
    pub parent: u32,
    /// The directory in the file system that is the root of this mount.
    pub root: PathBuf,
    /// The mount point, as seen from the process's root.
    pub target: PathBuf,
    /// Options of the mount, such as `ro` and `nosuid`.
    pub options: Vec<String>,
    /// Whether it propagates to a peer group (`shared:N`).
    pub shared: bool,
    /// Type, such as `ext4`.
    pub kind: String,
    /// Device, or a substitute for it.
    pub source: String,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

/// Reads the mounts of this process, or of `pid`.
///
/// # Errors
/// If /proc is not mounted, or the process has ended.
pub fn read(process: &str) -> Result<Vec<MountInfo>> {
    let path = format!("/proc/{process}/mountinfo");
    let bytes = std::fs::read(&path).with_context(|| format!("read {path}"))?;
    Ok(parse(&bytes))
}

/// Parses mountinfo; skips invalid lines.
#[must_use]
pub fn parse(bytes: &[u8]) -> Vec<MountInfo> {
    bytes.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let text =
        |index: usize| fields.get(index).map(|field| String::from_utf8_lossy(&unescape(field)).into_owned());
    let path =
        |index: usize| fields.get(index).map(|field| PathBuf::from(OsString::from_vec(unescape(field))));
    let list = |value: String| value.split(',').map(str::to_owned).collect();
    Some(MountInfo {
        id: text(0)?.parse().ok()?,
        parent: text(1)?.parse().ok()?,
        root: path(3)?,
        target: path(4)?,
        options: list(text(5)?),
        shared: fields[6..separator].iter().any(|field| field.starts_with(b"shared:")),
        kind: text(separator + 1)?,
        source: text(separator + 2)?,
        super_options: list(text(separator + 3).unwrap_or_default()),
    })
}

/// Decodes the kernel's `\040` for blank, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = |byte: u8| (b'0'..=b'7').contains(&byte).then(|| u16::from(byte - b'0'));
        let code = match tail {
            [a, b, c, ..] if first == b'\\' => match (octal(*a), octal(*b), octal(*c)) {
                (Some(a), Some(b), Some(c)) => u8::try_from(a * 64 + b * 8 + c).ok(),
                _ => None,
            },
            _ => None,
        };
        match code {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[3..];
            }
            None => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    decoded
}

/// Mounts at or below a directory.
pub fn below<'a>(mounts: &'a [MountInfo], directory: &'a Path) -> impl Iterator<Item = &'a MountInfo> {
    mounts.iter().filter(move |mount| mount.target.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_blanks_and_optional_fields_is_read() {
        let line = b"36 35 98:0 /a\\040b /mnt\\134x rw,noatime master:1 shared:5 - ext3 /dev/root rw,errors=continue";
        let mounts = parse(line);
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].root, Path::new("/a b"));
        assert_eq!(mounts[0].target, Path::new("/mnt\\x"));
        assert!(mounts[0].shared);
        assert_eq!(mounts[0].kind, "ext3");
        assert_eq!(mounts[0].super_options, ["rw", "errors=continue"]);
        assert_eq!(below(&mounts, Path::new("/mnt\\x")).count(), 1);
        assert_eq!(
            below(&mounts, Path::new("/mnt")).count(),
            0,
            "a name that only begins alike is not below"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn escapes_round_trip(name in "[ -~\t]{1,40}") {
            let escaped: Vec<u8> = name.bytes().flat_map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                other => vec![other],
            }).collect();
            proptest::prop_assert_eq!(unescape(&escaped), name.into_bytes());
        }
    }
}
