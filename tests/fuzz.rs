//! Feeds parsers of untrusted data with damaged inputs: no input makes one panic or loop forever.
//!
//! Each target starts from valid inputs, which it mutates: bits, bytes, numbers at their limits, pieces of other
//! inputs. `$FUZZ_SECONDS` is the time for each target (1 without it), `$FUZZ_SEED` the start of the random numbers. An
//! input that causes a panic is printed, and kept in the directory of temporary files. `cargo xtask fuzz` runs this.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test may panic")]
#![allow(missing_docs, reason = "tests are their own documentation")]

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ds::archive::reader::Reader;
use ds::catalogue::index;
use ds::child::wire::FromChild;
use ds::config::Config;
use ds::config::value::Name;
use ds::host::devices;
use ds::monitor::protocol::{Answer, ControlRequest, Report};
use ds::mount::info;
use ds::rootfs::{partition, superblock};
use ds::worker::protocol::{CommandRequest, FromSupervisor, FromWorker, ToSupervisor, ToWorker};

/// Maximum size of an input.
const LARGEST: usize = 96 << 10;

/// xorshift64*, so that a seed gives the same inputs everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// Damages an input in a few places.
fn mutate(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    const NUMBERS: [u64; 8] =
        [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, i64::MAX.cast_unsigned(), u64::MAX];
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let length = random.below(40).min(input.len() - at);
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.byte(),
            2 => drop(input.drain(at..at + length)),
            3 => {
                let copy = input[at..at + length].to_vec();
                input.splice(at..at, copy);
            }
            4 => {
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)];
                let end = (at + width).min(input.len());
                input.splice(at..end, number[..width].iter().copied());
            }
            5 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                let until = (from + random.below(600)).min(other.len());
                input.splice(at..at + length, other[from..until].iter().copied());
            }
            6 => input.truncate(at),
            _ => {
                let digits = NUMBERS[random.below(NUMBERS.len())].to_string();
                input.splice(at..at + length, digits.bytes());
            }
        }
    }
    input.truncate(LARGEST);
}

/// Feeds a parser; `repair` may correct checksums, which nearly every mutation breaks.
fn fuzz(name: &str, corpus: &[Vec<u8>], repair: impl Fn(&mut Vec<u8>), parse: impl Fn(&[u8])) {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(1));
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let seed = number("FUZZ_SEED").unwrap_or(u64::try_from(clock & u128::from(u64::MAX)).unwrap()) | 1;
    let mut random = Random(seed);
    corpus.iter().for_each(|input| parse(input));
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < time {
        let mut input = corpus[random.below(corpus.len())].clone();
        mutate(&mut random, &mut input, corpus);
        if random.below(8) > 0 {
            repair(&mut input);
        }
        if catch_unwind(AssertUnwindSafe(|| parse(&input))).is_err() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{seed}"));
            fs::write(&file, &input).unwrap();
            panic!("{name}: seed {seed}, input {count}, kept in {}: {input:02x?}", file.display());
        }
        count += 1;
    }
    eprintln!("{name}: {count} inputs, seed {seed}");
}

fn texts(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| input.as_bytes().to_vec()).collect()
}

#[test]
fn ini() {
    let corpus = texts(&[
        "[container]\nrootfs = /srv/web\nhostname=web\n# note\n[mounts]\nbind = /a:/b:ro,/c\\:d:/e\ntmpfs=/t:size=4K\n",
        "\u{feff}[container]\r\nimage=/i.img\r\n[hardware]\r\ndevices = kvm:r,/dev/ttyUSB*\r\naccess=gpu\r\n",
        "[container]\nrootfs=/r\n[network]\nmode=nat\nports = 127.0.0.1:80-90:80-90/udp\naddress=10.0.0.2\n[limits]\nmemory=2G\n",
        "[container]\nrootfs=/r\n[environment]\nA=b c\n[security]\nprivileged = nomask,full\n[android]\nstorage=/s\n",
    ]);
    let name: Name = "web".parse().unwrap();
    fuzz(
        "ini",
        &corpus,
        |_| (),
        |input| {
            let file = Path::new("container.ini");
            if Config::parse(input, file, &name).is_ok() {
                let _ = Config::portable(input, file, &name);
            }
        },
    );
}

/// A member of an archive: header with its checksum, and data.
fn member(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    checksum(&mut block);
    block.extend(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn tar() {
    let pax = b"28 GNU.sparse.major=1\n27 path=directory/long/name\n30 SCHILY.xattr.user.a=value12\n";
    let sparse =
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.realsize=9\n19 size=12345678901\n";
    let corpus = vec![
        [member("file", b'0', b"content"), member("directory/", b'5', b""), vec![0; 1024]].concat(),
        [member("x", b'x', pax), member("file", b'0', b"abc"), vec![0; 1024]].concat(),
        [member("x", b'g', sparse), member("file", b'0', b"1\n0\n9\n"), member("l", b'L', &[b'n'; 300])]
            .concat(),
        [member("link", b'1', b""), member("node", b'3', b""), member("old", b'S', &[0; 700])].concat(),
    ];
    let repair = |input: &mut Vec<u8>| input.chunks_exact_mut(512).step_by(2).for_each(checksum);
    fuzz("tar", &corpus, repair, |input| {
        let mut stream = input;
        let mut reader = Reader::new(&mut stream);
        while let Ok(Some(_)) = reader.next() {
            while reader.data(100).is_ok_and(|data| !data.is_empty()) {}
        }
    });
}

#[test]
fn mountinfo() {
    let corpus = texts(&[
        "36 35 98:0 /a\\040b /mnt\\134x rw,noatime master:1 shared:5 - ext3 /dev/root rw,errors=continue\n",
        "1 1 0:2 / / rw - rootfs rootfs rw\n22 1 0:21 / /proc rw shared:2 propagate_from:7 - proc proc rw\n",
    ]);
    fuzz("mountinfo", &corpus, |_| (), |input| drop(info::parse(input)));
}

#[test]
fn packets() {
    let corpus = texts(&[
        r#"{"generation":1,"argv":["ds","list"],"cwd":"/","environment":{"TERM":"linux"},"watches":true}"#,
        r#"{"Signal":15}"#,
        r#"{"Failed":{"chain":["a","b"],"errno":2}}"#,
        r#"{"Containers":{"watched":["web"],"restarts":{"db":{"secs":5,"nanos":1}},"waiting":{},"held_back":null}}"#,
        r#"{"Stop":{"timeout_s":5,"kill":false}}"#,
        r#"{"Resize":{"rows":24,"columns":80}}"#,
        r#"{"Checking":{"percent":200}}"#,
        r#""Console""#,
        r#"{"Warning":"text"}"#,
    ]);
    fuzz(
        "packets",
        &corpus,
        |_| (),
        |input| {
            let _ = serde_json::from_slice::<CommandRequest>(input);
            let _ = serde_json::from_slice::<ToWorker>(input);
            let _ = serde_json::from_slice::<FromWorker>(input);
            let _ = serde_json::from_slice::<ToSupervisor>(input);
            let _ = serde_json::from_slice::<FromSupervisor>(input);
            let _ = serde_json::from_slice::<ControlRequest>(input);
            let _ = serde_json::from_slice::<Answer>(input);
            let _ = serde_json::from_slice::<Report>(input);
            if let Ok(FromChild::Failed(failed)) = serde_json::from_slice::<FromChild>(input) {
                let _ = format!("{:#}", anyhow::Error::from(failed));
            }
        },
    );
}

#[test]
fn superblocks() {
    let mut ext = vec![0; 4096];
    // Blocks, block size, state, magic number, features; ext4/globals.rst of the kernel.
    ext[1024..1032].copy_from_slice(&[64, 0, 0, 0, 0, 4, 0, 0]);
    ext[1024 + 56..1024 + 60].copy_from_slice(&[0x53, 0xef, 1, 0]);
    ext[1024 + 76] = 1;
    let mut disk = vec![0; 8192];
    disk[446..462].copy_from_slice(&[0, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut table = disk.clone();
    table[450] = 0xee;
    table[512..520].copy_from_slice(b"EFI PART");
    fuzz(
        "superblocks",
        &[ext, disk, table],
        |_| (),
        |input| {
            let _ = superblock::probe(input).name();
            let size = u64::try_from(input.len()).unwrap();
            let mut at = |offset: u64, buffer: &mut [u8]| -> std::io::Result<()> {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(buffer.len());
                let part = input.get(start..end).ok_or(std::io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(part);
                Ok(())
            };
            let _ = partition::read(size, 512, &mut at);
        },
    );
}

#[test]
fn image_index() {
    let corpus = texts(&[
        "debian;trixie;amd64;default;20260101_05:24;/images/debian/trixie/amd64/default/20260101_05:24/\n",
        r#"{"products":{"debian:13:amd64:default":{"aliases":"debian/13","arch":"amd64","os":"Debian","release":"trixie","release_title":"13","variant":"default","versions":{"20260101_05:24":{"items":{"root.tar.xz":{"ftype":"root.tar.xz","path":"images/x/rootfs.tar.xz","sha256":"aa","size":5}}}}}}}"#,
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef  rootfs.tar.xz\n",
    ]);
    fuzz(
        "image_index",
        &corpus,
        |_| (),
        |input| {
            let streams = index::parse_streams(input).unwrap_or_default();
            let text = index::parse_text(input).unwrap_or_default();
            streams.iter().chain(&text).for_each(|image| drop(image.name()));
            let _ = index::sum_of("rootfs.tar.xz", input);
        },
    );
}

#[test]
fn uevents() {
    let corpus = texts(&[
        "add@/devices/usb1/tty/ttyUSB0\0ACTION=add\0SUBSYSTEM=tty\0MAJOR=188\0MINOR=0\0DEVNAME=ttyUSB0\0SEQNUM=9\0",
        "remove@/devices/x\0ACTION=remove\0SUBSYSTEM=block\0MAJOR=8\0MINOR=0\0DEVNAME=sda\0DEVMODE=0660\0",
        "change@/devices/power\0ACTION=change\0SUBSYSTEM=power_supply\0",
    ]);
    fuzz(
        "uevents",
        &corpus,
        |_| (),
        |input| {
            for android in [false, true] {
                if let Some(devices::Change::Added(node)) = devices::parse(input, android) {
                    assert!(!node.name.starts_with('/') && node.name.split('/').all(|part| part != ".."));
                }
            }
        },
    );
}
