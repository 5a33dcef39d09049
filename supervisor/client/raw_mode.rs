//! Raw mode of the terminal on standard input. Owns how it was before, and restores it also in a panic. termios(3).

use std::io::stdin;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// The terminal as it was before it was made raw; process-wide, for the panic hook.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input that is no terminal stays as it is.
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

/// Not TCSADRAIN: output that nobody takes must not keep the client.
pub(super) fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(saved) = saved {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &saved);
    }
}
