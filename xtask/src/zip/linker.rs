//! Links with musl, using a cross compiler for glibc.
//!
//! Owns the script that the Rust compiler calls as its linker, and an empty unwinder: libgcc's requires glibc, and the
//! program has no unwind tables. Start files are musl's: those of GCC register such tables through symbols that a
//! static program lacks.

use super::architecture::Architecture;
use crate::process;
use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The functions that the standard library calls for a backtrace: they report the end of the stack immediately. The
/// last three are referenced by tables in every object for 32-bit ARM.
const UNWINDER: &str = "\
int _Unwind_Backtrace(void *step, void *argument) { return 5; }
unsigned long _Unwind_GetIP(void *context) { return 0; }
unsigned long _Unwind_GetIPInfo(void *context, int *before) { *before = 0; return 0; }
unsigned long _Unwind_GetCFA(void *context) { return 0; }
void *_Unwind_FindEnclosingFunction(void *address) { return 0; }
int _Unwind_VRS_Get(void *context, int kind, unsigned number, int form, void *value) { return 1; }
void __aeabi_unwind_cpp_pr0(void) {}
void __aeabi_unwind_cpp_pr1(void) {}
void __aeabi_unwind_cpp_pr2(void) {}
";

/// A linker script: objects of C libraries have unwind tables, which the empty unwinder never reads.
const WITHOUT_TABLES: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT BEFORE .eh_frame;\n";

/// No build ID, no exported symbols; pages of up to 16 KiB, as on newer phones; code and constants in one segment,
/// which saves the gap between them.
const OPTIONS: &str = "-Wl,--build-id=none,--no-eh-frame-hdr,--gc-sections,-z,norelro,-z,noseparate-code,\
                       -z,max-page-size=16384";

/// Writes the linker for one processor into a folder of `place`, and returns the path of its script.
///
/// # Errors
/// If a file cannot be written, or the cross compiler fails.
pub fn prepare(place: &Path, architecture: &Architecture) -> Result<PathBuf> {
    let folder = place.join(architecture.name);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("unwinder.c"), UNWINDER)?;
    fs::write(folder.join("without-tables.ld"), WITHOUT_TABLES)?;
    let gcc = format!("{}-gcc", architecture.tools);
    let compile = ["-Os", "-w", "-fno-asynchronous-unwind-tables", "-c", "unwinder.c", "-o", "unwinder.o"];
    process::run(Command::new(&gcc).args(compile).current_dir(&folder))?;
    let _ = fs::remove_file(folder.join("libunwind.a"));
    let archive = ["rcD", "libunwind.a", "unwinder.o"];
    process::run(Command::new(format!("{}-ar", architecture.tools)).args(archive).current_dir(&folder))?;
    let own = folder.to_str().context("the path of the target folder is not UTF-8")?;
    let musl = format!("/usr/lib/{}", architecture.musl);
    let libgcc = process::read(Command::new(&gcc).arg("-print-libgcc-file-name"))?;
    let libgcc = Path::new(libgcc.trim()).parent().context("GCC has no libgcc")?.display();
    let script = format!(
        "#!/bin/sh\n\
         exec {gcc} -nostdlib -static -no-pie '{musl}/crt1.o' '{musl}/crti.o' \\\n  \
         '-L{own}' '-L{musl}' '-L{libgcc}' \"$@\" \\\n  \
         {OPTIONS} '-Wl,-T,{own}/without-tables.ld' \\\n  \
         -Wl,-Bstatic,--start-group -lc -lgcc -lunwind -Wl,--end-group '{musl}/crtn.o'\n"
    );
    let path = folder.join("link");
    fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Variables for build scripts that compile C: the cross compiler, with musl's headers instead of glibc's.
///
/// # Errors
/// If the compiler cannot be queried.
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
