//! The machine on which the numbers were measured.
//!
//! Owns the one line about processor, kernel and the versions of the rivals. See proc_cpuinfo(5).

use std::env::consts::ARCH;
use std::fs;
use std::process::Command;
use std::thread;

/// The programs that `ds` is measured against, and the arguments with which each prints its version.
const RIVALS: &[(&str, &str)] = &[
    ("systemd-nspawn", "--version"),
    ("lxc-start", "--version"),
    ("bwrap", "--version"),
    ("crun", "--version"),
];

/// One line about the hardware and the kernel, one about the rivals.
pub fn describe() -> String {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(gibibytes).unwrap_or_default();
    let rivals: Vec<_> = RIVALS.iter().map(|(program, option)| version(program, option)).collect();
    format!(
        "{}, {cpus} processors, {memory} GiB, Linux {}\nagainst {}",
        processor(),
        kernel.trim(),
        rivals.join(", ")
    )
}

/// The name that x86 gives; other processors are named by their architecture.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn gibibytes(meminfo: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = kibibytes.trim().trim_end_matches(" kB").parse().ok()?;
    Some((kibibytes + (1 << 19)) >> 20)
}

fn version(program: &str, option: &str) -> String {
    let output = Command::new(program).arg(option).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let number = text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    format!("{program} {}", number.unwrap_or("(not there)"))
}

#[cfg(test)]
mod tests {
    use super::{describe, gibibytes};

    #[test]
    fn memory_is_rounded_to_gibibytes() {
        assert_eq!(gibibytes("MemTotal:       24576000 kB\nMemFree: 1 kB\n"), Some(23));
        assert_eq!(gibibytes("nothing"), None);
    }

    #[test]
    fn the_description_names_kernel_and_rivals() {
        let text = describe();
        assert!(text.contains("Linux ") && text.contains("crun "), "{text}");
    }
}
