//! The module in the root manager's list: its description with the state of ds, and whether the user has disabled it.
//!
//! Magisk and APatch show `description=` of the installed module.prop; KernelSU stores an override separately. Owns the
//! state, which precedes the original text in brackets, so that it can always be removed again, even after a crash.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::durable;
use crate::tool::{Invocation, Tool};

/// Maximum size of module.prop, in bytes.
const LARGEST: u64 = 64 << 10;
/// The path of KernelSU's program.
const KSUD: [&str; 2] = ["/data/adb/ksu/bin/ksud", "/data/adb/ksud"];

fn ksud() -> Option<Tool> {
    let path = KSUD.iter().find(|path| Path::new(path).is_file())?;
    Some(Tool::at(path.into()))
}

/// Whether the user has disabled the module, which takes effect at the next boot.
#[must_use]
pub fn is_disabled(module: &Path) -> bool {
    module.join("disable").exists() || module.join("remove").exists()
}

/// Sets the state in the manager's list; `None` restores the original text.
///
/// # Errors
/// If module.prop cannot be read or written.
pub fn describe(module: &Path, state: Option<&str>) -> Result<()> {
    let file = module.join("module.prop");
    let bytes = durable::read(&file, LARGEST).with_context(|| format!("read {}", file.display()))?;
    let text = String::from_utf8(bytes).context("module.prop is not UTF-8")?;
    if let Some(ksud) = ksud() {
        let (id, shipped) = (value(&text, "id"), bare(value(&text, "description")));
        if tell_kernelsu(&ksud, id, state.map(|state| described(state, shipped)).as_deref()).is_ok() {
            return Ok(());
        }
    }
    let changed = rewritten(&text, state);
    if changed != text {
        durable::write(&file, changed.as_bytes(), 0o644)
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

fn tell_kernelsu(ksud: &Tool, id: &str, description: Option<&str>) -> Result<()> {
    let words = match description {
        Some(text) => vec!["module", "config", "set", "override.description", text],
        None => vec!["module", "config", "delete", "override.description"],
    };
    let arguments: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    let variable = format!("KSU_MODULE={id}");
    let outcome = ksud.run_with(&mut Invocation::new(&arguments), &[&variable])?;
    ensure!(outcome.is_success(), "{}", outcome.last_words());
    Ok(())
}

/// module.prop with the state in its description, or without a state.
fn rewritten(text: &str, state: Option<&str>) -> String {
    let mut changed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("description=") {
            Some(rest) => {
                let (shipped, end) = match rest.strip_suffix('\n') {
                    Some(shipped) => (shipped, "\n"),
                    None => (rest, ""),
                };
                let shipped = bare(shipped);
                changed.push_str("description=");
                changed
                    .push_str(&state.map_or_else(|| shipped.to_owned(), |state| described(state, shipped)));
                changed.push_str(end);
            }
            None => changed.push_str(line),
        }
    }
    changed
}

/// The state followed by the text. Removes characters from the state that would end the line or the brackets.
fn described(state: &str, shipped: &str) -> String {
    let state: String = state.chars().filter(|c| !c.is_control() && !matches!(c, '[' | ']')).collect();
    format!("[{state}] {shipped}")
}

/// The original text.
fn bare(description: &str) -> &str {
    let state = description.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    state.map_or(description, |(_, shipped)| shipped)
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHIPPED: &str = "id=droidspaces\nname=Droidspaces\ndescription=Boots Linux.\nauthor=us\n";

    #[test]
    fn a_state_comes_changes_and_goes() {
        let first = rewritten(SHIPPED, Some("running: web"));
        assert_eq!(value(&first, "description"), "[running: web] Boots Linux.");
        let second = rewritten(&first, Some("no container is running"));
        assert_eq!(value(&second, "description"), "[no container is running] Boots Linux.");
        assert_eq!(rewritten(&second, None), SHIPPED);
        assert_eq!(rewritten(SHIPPED, None), SHIPPED);
    }

    #[test]
    fn a_module_says_what_its_state_is() {
        let module = tempfile::tempdir().unwrap();
        std::fs::write(module.path().join("module.prop"), SHIPPED).unwrap();
        describe(module.path(), Some("running: web")).unwrap();
        let text = std::fs::read_to_string(module.path().join("module.prop")).unwrap();
        assert_eq!(value(&text, "description"), "[running: web] Boots Linux.");
        assert!(!is_disabled(module.path()));
        std::fs::write(module.path().join("disable"), "").unwrap();
        assert!(is_disabled(module.path()));
    }

    proptest! {
        #[test]
        fn whatever_the_state_is_the_shipped_text_comes_back(states in prop::collection::vec(any::<String>(), 0..4)) {
            let changed = states.iter().fold(SHIPPED.to_owned(), |text, state| rewritten(&text, Some(state)));
            prop_assert_eq!(changed.lines().count(), 4);
            prop_assert_eq!(rewritten(&changed, None), SHIPPED);
        }
    }
}
