//! Terminals: ioctl_tty(2), pts(4).

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::{check, descriptor};

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Size of a terminal, TIOCGWINSZ.
///
/// # Errors
/// ENOTTY for anything that is not a terminal.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<WindowSize, Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure is valid and outlives the call, which fills it in.
    check(libc::c_long::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }))?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Changes the size of a terminal, TIOCSWINSZ; its foreground group gets SIGWINCH.
///
/// # Errors
/// ENOTTY for anything that is not a terminal.
pub fn set_window_size(terminal: BorrowedFd<'_>, size: WindowSize) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure is valid and outlives the call, which reads it.
    check(libc::c_long::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }))
        .map(drop)
}

/// Makes a terminal the controlling one of this session leader, TIOCSCTTY.
///
/// # Errors
/// EPERM if this process is not a session leader or already has a terminal.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })).map(drop)
}

/// Unlocks the peer of a pseudoterminal, TIOCSPTLCK.
///
/// # Errors
/// ENOTTY for anything that is not a master; some 4.9 kernels refuse it on private instances, where the peer is not
/// locked anyway.
pub fn unlock_peer(master: BorrowedFd<'_>) -> Result<(), Errno> {
    let locked: libc::c_int = 0;
    // SAFETY: the integer is valid and outlives the call, which reads it.
    check(libc::c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) }))
        .map(drop)
}

/// Number of the peer of a pseudoterminal, TIOCGPTN.
///
/// # Errors
/// ENOTTY for anything that is not a master.
pub fn peer_number(master: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the integer is valid and outlives the call, which fills it in.
    check(libc::c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) }))?;
    Ok(number)
}

/// Opens the peer of a pseudoterminal without a path, TIOCGPTPEER (4.13).
///
/// # Errors
/// ENOTTY or EINVAL before 4.13.
pub fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: plain integers.
    let number =
        check(libc::c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }))?;
    Ok(descriptor::adopt(RawFd::try_from(number).map_err(|_| Errno::EBADF)?))
}
