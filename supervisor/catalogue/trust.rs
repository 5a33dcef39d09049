//! The trusted certificate authorities: Mozilla's, Android's, and those in `SSL_CERT_FILE` and `SSL_CERT_DIR`, as in
//! OpenSSL.
//!
//! Owns that set. Reads the files before the process is confined. Unreadable certificates of the system are skipped,
//! which only reduces the set.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Android's directories of system authorities: since 14, and before.
const ANDROID: [&str; 2] = ["/apex/com.android.conscrypt/cacerts", "/system/etc/security/cacerts"];
/// Maximum size of a file in bytes, and maximum number of files in a directory.
const MAX: u64 = 4 << 20;
const MAX_FILES: usize = 2000;

/// The authorities to trust.
///
/// # Errors
/// If a file or directory that the user specified cannot be read.
pub(super) fn roots(environment: &BTreeMap<String, String>) -> Result<RootCerts> {
    let named = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (file, directory) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let android = ANDROID.iter().map(Path::new).find(|path| path.is_dir());
    let mut found = Vec::new();
    if let Some(file) = file {
        found.extend(read(&file).with_context(|| format!("SSL_CERT_FILE: read {}", file.display()))?);
    }
    for directory in
        directory.iter().flat_map(|list| list.to_str().into_iter().flat_map(|text| text.split(':')))
    {
        found.extend(
            read_all(Path::new(directory)).with_context(|| format!("SSL_CERT_DIR: read {directory}"))?,
        );
    }
    if let Some(android) = android {
        found.extend(read_all(android).unwrap_or_default());
    }
    let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    found.extend(built_in.map(|der| Certificate::from_der(der).to_owned()));
    Ok(RootCerts::from(found))
}

fn read(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX).read_to_end(&mut bytes)?;
    Ok(parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect())
}

fn read_all(directory: &Path) -> Result<Vec<Certificate<'static>>> {
    let entries = fs::read_dir(directory)?.take(MAX_FILES).filter_map(Result::ok);
    let files = entries.map(|entry| entry.path()).filter(|path| path.is_file());
    Ok(files.filter_map(|path| read(&path).ok()).flatten().collect())
}
