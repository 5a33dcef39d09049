//! The output of the original programs can be read with any of their options; everything else is refused with the right
//! error.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{program} {arguments:?}");
        done.stdout
    })
}

/// With threads and without.
fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    static POOL: LazyLock<Option<Pool>> = LazyLock::new(|| Pool::start(xz::decode_block));
    let format = recognise(bytes).unwrap().expect("compressed");
    let with = |pool| {
        let mut output = Vec::new();
        decode(format, &mut &bytes[..], &mut output, pool).map(|()| output)
    };
    let (alone, together) = (with(None), with(POOL.as_ref()));
    assert_eq!(alone.is_ok(), together.is_ok());
    if alone.is_ok() { together } else { alone }
}

/// Compressible data that is larger than the buffers, but does not shrink to almost nothing.
fn plain() -> Vec<u8> {
    let mut state = 1_u32;
    (0..700_000_u32)
        .map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if index % 3 == 0 { state.to_be_bytes()[0] & 0x3f } else { index.to_be_bytes()[2] }
        })
        .collect()
}

const PROGRAMS: [(&str, &[&str]); 10] = [
    ("gzip", &["-c"]),
    ("gzip", &["-1c"]),
    ("xz", &["-c", "-T1"]),
    ("xz", &["-0c", "--check=crc32"]),
    ("xz", &["-0c", "-T2", "--block-size=200000"]),
    ("xz", &["-0c", "-T2", "--block-size=65536", "--check=none"]),
    ("xz", &["-0c", "--check=sha256"]),
    ("xz", &["-c", "--x86", "--lzma2=preset=1"]),
    ("zstd", &["-cq"]),
    ("zstd", &["-cq", "-1", "--no-check"]),
];

#[test]
fn what_the_programs_write_is_read_and_nothing_less() {
    let plain = plain();
    for (program, arguments) in PROGRAMS {
        let bytes = run(program, arguments, &plain);
        assert!(decoded(&bytes).as_ref() == Ok(&plain), "{program} {arguments:?}");
        let twice = [bytes.clone(), bytes.clone()].concat();
        assert!(
            decoded(&twice) == Ok([plain.clone(), plain.clone()].concat()),
            "{program}: one behind another"
        );
        for length in [7, 20, bytes.len() / 2, bytes.len() - 1] {
            assert_eq!(decoded(&bytes[..length]), Err(Fault::TooShort), "{program} cut at {length}");
        }
        let more = [bytes.clone(), b"something else".to_vec()].concat();
        let refused = decoded(&more);
        assert!(matches!(refused, Err(Fault::Garbage | Fault::Corrupt)), "{program}: {:?}", refused.err());
        assert!(decoded(&run(program, arguments, b"")) == Ok(Vec::new()), "{program}: nothing");
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    let plain = plain();
    for (program, arguments) in PROGRAMS
        .iter()
        .filter(|(_, arguments)| ["--no-check", "--check=none"].iter().all(|none| !arguments.contains(none)))
    {
        let bytes = run(program, arguments, &plain);
        for at in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 5] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(decoded(&changed).is_err(), "{program} {arguments:?} at {at}");
        }
    }
}

#[test]
fn blocks_of_all_sizes_are_read() {
    // One block is too large for a thread, and streams with and without sizes follow each other.
    let large = vec![7; 33 << 20];
    let all = [
        run("xz", &["-0c", "-T2", "--block-size=34603009"], &large),
        run("xz", &["-0c", "-T2", "--block-size=1048576"], &plain()),
        vec![0; 4],
        run("xz", &["-0c"], &plain()),
    ];
    assert!(decoded(&all.concat()) == Ok([large, plain(), plain()].concat()));
}

#[test]
fn a_block_without_sizes_behind_one_with_them_is_refused() {
    let sized = run("xz", &["-0c", "-T2", "--block-size=700000"], &plain());
    let unsized_block = &run("xz", &["-0c"], &plain())[12..];
    let index = sized.len() - 12 - 4 * (usize::from(sized[sized.len() - 8]) + 1);
    let mixed = [&sized[..index], unsized_block].concat();
    let mut pool = Pool::start(xz::decode_block);
    let done = decode(Format::Xz, &mut mixed.as_slice(), &mut Vec::new(), pool.as_ref());
    assert_eq!(done, if pool.take().is_some() { Err(Fault::Mixed) } else { Err(Fault::Corrupt) });
}

#[test]
fn the_checksum_of_each_block_is_verified() {
    for check in ["crc32", "crc64", "sha256", "none"] {
        let option = format!("--check={check}");
        let mut bytes = run("xz", &["-0c", "-T2", "--block-size=700000", option.as_str()], &plain());
        assert!(decoded(&bytes) == Ok(plain()), "{check}");
        // The checksum is before the index.
        let index = bytes.len() - 12 - 4 * (usize::from(bytes[bytes.len() - 8]) + 1);
        bytes[index - 1] ^= 1;
        assert!(check == "none" || decoded(&bytes) == Err(Fault::Corrupt), "{check}");
    }
}

#[test]
fn a_block_that_is_longer_than_its_header_says_is_refused() {
    let plain = vec![0; 700_000];
    let mut bytes = run("xz", &["-0c", "-T2", "--block-size=700000"], &plain);
    // The size 700000 is 0xe0, 0xdc, 0x2a: 1.2 of the .xz file format.
    let length = usize::from(bytes[12]) * 4;
    let at = (13..12 + length).find(|at| bytes[*at..].starts_with(&[0xe0, 0xdc, 0x2a])).unwrap();
    bytes[at + 2] = 1;
    let mut sum = Checksum::crc32();
    sum.add(&bytes[12..12 + length]);
    let sum = sum.value().to_le_bytes();
    bytes[12 + length..16 + length].copy_from_slice(&sum[..4]);
    let Some(pool) = Pool::start(xz::decode_block) else { return };
    assert_eq!(decode(Format::Xz, &mut bytes.as_slice(), &mut Vec::new(), Some(&pool)), Err(Fault::Corrupt));
}

#[test]
fn a_wrong_index_is_refused() {
    let bytes = run("xz", &["-0c", "-T2", "--block-size=200000"], &plain());
    for at in (bytes.len() - 40..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(decoded(&changed).is_err(), "{at}");
    }
    assert_eq!(decoded(&bytes[..bytes.len() - 13]), Err(Fault::TooShort));
}

#[test]
fn zeros_behind_the_end_of_a_tape_are_passed_over() {
    let gzip = [run("gzip", &["-c"], b"x"), vec![0; 9000]].concat();
    assert_eq!(decoded(&gzip), Ok(b"x".to_vec()));
    let xz = [run("xz", &["-c"], b"x"), vec![0; 8]].concat();
    assert_eq!(decoded(&xz), Ok(b"x".to_vec()));
}

#[test]
fn too_much_memory_is_refused() {
    let xz = run("xz", &["-c", "--lzma2=preset=0,dict=512MiB"], b"x");
    assert_eq!(decoded(&xz), Err(Fault::TooMuchMemory));
    // A zstd frame with a window of 2 GiB, RFC 8878, 3.1.1.1.
    assert_eq!(decoded(b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), Err(Fault::TooMuchMemory));
}

#[test]
fn other_compressions_have_their_names() {
    assert_eq!(recognise(b"BZh91AY"), Err("bzip2"));
    assert_eq!(recognise(b"\x04\x22\x4d\x18xx"), Err("lz4"));
    assert_eq!(recognise(b""), Ok(None));
    assert_eq!(recognise(b"./\0\0\0\0"), Ok(None));
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    for (mut sum, value) in [(Checksum::crc32(), 0xcbf4_3926), (Checksum::crc64(), 0x995d_c9bb_df19_39fa)] {
        sum.add(b"1234");
        sum.add(b"56789");
        assert_eq!(sum.value(), value);
        sum.add(&[7; 20]);
        let other = [b"123456789".as_slice(), &[7; 20]].concat();
        let mut bytewise = if value < 1 << 32 { Checksum::crc32() } else { Checksum::crc64() };
        other.chunks(1).for_each(|byte| bytewise.add(byte));
        assert_eq!(sum.value(), bytewise.value());
    }
}

proptest! {
    #![proptest_config(crate::cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        magic in prop_oneof![Just(b"\x1f\x8b\x08\0".as_slice()), Just(b"\xfd7zXZ\0\0\x04".as_slice()), Just(b"\x28\xb5\x2f\xfd".as_slice())],
    ) {
        let _ = decoded(&[magic, &bytes].concat());
    }
}
