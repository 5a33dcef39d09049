//! The accounts of a root file system: root's password, SSH keys, and an ordinary user.
//!
//! Edits the account files directly, in a tree that nothing else uses. Runs no program of the distribution.
//! passwd(5), shadow(5), group(5), gshadow(5), sudoers(5), doas.conf(5), sshd(8).

mod home;
mod lines;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use sha_crypt::{PasswordHasher, ShaCrypt};

use super::files::{self, GuestFile};
use super::root::Root;
use home::{Owner, authorize, furnish};
use lines::{field, free_id, locked, name_of, with_field, with_line, with_member};

/// The maximum size of an account file, in bytes.
const LARGEST: u64 = 4 << 20;
/// Groups whose members may become root, in order of preference.
const ADMINISTRATORS: [&str; 3] = ["sudo", "wheel", "admin"];

/// The accounts to set up.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The password of root, and of the user.
    pub password: Option<String>,
    /// Lines for the authorized_keys of root, and of the user.
    pub keys: Vec<String>,
    /// An ordinary user who may become root; created if it does not exist.
    pub user: Option<String>,
}

impl Login {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.password.is_none() && self.keys.is_empty() && self.user.is_none()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages never contain the password.
        formatter.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A group that every ordinary user needs on this machine, with name and ID.
pub type NeededGroup = (&'static str, u32);

/// Sets up root and the user; returns a warning for each deviation.
///
/// # Errors
/// If the tree has no account files, or one cannot be used.
pub fn apply(root: &Root, login: &Login, needed: &[NeededGroup]) -> Result<Vec<String>> {
    if login.is_empty() {
        return Ok(Vec::new());
    }
    let mut accounts = Accounts::read(root)?;
    let mut warnings = Vec::new();
    let hash = login.password.as_deref().map(hash).transpose()?;
    accounts.let_in("root", hash.as_deref(), !login.keys.is_empty())?;
    if let Some(user) = &login.user {
        accounts.make_user(root, user, needed)?;
        accounts.let_in(user, hash.as_deref(), true)?;
        if let Some(group) = ADMINISTRATORS.iter().find(|group| accounts.has_group(group)) {
            accounts.join(group, user);
        }
    }
    accounts.write(root)?;
    for name in std::iter::once("root").chain(login.user.as_deref()) {
        let home = accounts.home(name)?;
        let directory = furnish(root, Path::new(&home.0), home.1, name != "root")?;
        authorize(&directory, home.1, &login.keys).with_context(|| format!("{}/.ssh", home.0))?;
    }
    if let Some(user) = &login.user {
        warnings.extend(let_become_root(root, user, hash.is_some())?);
    }
    Ok(warnings)
}

/// Locks root's password, unless it is locked. Returns a message if there was one.
///
/// # Errors
/// If the files cannot be written.
pub fn lock_root(root: &Root) -> Result<Option<String>> {
    let Ok(mut accounts) = Accounts::read(root) else { return Ok(None) };
    let before = accounts.hash("root").unwrap_or_default().to_owned();
    if !accounts.lock("root", false) {
        return Ok(None);
    }
    accounts.write(root)?;
    Ok((!before.is_empty()).then(|| {
        "the password of root in it is locked; use --password to set one, or 'passwd' in the container"
            .to_owned()
    }))
}

fn hash(password: &str) -> Result<String> {
    // Encoded, they become the 16 characters of salt of crypt(5).
    let mut salt = [0; 12];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut salt))
        .context("read /dev/urandom")?;
    let hash = ShaCrypt::default().hash_password_with_salt(password.as_bytes(), &salt);
    // The error text is from the hasher and contains no password.
    let hash = hash.map_err(|error| anyhow!("hash the password: {error}"))?;
    let text: &str = hash.as_ref();
    Ok(text.to_owned())
}

/// The new content of the four files.
struct Accounts {
    passwd: Text,
    shadow: Text,
    group: Text,
    gshadow: Text,
}

/// One file; may be missing.
struct Text {
    file: GuestFile,
    text: Option<String>,
    changed: bool,
}

impl Text {
    fn read(root: &Root, file: GuestFile) -> Result<Self> {
        let text = match root.resolve(file.path()) {
            Err(Errno::ENOENT) => None,
            _ => {
                let bytes = root.read(file, LARGEST + 1)?;
                ensure!(bytes.len() as u64 <= LARGEST, "{} is too large", file.as_str());
                Some(String::from_utf8(bytes).with_context(|| format!("{} is not text", file.as_str()))?)
            }
        };
        Ok(Self { file, text, changed: false })
    }

    fn get(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    fn set(&mut self, text: String) {
        self.changed |= self.text.as_ref() != Some(&text);
        self.text = Some(text);
    }

    /// Adds a line if the file exists.
    fn add(&mut self, line: &str) {
        if self.text.is_some() {
            self.set(with_line(self.get(), line));
        }
    }

    fn write(&self, root: &Root) -> Result<()> {
        match &self.text {
            Some(text) if self.changed => root.replace(self.file, text.as_bytes(), 0o600),
            _ => Ok(()),
        }
    }
}

impl Accounts {
    fn read(root: &Root) -> Result<Self> {
        let accounts = Self {
            passwd: Text::read(root, files::PASSWD)?,
            shadow: Text::read(root, files::SHADOW)?,
            group: Text::read(root, files::GROUP)?,
            gshadow: Text::read(root, files::GSHADOW)?,
        };
        if field(accounts.passwd.get(), "root", lines::USER).is_none() {
            bail!("it has no account 'root' in /etc/passwd; leave out --password, --ssh-key and --user");
        }
        Ok(accounts)
    }

    fn write(&self, root: &Root) -> Result<()> {
        // In this order, a concurrent reader finds a group before its members, and a user before the password.
        [&self.group, &self.gshadow, &self.passwd, &self.shadow].iter().try_for_each(|text| text.write(root))
    }

    fn hash(&self, name: &str) -> Option<&str> {
        let shadow = field(self.shadow.get(), name, lines::PASSWORD);
        let passwd = field(self.passwd.get(), name, lines::PASSWORD);
        // Without an `x`, the password is in passwd(5).
        if passwd != Some("x") {
            return passwd;
        }
        // A user without a line there has no password.
        shadow.or(Some("*"))
    }

    fn set_hash(&mut self, name: &str, hash: &str) {
        let in_passwd = if self.shadow.text.is_some() {
            let new = with_field(self.shadow.get(), name, lines::PASSWORD, hash);
            self.shadow.set(
                new.unwrap_or_else(|| with_line(self.shadow.get(), &format!("{name}:{hash}::0:99999:7:::"))),
            );
            "x"
        } else {
            hash
        };
        if let Some(new) = with_field(self.passwd.get(), name, lines::PASSWORD, in_passwd) {
            self.passwd.set(new);
        }
    }

    /// Returns whether anything has changed.
    fn lock(&mut self, name: &str, has_keys: bool) -> bool {
        let old = self.hash(name).unwrap_or_default().to_owned();
        let new = locked(&old, has_keys);
        if let Some(new) = &new {
            self.set_hash(name, new);
        }
        new.is_some()
    }

    /// Sets the password, or locks it.
    fn let_in(&mut self, name: &str, hash: Option<&str>, has_keys: bool) -> Result<()> {
        match hash {
            Some(hash) => self.set_hash(name, hash),
            None => {
                self.lock(name, has_keys);
            }
        }
        ensure!(field(self.passwd.get(), name, lines::USER).is_some(), "there is no account {name}");
        Ok(())
    }

    fn has_group(&self, name: &str) -> bool {
        field(self.group.get(), name, lines::GROUP).is_some()
    }

    fn join(&mut self, group: &str, user: &str) {
        for text in [&mut self.group, &mut self.gshadow] {
            if let Some(new) = with_member(text.get(), group, user) {
                text.set(new);
            }
        }
    }

    /// Creates the user with a group of the same name, if it does not exist, and adds it to its groups.
    fn make_user(&mut self, root: &Root, name: &str, needed: &[NeededGroup]) -> Result<()> {
        if field(self.passwd.get(), name, lines::USER).is_none() {
            let id = free_id(self.passwd.get(), self.group.get()).context("no id is free for a user")?;
            let own = field(self.group.get(), name, lines::GROUP).map(str::to_owned);
            if own.is_none() {
                self.group.set(with_line(self.group.get(), &format!("{name}:x:{id}:")));
                self.gshadow.add(&format!("{name}:!::"));
            }
            let group = own.unwrap_or_else(|| id.to_string());
            let shell = self.shell(root);
            let line = format!("{name}:x:{id}:{group}::/home/{name}:{shell}");
            self.passwd.set(with_line(self.passwd.get(), &line));
            self.set_hash(name, "*");
        }
        for (group, id) in needed {
            if name_of(self.group.get(), *id).is_none() {
                self.group.set(with_line(self.group.get(), &format!("{group}:x:{id}:root")));
                self.gshadow.add(&format!("{group}:!::root"));
            }
            if let Some(group) = name_of(self.group.get(), *id).map(str::to_owned) {
                self.join(&group, name);
            }
        }
        Ok(())
    }

    /// Bash if it exists, otherwise root's shell.
    fn shell(&self, root: &Root) -> String {
        const BASH: &str = "/bin/bash";
        if root.resolve(Path::new(BASH)).is_ok() {
            return BASH.to_owned();
        }
        let shell = field(self.passwd.get(), "root", lines::SHELL).filter(|shell| shell.starts_with('/'));
        shell.unwrap_or("/bin/sh").to_owned()
    }

    fn home(&self, name: &str) -> Result<(String, Owner)> {
        let number = |at| field(self.passwd.get(), name, at)?.parse().ok();
        let owner = number(lines::USER).zip(number(lines::USER + 1));
        let (user, group) = owner.with_context(|| format!("the account {name} in /etc/passwd has no id"))?;
        let home = field(self.passwd.get(), name, lines::HOME).unwrap_or_default();
        ensure!(home.starts_with('/') && home != "/", "the account {name} in /etc/passwd has no directory");
        Ok((home.to_owned(), Owner { user, group }))
    }
}

/// Permits a user to become root, with its password if it has one.
fn let_become_root(root: &Root, user: &str, has_password: bool) -> Result<Option<String>> {
    let has = |path: &str| root.resolve(Path::new(path)).is_ok();
    if has("/usr/bin/sudo") {
        let tag = if has_password { "" } else { "NOPASSWD: " };
        let line = format!("{user} ALL=(ALL:ALL) {tag}ALL\n");
        root.replace(files::SUDOERS, line.as_bytes(), 0o440)?;
        return Ok(None);
    }
    if has("/usr/bin/doas") {
        let line = format!("permit {} {user}", if has_password { "persist" } else { "nopass" });
        let file = if has("/etc/doas.d") { files::DOAS_OURS } else { files::DOAS_CONF };
        let mut text = Text::read(root, file)?;
        text.set(with_line(text.get(), &line));
        text.write(root)?;
        return Ok(None);
    }
    Ok(Some(format!(
        "it has neither sudo nor doas; until one is installed, {user} can become root by 'ds enter' only"
    )))
}

#[cfg(test)]
mod tests;
