//! The files of the page. They are listed when the server starts; a request never names a path.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::durable;

/// The type of a page.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// Maximum size of a file, in bytes.
const LARGEST: u64 = 8 << 20;
/// Maximum number of files.
const MAX: usize = 500;

/// The files by their path in a request.
#[derive(Debug)]
pub(super) struct Pages {
    files: BTreeMap<String, PathBuf>,
}

impl Pages {
    /// The files below a directory. Links are not followed.
    ///
    /// # Errors
    /// If there is no index.html.
    pub fn of(directory: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(directory, "", &mut files).with_context(|| format!("read {}", directory.display()))?;
        let index = files.get("/index.html").cloned();
        let index = index.with_context(|| format!("{} has no index.html", directory.display()))?;
        files.insert("/".to_owned(), index);
        Ok(Self { files })
    }

    /// The bytes and the type of a file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(Vec<u8>, &'static str)> {
        let file = self.files.get(path)?;
        Some((durable::read(file, LARGEST).ok()?, kind(file)))
    }
}

fn collect(directory: &Path, below: &str, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (path, kind) = (format!("{below}/{name}"), entry.file_type()?);
        if kind.is_dir() && below.matches('/').count() < 4 {
            collect(&entry.path(), &path, files)?;
        } else if kind.is_file() {
            files.insert(path, entry.path());
        }
        ensure!(files.len() <= MAX, "more than {MAX} files");
    }
    Ok(())
}

/// The sources of the scripts in a page, for the policy: browsers run only scripts with these hashes. A script that text of
/// a container added later has none.
#[must_use]
pub(super) fn inline_scripts(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let scripts = text.split("<script>").skip(1).filter_map(|rest| rest.split_once("</script>"));
    scripts.map(|(code, _)| format!(" 'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(code)))).collect()
}

fn kind(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => HTML,
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn scripts_of_a_page_have_hashes() {
        assert_eq!(inline_scripts(b"<p>none</p><script type=module src=x></script>"), "");
        // printf 'a()' | sha256sum | xxd -r -p | base64
        assert_eq!(
            inline_scripts("<script>a()</script><p>\u{fc}</p><script>not closed".as_bytes()),
            " 'sha256-qVpDBgj7bpq5hMAcGp3AOc79J3Y1Z4HvySTwKrWDoy4='"
        );
    }

    #[test]
    fn only_what_is_in_the_list_is_given() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("webroot");
        fs::create_dir_all(root.join("assets")).unwrap();
        assert!(Pages::of(&root).is_err());
        fs::write(root.join("index.html"), "page").unwrap();
        fs::write(root.join("assets/a.js"), "code").unwrap();
        fs::write(directory.path().join("secret"), "no").unwrap();
        symlink(directory.path().join("secret"), root.join("link")).unwrap();
        let pages = Pages::of(&root).unwrap();
        assert_eq!(pages.get("/").unwrap().0, b"page");
        assert_eq!(pages.get("/assets/a.js").unwrap().1, "text/javascript; charset=utf-8");
        for path in
            ["", "/../secret", "/assets/../../secret", "/link", "/assets", "/%2e%2e/secret", "//index.html"]
        {
            assert_eq!(pages.get(path), None, "{path}");
        }
    }
}
