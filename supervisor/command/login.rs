//! The accounts of a new root file system, from the options of a command line: passwords, keys and a user.
//!
//! Reads the files that contain them. Messages never contain a password. sshd(8), AUTHORIZED_KEYS FILE FORMAT.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::place;
use crate::rootfs::login::Login;
use crate::storage::source::opened;
use crate::worker::Env;

/// The maximum size of a file with a password, and of one with keys, in bytes.
const LONGEST_PASSWORD: u64 = 4096;
const MAX_KEYS: u64 = 1 << 20;
/// Types of keys, or their prefixes: ssh-keygen(1), `-t`.
const TYPES: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
/// The beginning of every key in base64: the length of its type's name, which is less than 2^16.
const FRONT: &str = "AAAA";

/// Reads the options.
///
/// # Errors
/// If a file cannot be read, the password is empty, or a text is not a key.
pub fn login(
    env: &Env,
    password: Option<&str>,
    password_file: Option<&Path>,
    keys: &[String],
    user: Option<&str>,
) -> Result<Login> {
    let password = match password_file {
        None => password.map(str::to_owned),
        Some(file) => {
            Some(password_in(env, file).with_context(|| format!("--password-file {}", file.display()))?)
        }
    };
    if let Some(password) = &password {
        ensure!(!password.is_empty(), "the password is empty; omit the option to lock root");
        ensure!(!password.contains(['\n', '\r', '\0']), "the password has more than one line");
    }
    let mut all: Vec<String> = Vec::new();
    for key in keys {
        for line in keys_of(env, key)? {
            if !all.contains(&line) {
                all.push(line);
            }
        }
    }
    Ok(Login { password, keys: all, user: user.map(str::to_owned) })
}

/// The first line of a file.
fn password_in(env: &Env, file: &Path) -> Result<String> {
    let text = read(env, file, LONGEST_PASSWORD)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn read(env: &Env, file: &Path, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    let mut opened = opened(&env.client, &place(env, file)?)?;
    let mut buffer = [0; 4096];
    while bytes.len() as u64 <= most {
        // The writer of a pipe may be silent.
        env.client.wait(Some(opened.as_fd()), None)?;
        let length = opened.read(&mut buffer).context("read")?;
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..length]);
    }
    ensure!(bytes.len() as u64 <= most, "it is larger than {most} bytes");
    String::from_utf8(bytes).ok().context("it is not UTF-8")
}

/// The key itself, or the keys in a file.
fn keys_of(env: &Env, given: &str) -> Result<Vec<String>> {
    if is_key(given.trim()) && !given.trim().contains('\n') {
        return Ok(vec![given.trim().to_owned()]);
    }
    let text = read(env, Path::new(given), MAX_KEYS)
        .with_context(|| format!("--ssh-key '{given}' is neither a public key nor a file with keys"))?;
    ensure!(
        !text.contains("PRIVATE KEY"),
        "--ssh-key {given}: it is a private key; give the public one, which is in {given}.pub"
    );
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<String> = lines.map(str::to_owned).collect();
    if let Some(line) = keys.iter().find(|line| !is_key(line)) {
        bail!("--ssh-key {given}: '{}' is not a public key", line.chars().take(40).collect::<String>());
    }
    ensure!(!keys.is_empty(), "--ssh-key {given}: it contains no key");
    Ok(keys)
}

/// Whether a line has the format of authorized_keys: optional options, a type, the key, and an optional comment.
fn is_key(line: &str) -> bool {
    let base64 = |word: &str| {
        let body = word.trim_end_matches('=');
        word.starts_with(FRONT)
            && body.len() > 2 * FRONT.len()
            && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_type = |word: &str| TYPES.iter().any(|front| word.starts_with(front));
    !line.contains(|letter: char| letter.is_control() && letter != '\t')
        && words.windows(2).any(|pair| is_type(pair[0]) && base64(pair[1]))
}

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn a_key_is_distinguished_from_the_name_of_a_file() {
        for key in [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me@home",
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=",
            "restrict,command=\"uptime now\" ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB",
            "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5",
        ] {
            assert!(is_key(key), "{key}");
        }
        for other in [
            "",
            "id_ed25519.pub",
            "ssh-ed25519",
            "ssh-rsa nothing",
            "ssh-rsa AAAA",
            "ssh-rsa AAAAB3NzaC1yc2\u{7}",
        ] {
            assert!(!is_key(other), "{other}");
        }
    }
}
