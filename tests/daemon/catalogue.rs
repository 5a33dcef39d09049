//! A server of images on this machine, with one small file: as much of a catalogue as `ds images` and `ds pull` need.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::json;
use sha2::{Digest, Sha256};

/// The name of the only image.
pub const IMAGE: &str = "debian:trixie";

const CONTENT: &[u8] = b"an archive";
const FILE: &str = "images/debian/trixie/rootfs.tar.xz";

/// Starts the server, which lasts as long as the test. Returns its address.
pub fn serve() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().for_each(|stream| drop(answer(&stream.unwrap()))));
    address
}

fn index() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let sum: String = Sha256::digest(CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
    let item = json!({ "ftype": "root.tar.xz", "sha256": sum, "size": CONTENT.len(), "path": FILE });
    let versions = json!({ "20260821_05:24": { "items": { "root.tar.xz": item } } });
    let product = json!({ "aliases": "debian/trixie/default,debian/13", "versions": versions });
    json!({
        "content_id": "images", "datatype": "image-downloads", "format": "products:1.0",
        "products": { format!("debian:trixie:{architecture}:default"): product },
    })
    .to_string()
}

fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let request = lines.collect::<Vec<_>>().into_iter().next().unwrap_or_default();
    let (status, body) = match request.split(' ').nth(1) {
        Some("/streams/v1/images.json") => ("200 OK", index().into_bytes()),
        Some(path) if path.trim_start_matches('/') == FILE => ("200 OK", CONTENT.to_vec()),
        _ => ("404 Not Found", Vec::new()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}
