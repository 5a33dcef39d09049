//! Streams through children, in a process with one thread, which they require.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::archive::compress;
use crate::archive::unpack::{Rules, unpack};
use crate::archive::writer::Writer;
use crate::rootfs::root::Root;
use crate::sys::process::with_one_thread;

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

/// Larger than the pipes, with varying content.
fn plain() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|index| (index / 7).to_le_bytes()).take(5 << 20).collect()
}

fn compress_to(path: &Path, plain: &[u8]) -> Result<(), String> {
    let output = OwnedFd::from(File::create(path).map_err(text)?);
    let mut sink = compress::open(&output).map_err(text)?;
    sink.write_all(plain).map_err(text)?;
    sink.finish().map_err(text)
}

fn decompressed(path: &Path) -> Result<Vec<u8>, String> {
    let mut stream = open(File::open(path).map_err(text)?.into()).map_err(text)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map_err(|error| error.to_string())?;
    stream.finish().map_err(|error| one_line(&error))?;
    Ok(all)
}

fn archive() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    writer.file("a", &[1; 400_000], 1).unwrap();
    writer.file("b", &plain()[..400_000], 2).unwrap();
    writer.end().unwrap();
    bytes
}

#[test]
fn what_is_compressed_is_zstd_with_a_checksum_and_comes_out_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("x.zst");
    let done = with_one_thread(|| {
        compress_to(&path, &plain())?;
        // Several children, one after the other.
        compress_to(&path, &plain())?;
        if decompressed(&path)? == plain() { Ok(()) } else { Err("it is different".into()) }
    });
    assert_eq!(done, Ok(()));
    let tested = Command::new("zstd").args(["-tq"]).arg(&path).status().unwrap();
    assert!(tested.success());
    let listed = Command::new("zstd").arg("-lv").arg(&path).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("XXH64"), "{listed:?}");
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() < 5 << 20);
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, bytes).unwrap();
    let cut = with_one_thread(|| decompressed(&path).map(drop));
    assert_eq!(cut, Err("the zstd data ends too soon; the file is incomplete".into()));
}

#[test]
fn threads_for_xz_need_no_further_permission() {
    let place = tempfile::tempdir().unwrap();
    let (path, packed) = (place.path().join("x"), place.path().join("x.xz"));
    let all = vec![plain(); 4].concat();
    fs::write(&path, &all).unwrap();
    let xz = Command::new("xz").args(["-0", "-T2", "--block-size=6MiB"]).arg(&path).status().unwrap();
    assert!(xz.success());
    let same = with_one_thread(|| match decompressed(&packed)? == all {
        true => Ok(()),
        false => Err("it is different".into()),
    });
    assert_eq!(same, Ok(()));
}

#[test]
fn an_archive_is_unpacked_while_it_is_decompressed_and_damage_is_reported() {
    let place = tempfile::tempdir().unwrap();
    let (plain, tree) = (place.path().join("x.tar"), place.path().join("tree"));
    fs::create_dir(&tree).unwrap();
    fs::write(&plain, archive()).unwrap();
    for (program, extension) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst"), ("true", "")] {
        let packed = Command::new(program).args(["-k", "-q"]).arg(&plain).status().unwrap();
        assert!(packed.success(), "{program}");
        let path = plain.with_extension(if extension.is_empty() {
            "tar".into()
        } else {
            format!("tar.{extension}")
        });
        let unpacked = |path: &Path| {
            with_one_thread(|| {
                let mut stream = open(File::open(path).map_err(text)?.into()).map_err(text)?;
                let root = Root::open(&tree).map_err(text)?;
                unpack(&mut stream, &root, &Rules::default(), &mut |_| {})
                    .map_err(|error| one_line(&error))?;
                stream.finish().map_err(|error| one_line(&error))
            })
        };
        assert_eq!(unpacked(&path), Ok(()), "{program}");
        assert_eq!(fs::read(tree.join("b")).unwrap(), super::tests::plain()[..400_000]);
        if program != "true" {
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 2;
            bytes.truncate(last);
            fs::write(&path, &bytes).unwrap();
            let refused = unpacked(&path).unwrap_err();
            assert!(refused.ends_with("data ends too soon; the file is incomplete"), "{refused}");
            assert!(refused.contains(&format!("the {program} data")), "{refused}");
        }
    }
}

#[test]
fn a_pipe_is_as_good_as_a_file() {
    let done = with_one_thread(|| {
        let (reading, mut writing) = std::io::pipe().map_err(text)?;
        writing.write_all(b"plain, and short").map_err(text)?;
        drop(writing);
        let mut stream = open(reading.into()).map_err(text)?;
        let mut all = String::new();
        stream.read_to_string(&mut all).map_err(text)?;
        stream.finish().map_err(text)?;
        if all == "plain, and short" { Ok(()) } else { Err(all) }
    });
    assert_eq!(done, Ok(()));
}

#[test]
fn a_bomb_behind_the_archive_is_not_read_to_its_end() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("x.zst");
    let done = with_one_thread(|| {
        compress_to(&path, &vec![0; 100 << 20])?;
        let stream = open(File::open(&path).map_err(text)?.into()).map_err(text)?;
        stream.finish().map_err(|error| one_line(&error))
    });
    assert_eq!(done, Err("unexpected data follows the end of the archive".into()));
}

#[test]
fn a_full_disk_and_an_unsupported_compression_are_reported() {
    let done = with_one_thread(|| {
        let full = OwnedFd::from(OpenOptions::new().write(true).open("/dev/full").map_err(text)?);
        let mut sink = compress::open(&full).map_err(text)?;
        let written = sink.write_all(&plain()).map_err(|error| error.to_string());
        written.and_then(|()| sink.finish().map_err(|error| one_line(&error)))
    });
    assert_eq!(
        done,
        Err("the compressed archive cannot be written: No space left on device (ENOSPC)".into())
    );
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("x"), b"BZh91AY&SY").unwrap();
    let refused = open(File::open(place.path().join("x")).unwrap().into()).unwrap_err();
    assert_eq!(one_line(&refused), "compression with bzip2 is unsupported; use gzip, xz or zstd");
}
