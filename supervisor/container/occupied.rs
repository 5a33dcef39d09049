//! Reserves a container for a long job, so that no other command can start, change or delete it in the meantime.
//!
//! Owns the file `job` in the container's run directory. It is locked while any process of the job lives, and contains
//! a short description of the job. Commands check it under the container's [`super::Lock`]. A job holds that lock only
//! for its decisions, so that other commands fail with a message instead of waiting. flock(2).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use crate::call;
use crate::config::value::Name;
use crate::durable;
use crate::paths::Paths;
use crate::sys::descriptor::try_lock;

/// Maximum length of the description, in bytes.
const LONGEST: u64 = 200;

/// The reservation of a container. Forked processes share it; it ends with the last of them.
#[derive(Debug)]
pub struct Occupation {
    _file: File,
}

impl Occupation {
    /// Reserves a container; `doing` completes "it is being …". The caller holds the container's lock.
    ///
    /// # Errors
    /// If another job has reserved it, or the run directory cannot be written.
    pub fn begin(paths: &Paths, name: &Name, doing: &str) -> Result<Self> {
        let path = paths.job(name);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let mut file = file.with_context(|| format!("open {}", path.display()))?;
        match try_lock(file.as_fd()) {
            Err(Errno::EWOULDBLOCK) => bail!("{}", reason(paths, name)),
            other => call!(other, "flock({})", path.display())?,
        }
        // The description is optional; the lock is essential.
        let _ = file.set_len(0).and_then(|()| file.write_all(doing.as_bytes()));
        Ok(Self { _file: file })
    }
}

/// Fails if a job has reserved the container. The caller holds the container's lock.
///
/// # Errors
/// The description of the job.
pub fn refuse(paths: &Paths, name: &Name) -> Result<()> {
    if is_occupied(paths, name) {
        bail!("{}", reason(paths, name));
    }
    Ok(())
}

/// Whether a job has reserved the container at this moment.
#[must_use]
pub fn is_occupied(paths: &Paths, name: &Name) -> bool {
    let file = File::open(paths.job(name));
    file.is_ok_and(|file| try_lock(file.as_fd()) == Err(Errno::EWOULDBLOCK))
}

fn reason(paths: &Paths, name: &Name) -> String {
    let doing = durable::read(&paths.job(name), LONGEST).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let doing = doing.filter(|doing| !doing.is_empty()).unwrap_or_else(|| "changed".to_owned());
    format!("it is being {doing}; wait until that is done")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_keeps_others_out_and_says_what_it_does() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::below(directory.path());
        let name: Name = "web".parse().unwrap();
        std::fs::create_dir_all(paths.run_container(&name)).unwrap();
        refuse(&paths, &name).unwrap();
        let job = Occupation::begin(&paths, &name, "converted").unwrap();
        let expected = "it is being converted; wait until that is done";
        assert_eq!(refuse(&paths, &name).unwrap_err().to_string(), expected);
        assert_eq!(Occupation::begin(&paths, &name, "copied").unwrap_err().to_string(), expected);
        drop(job);
        refuse(&paths, &name).unwrap();
        assert!(!is_occupied(&paths, &name));
        Occupation::begin(&paths, &name, "copied").unwrap();
    }
}
