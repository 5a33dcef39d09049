//! Linking with musl by a cross compiler that was made for glibc.
//!
//! Owns the script that the Rust compiler calls as its linker, and the two things that glibc's libgcc wants and musl does
//! not have. Start files are musl's: those of GCC register unwind tables through symbols that a static program has not.

use super::architecture::Architecture;
use crate::process;
use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// libgcc asks glibc where the unwind tables are. No answer means: look for them in the program's headers.
const NO_UNWIND_TABLES: &str = "int _dl_find_object(void *address, void *result) { return -1; }\n";

/// The Rust compiler asks for `-lunwind`; this linker script of that name gives it what GCC has instead.
const UNWINDER: &str = "INPUT(-lgcc_eh)\n";

/// No identification of the build, no symbols for others; pages of up to 16 KiB, which newer phones have; code and
/// constants in one segment, which saves the space between them.
const OPTIONS: &str =
    "-Wl,--build-id=none,--gc-sections,-z,norelro,-z,noseparate-code,-z,max-page-size=16384";

/// Writes the linker for one processor into a folder of `place`, and gives the path of its script.
///
/// # Errors
/// When a file cannot be written, or the cross compiler fails.
pub fn prepare(place: &Path, architecture: &Architecture) -> Result<PathBuf> {
    let folder = place.join(architecture.name);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("libunwind.a"), UNWINDER)?;
    fs::write(folder.join("no_unwind_tables.c"), NO_UNWIND_TABLES)?;
    let gcc = format!("{}-gcc", architecture.tools);
    process::run(
        Command::new(&gcc)
            .args(["-Os", "-w", "-c", "no_unwind_tables.c", "-o", "no_unwind_tables.o"])
            .current_dir(&folder),
    )?;
    let own = folder.to_str().context("the path of the target folder is not UTF-8")?;
    let musl = format!("/usr/lib/{}", architecture.musl);
    let libgcc = process::read(Command::new(&gcc).arg("-print-libgcc-file-name"))?;
    let libgcc = Path::new(libgcc.trim()).parent().context("GCC has no libgcc")?.display();
    let script = format!(
        "#!/bin/sh\n\
         exec {gcc} -nostdlib -static -no-pie '{musl}/crt1.o' '{musl}/crti.o' '{own}/no_unwind_tables.o' \\\n  \
         '-L{own}' '-L{musl}' '-L{libgcc}' \"$@\" \\\n  \
         {OPTIONS} -Wl,-Bstatic,--start-group -lc -lgcc -lgcc_eh -Wl,--end-group '{musl}/crtn.o'\n"
    );
    let path = folder.join("link");
    fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

/// What build scripts that compile C are told: the cross compiler, with musl's headers in place of glibc's.
///
/// # Errors
/// When the compiler does not answer.
pub fn compiler_of_c(
    architecture: &Architecture,
    hidden: &[(PathBuf, &'static str)],
) -> Result<[(String, String); 3]> {
    let gcc = format!("{}-gcc", architecture.tools);
    let own_headers = process::read(Command::new(&gcc).arg("-print-file-name=include"))?;
    let mut flags = format!(
        "-nostdinc -isystem /usr/include/{} -isystem {} -U_FORTIFY_SOURCE -fno-pic -fno-asynchronous-unwind-tables",
        architecture.musl,
        own_headers.trim()
    );
    for (path, name) in hidden {
        flags.push_str(&format!(" -ffile-prefix-map={}={name}", path.display()));
    }
    let target = architecture.target.replace('-', "_");
    Ok([
        (format!("CC_{target}"), gcc),
        (format!("AR_{target}"), format!("{}-ar", architecture.tools)),
        (format!("CFLAGS_{target}"), flags),
    ])
}
