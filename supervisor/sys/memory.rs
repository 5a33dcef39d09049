//! Sleeping with little memory: malloc_trim(3), poll(2).

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};

/// How long a process must be idle before it releases memory, in milliseconds.
const QUIET: u16 = 200;

/// poll(2) for a process that may sleep for days: after a short idle time, it returns unused heap memory to the kernel.
/// The kernel can drop the pages of the program itself, since they belong to a file.
///
/// # Errors
/// If poll(2) fails.
pub fn sleep(polled: &mut [PollFd<'_>], timeout: PollTimeout) -> Result<libc::c_int, Errno> {
    // A negative timeout is infinite.
    if (0..=i32::from(QUIET)).contains(&i32::from(timeout)) {
        return poll(polled, timeout);
    }
    let ready = poll(polled, QUIET)?;
    if ready > 0 {
        return Ok(ready);
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only returns free memory to the kernel.
    unsafe {
        libc::malloc_trim(0);
    }
    poll(polled, timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::PollFlags;
    use std::os::fd::AsFd;

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
    }
}
