//! A catalogue as images.linuxcontainers.org has it, with one image.

use super::{Reply, Request};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Where the image is on the server.
pub const IMAGE: &str = "/images/debian/trixie/amd64/default/20260821_05:24/rootfs.tar.xz";

pub fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A catalogue with decoys: another architecture, a variant that sorts first, an older build, a machine image.
pub fn streams(image: &[u8]) -> String {
    let item = |path: &str, sha256: &str, size: usize| {
        format!(
            r#"{{"items":{{"root.tar.xz":{{"ftype":"root.tar.xz","sha256":"{sha256}","size":{size},"path":"{path}"}}}}}}"#
        )
    };
    let good = item(IMAGE.trim_start_matches('/'), &sum(image), image.len());
    let bad = item("images/decoy/rootfs.tar.xz", &"0".repeat(64), 1);
    format!(
        r#"{{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{{
        "debian:trixie:amd64:cloud":{{"aliases":"debian/trixie/cloud,debian/13/cloud","versions":{{"20260821_05:24":{bad}}}}},
        "debian:trixie:amd64:default":{{"aliases":"debian/trixie/default,debian/13/default,debian/trixie,debian/13",
            "versions":{{"20260820_05:24":{bad},"20260821_05:24":{good}}}}},
        "debian:trixie:arm64:default":{{"aliases":"debian/trixie/default,debian/13","versions":{{"20260821_05:24":{good}}}}},
        "debian:trixie:riscv64:default":{{"versions":{{"20260821_05:24":{bad}}}}},
        "debian:forky:amd64:default":{{"aliases":"debian/forky,debian/14","versions":{{"20260821_05:24":{bad}}}}},
        "ubuntu:noble:amd64:desktop":{{"versions":{{"20260821_05:24":{{"items":{{"disk.qcow2":{{"ftype":"disk-kvm.img"}}}}}}}}}},
        "alpine:3.23:amd64:default":{{"versions":{{"20260821_05:24":{bad}}}}}}}}}"#
    )
}

/// A faithful server.
pub fn faithful(image: &Arc<Vec<u8>>) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let (image, index) = (Arc::clone(image), streams(image));
    move |request| match request.path.as_str() {
        "/streams/v1/images.json" => Reply::body(index.clone()),
        IMAGE => Reply::file(&image, request),
        _ => Reply::status(404),
    }
}
