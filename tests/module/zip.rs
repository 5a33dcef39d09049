//! The module's zip, and changed ones.

use crate::given;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::process::{Command, Stdio};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// The files of a zip.
pub type Members = BTreeMap<String, Vec<u8>>;

/// The tested zip, unmodified.
pub fn tested() -> Vec<u8> {
    fs::read(given("DS_MODULE")).expect("the module's zip")
}

pub fn members() -> Members {
    let mut zip = ZipArchive::new(Cursor::new(tested())).expect("a zip");
    let mut members = Members::new();
    for index in 0..zip.len() {
        let mut file = zip.by_index(index).expect("a member");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("its bytes");
        members.insert(file.name().expect("UTF-8").into_owned(), bytes);
    }
    members
}

/// A zip with these files and valid zip checksums, independent of the module's checksums.
pub fn pack(members: &Members) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).expect("a member");
        zip.write_all(bytes).expect("its bytes");
    }
    zip.finish().expect("a zip").into_inner()
}

/// The same module with a change, and updated checksums.
pub fn rebuilt(change: impl FnOnce(&mut Members)) -> Vec<u8> {
    let mut members = members();
    change(&mut members);
    members.remove("checksums");
    let unpacked = members.iter().filter(|(name, _)| !name.starts_with("META-INF/"));
    let sums: String = unpacked.map(|(name, bytes)| format!("{}  {name}\n", sum(bytes))).collect();
    members.insert("checksums".into(), sums.into_bytes());
    pack(&members)
}

/// The same module, of another version.
pub fn of_version(version: &str, code: u32) -> Vec<u8> {
    rebuilt(|members| {
        let text = String::from_utf8(members["module.prop"].clone()).expect("UTF-8");
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some(("version", _)) => format!("version={version}\n"),
            Some(("versionCode", _)) => format!("versionCode={code}\n"),
            _ => format!("{line}\n"),
        });
        let text: String = lines.collect();
        members.insert("module.prop".into(), text.into_bytes());
    })
}

fn sum(bytes: &[u8]) -> String {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    child.stdin.take().expect("stdin").write_all(bytes).expect("write");
    let output = child.wait_with_output().expect("wait");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a sum").to_owned()
}
