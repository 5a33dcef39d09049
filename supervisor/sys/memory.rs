//! The heap, and memory that is unused before a long sleep: mallopt(3), malloc_trim(3), madvise(2), getauxval(3),
//! poll(2).

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};

/// How long a process must be idle before it releases memory, in milliseconds.
const QUIET: u16 = 200;

/// How far below its caller [`release_stack`] reaches, in bytes. The kernel keeps 256 pages (`stack_guard_gap`, since
/// Linux 4.12 and the stable series of its time) between the stack and any mapping below it, and places no mapping
/// within 128 MiB of the stack's top (`mmap_base`). Pages have at least 4 KiB.
const STACK: usize = 1 << 20;
/// Kept below the caller for its next calls, in bytes. The red zone of x86-64 is 128.
const SPARE: usize = 4096;

/// poll(2) for a process that may sleep for days: after a time without an event, it frees the unused parts of its heap
/// and of its stack. The pages of the program itself are backed by a file, so the kernel can drop them.
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
    release_stack();
    poll(polled, timeout)
}

/// Makes all threads of this process use one heap. glibc gives each thread a heap of its own, and opens files in /proc
/// before it shrinks one, which a confined process must not.
pub fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt changes only a parameter of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Frees the pages below the stack pointer, which deeper calls have written to: a monitor starts a container with 48
/// KiB of stack and waits for its end with 16 KiB.
#[inline(never)]
fn release_stack() {
    let here = 0_u8;
    let here = (&raw const here).addr();
    // SAFETY: getauxval and sysconf read values.
    let (top, page) = unsafe { (libc::getauxval(libc::AT_EXECFN), libc::sysconf(libc::_SC_PAGESIZE)) };
    let (Ok(top), Ok(page)) = (usize::try_from(top), usize::try_from(page)) else { return };
    let Some((start, length)) = unused_stack(here, top, page) else { return };
    // SAFETY: the range ends at least SPARE bytes below this frame, and no frame below it is in use: no handler of a
    // signal runs during the call. It contains pages of this thread's stack and addresses without a mapping, nothing
    // else (see STACK). The kernel fills a freed page with zeros when it is used again. The call skips what is not
    // mapped, and its ENOMEM for them is ignored.
    unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED) };
}

/// The range below the address `here` of the stack that no frame uses, as start and length. The name of the program
/// (AT_EXECFN) is at the top of the first thread's stack. `None` where `here` is in another stack: other threads have
/// theirs among the mappings, next to anything.
fn unused_stack(here: usize, top: usize, page: usize) -> Option<(usize, usize)> {
    if page == 0 || !(here..here.saturating_add(STACK)).contains(&top) {
        return None;
    }
    let end = here.checked_sub(SPARE)? / page * page;
    let start = here.checked_sub(STACK)?.div_ceil(page) * page;
    Some((start, end.checked_sub(start).filter(|length| *length > 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::PollFlags;
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    proptest! {
        #[test]
        fn only_whole_pages_below_the_caller_are_unused(
            here in any::<usize>(),
            above in 0..2 * STACK,
            page in prop::sample::select(vec![4096_usize, 16_384, 65_536]),
        ) {
            let found = unused_stack(here, here.saturating_add(above), page);
            prop_assert!(found.is_none() || above < STACK, "only near the top of the first stack");
            if let Some((start, length)) = found {
                prop_assert_eq!((start % page, length % page), (0, 0));
                prop_assert!(start + length <= here - SPARE && here - start <= STACK);
            }
        }
    }

    #[test]
    fn another_threads_stack_is_left_alone() {
        // SAFETY: getauxval reads a value.
        let top = usize::try_from(unsafe { libc::getauxval(libc::AT_EXECFN) }).unwrap();
        let local = std::thread::spawn(|| {
            let local = 0_u8;
            (&raw const local).addr()
        });
        assert_eq!(unused_stack(local.join().unwrap(), top, 4096), None);
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
    }
}
