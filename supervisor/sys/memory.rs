//! Sleeping without holding memory: madvise(2), malloc_trim(3), poll(2).

use std::sync::OnceLock;

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};

use super::check;

/// Where the program is mapped; that never changes in the life of a process or of those it forks.
static PROGRAM: OnceLock<Vec<(usize, usize)>> = OnceLock::new();

/// How long nothing happens before a process counts as asleep, milliseconds.
const QUIET: u16 = 200;

/// poll(2), for a process that may sleep for days: when nothing has come for a while, it first gives back what only
/// the past needed, namely free heap and the pages of the program itself, which the kernel maps again at the next
/// access.
///
/// # Errors
/// What poll(2) answers.
#[inline(never)]
pub fn sleep(polled: &mut [PollFd<'_>], timeout: PollTimeout) -> Result<libc::c_int, Errno> {
    // A negative limit is none.
    if (0..=i32::from(QUIET)).contains(&i32::from(timeout)) {
        return poll(polled, timeout);
    }
    let ready = poll(polled, QUIET)?;
    if ready > 0 {
        return Ok(ready);
    }
    let ranges = PROGRAM.get_or_init(|| {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        unmodified_program_mappings(&maps)
    });
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only returns free memory to the kernel.
    unsafe {
        libc::malloc_trim(0);
    }
    for (start, length) in ranges {
        // SAFETY: the range is a private mapping of a file that cannot be written to and in which no page was
        // modified: what is dropped is read from the file again, unchanged, at the next access. A failure leaves
        // everything as it is.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(*start), *length, libc::MADV_DONTNEED) };
    }
    let count = libc::nfds_t::try_from(polled.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: PollFd is a transparent pollfd, and the slice outlives the call. Called directly, so that as little of
    // the program as possible is touched between giving it back and falling asleep.
    check(libc::c_long::from(unsafe { libc::poll(polled.as_mut_ptr().cast(), count, timeout.into()) }))
        .and_then(|ready| libc::c_int::try_from(ready).map_err(|_| Errno::EINVAL))
}

/// Start and length of the private read-only file mappings of which no page was modified (proc_pid_smaps(5)).
fn unmodified_program_mappings(maps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [range, permissions, _, _, inode, ..] if range.contains('-') => {
                let fits = matches!(*permissions, "r--p" | "r-xp") && *inode != "0";
                candidate = fits.then(|| parse_range(range)).flatten();
            }
            ["Anonymous:", "0", "kB"] => found.extend(candidate.take()),
            ["Anonymous:", ..] => candidate = None,
            _ => {}
        }
    }
    found
}

fn parse_range(range: &str) -> Option<(usize, usize)> {
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::PollFlags;
    use std::os::fd::AsFd;

    #[test]
    fn modified_writable_and_anonymous_mappings_are_left_alone() {
        let maps = "00400000-00500000 r-xp 00000000 fe:00 77 /memfd:ds (deleted)\nRss: 10 kB\nAnonymous: 0 kB\n\
                    00500000-00501000 r--p 00100000 fe:00 77 /memfd:ds (deleted)\nAnonymous: 4 kB\n\
                    00501000-00502000 rw-p 00101000 fe:00 77 /memfd:ds (deleted)\nAnonymous: 0 kB\n\
                    7ff000000000-7ff000001000 r--p 00000000 00:00 0 [vvar]\nAnonymous: 0 kB\n";
        assert_eq!(unmodified_program_mappings(maps), [(0x40_0000, 0x10_0000)]);
    }

    #[test]
    fn the_program_goes_on_after_its_sleep() {
        let timeout = PollTimeout::try_from(i32::from(QUIET) + 1).unwrap();
        assert_eq!(sleep(&mut [], timeout), Ok(0));
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(u64::from(QUIET) * 2));
            drop(writer);
        });
        let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        assert_eq!(sleep(&mut polled, PollTimeout::NONE), Ok(1), "without a limit it waits for the event");
        late.join().unwrap();
        assert_eq!(format!("{:?}", vec![1, 2]), "[1, 2]");
    }
}
