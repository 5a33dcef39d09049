//! Raw mode of the terminal on standard input. Owns the saved attributes, and restores them also after a panic.
//! termios(3).

use std::io::stdin;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// The saved attributes of the terminal; process-wide, for the panic hook.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Does nothing if standard input is not a terminal.
pub(super) fn enter() {
    let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    if saved.is_some() {
        return;
    }
    let Ok(before) = tcgetattr(stdin()) else { return };
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    *saved = Some(before);
    drop(saved);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            restore();
            before(information);
        }));
    });
    let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &raw);
}

/// Not TCSADRAIN: unread output must not block the client.
pub(super) fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(saved) = saved {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &saved);
    }
}
