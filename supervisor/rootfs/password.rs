//! Passwords in /etc/shadow of a tree: shadow(5), crypt(5). Owns the change of one line; keeps all others.

use anyhow::{Context, Result, ensure};
use sha_crypt::{PasswordHasher, ShaCrypt};

use super::files::SHADOW;
use super::root::Root;

/// Maximum size of /etc/shadow, in bytes.
const MOST: u64 = 1 << 20;

/// Sets the password of an account.
///
/// # Errors
/// If there is no such account, or /etc/shadow cannot be written.
pub fn set(root: &Root, account: &str, password: &str) -> Result<()> {
    let text = root.read(SHADOW, MOST).context("read /etc/shadow")?;
    let text = String::from_utf8(text).context("/etc/shadow is not text")?;
    let hash =
        ShaCrypt::default().hash_password(password.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let changed = change(&text, account, hash.as_ref());
    ensure!(changed.is_some(), "there is no account {account}");
    root.replace(SHADOW, changed.unwrap_or_default().as_bytes(), 0o640)
}

/// The text with another hash for one account; `None` if the account does not exist.
fn change(text: &str, account: &str, hash: &str) -> Option<String> {
    let mut found = false;
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| {
            let mut fields: Vec<&str> = line.split(':').collect();
            if fields.len() < 2 || fields[0] != account {
                return line.to_owned();
            }
            found = true;
            fields[1] = hash;
            fields.join(":")
        })
        .collect();
    found.then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_changes_and_the_rest_stays() {
        let text = "daemon:*:19000:0:99999:7:::\nroot:*:19000:0:99999:7:::\n\nrooty:!::\n";
        let expected = "daemon:*:19000:0:99999:7:::\nroot:$6$x:19000:0:99999:7:::\n\nrooty:!::\n";
        assert_eq!(change(text, "root", "$6$x").as_deref(), Some(expected));
        assert_eq!(change(text, "nobody", "x"), None);
    }
}
