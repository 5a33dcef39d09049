//! Numbers of the system calls in filters, for every application binary interface of a machine.
//!
//! Owns the tables. A 64-bit kernel also accepts calls of 32-bit programs, with different numbers; a filter with only
//! the native numbers does not cover them. Source: the kernel's tables, scripts/syscall.tbl (the generic one: arm64,
//! riscv), arch/arm/tools/syscall.tbl, arch/x86/entry/syscalls/syscall_32.tbl and syscall_64.tbl; linux/audit.h.

/// An application binary interface: how programs call the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abi {
    /// `AUDIT_ARCH_*` of linux/audit.h, as a filter sees it.
    pub audit: u32,
    /// The x32 calls share `audit` with the native ones and have this bit in their numbers.
    pub x32: bool,
    /// Numbers of its calls.
    pub calls: &'static Calls,
    /// The kernel's table that they are from.
    pub table: Table,
}

/// The tables of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// scripts/syscall.tbl.
    Generic,
    /// arch/arm.
    Arm,
    /// arch/x86, 32 bits.
    X86,
    /// arch/x86, 64 bits.
    X86Wide,
}

/// Numbers of system calls; the names are those of the man pages.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is a system call of that name")]
pub struct Calls {
    pub kexec_load: u32,
    /// Absent if only the older call exists.
    pub kexec_file_load: Option<u32>,
    pub init_module: u32,
    pub finit_module: u32,
    pub delete_module: u32,
    pub reboot: u32,
    pub prctl: u32,
    pub socket: u32,
    pub ioctl: u32,
    pub syslog: u32,
    pub keyctl: u32,
    pub add_key: u32,
    pub request_key: u32,
    pub clone: u32,
    pub clone3: u32,
    pub unshare: u32,
    pub setns: u32,
    pub swapon: u32,
    pub swapoff: u32,
    pub fanotify_mark: u32,
    /// Absent where only the newer call exists.
    pub mknod: Option<u32>,
    pub mknodat: u32,
}

const GENERIC: Calls = Calls {
    kexec_load: 104,
    kexec_file_load: Some(294),
    init_module: 105,
    finit_module: 273,
    delete_module: 106,
    reboot: 142,
    prctl: 167,
    socket: 198,
    ioctl: 29,
    syslog: 116,
    keyctl: 219,
    add_key: 217,
    request_key: 218,
    clone: 220,
    clone3: 435,
    unshare: 97,
    setns: 268,
    swapon: 224,
    swapoff: 225,
    fanotify_mark: 263,
    mknod: None,
    mknodat: 33,
};

const ARM: Calls = Calls {
    kexec_load: 347,
    kexec_file_load: Some(401),
    init_module: 128,
    finit_module: 379,
    delete_module: 129,
    reboot: 88,
    prctl: 172,
    socket: 281,
    ioctl: 54,
    syslog: 103,
    keyctl: 311,
    add_key: 309,
    request_key: 310,
    clone: 120,
    clone3: 435,
    unshare: 337,
    setns: 375,
    swapon: 87,
    swapoff: 115,
    fanotify_mark: 368,
    mknod: Some(14),
    mknodat: 324,
};

const X86_32: Calls = Calls {
    kexec_load: 283,
    kexec_file_load: None,
    init_module: 128,
    finit_module: 350,
    delete_module: 129,
    reboot: 88,
    prctl: 172,
    socket: 359,
    ioctl: 54,
    syslog: 103,
    keyctl: 288,
    add_key: 286,
    request_key: 287,
    clone: 120,
    clone3: 435,
    unshare: 310,
    setns: 346,
    swapon: 87,
    swapoff: 115,
    fanotify_mark: 339,
    mknod: Some(14),
    mknodat: 297,
};

const X86_64: Calls = Calls {
    kexec_load: 246,
    kexec_file_load: Some(320),
    init_module: 175,
    finit_module: 313,
    delete_module: 176,
    reboot: 169,
    prctl: 157,
    socket: 41,
    ioctl: 16,
    syslog: 103,
    keyctl: 250,
    add_key: 248,
    request_key: 249,
    clone: 56,
    clone3: 435,
    unshare: 272,
    setns: 308,
    swapon: 167,
    swapoff: 168,
    fanotify_mark: 301,
    mknod: Some(133),
    mknodat: 259,
};

/// `__AUDIT_ARCH_LE`; the machine's number in ELF headers (linux/elf-em.h) is added.
const LITTLE_ENDIAN: u32 = 0x4000_0000;
/// `__AUDIT_ARCH_64BIT`.
const WIDE: u32 = 0x8000_0000;

const fn abi(audit: u32, calls: &'static Calls, table: Table) -> Abi {
    Abi { audit, x32: false, calls, table }
}

const AARCH64_ABI: Abi = abi(183 | WIDE | LITTLE_ENDIAN, &GENERIC, Table::Generic);
const ARM_ABI: Abi = abi(40 | LITTLE_ENDIAN, &ARM, Table::Arm);
const X86_64_ABI: Abi =
    Abi { audit: 62 | WIDE | LITTLE_ENDIAN, x32: true, calls: &X86_64, table: Table::X86Wide };
const X86_32_ABI: Abi = abi(3 | LITTLE_ENDIAN, &X86_32, Table::X86);
const RISCV64_ABI: Abi = abi(243 | WIDE | LITTLE_ENDIAN, &GENERIC, Table::Generic);
const RISCV32_ABI: Abi = abi(243 | LITTLE_ENDIAN, &GENERIC, Table::Generic);

/// The interfaces of a kernel for `architecture` (`std::env::consts::ARCH`), the native one of this program first;
/// empty for an architecture without a table. A 32-bit build may run on a 64-bit kernel.
#[must_use]
pub fn of(architecture: &str) -> &'static [Abi] {
    match architecture {
        "aarch64" => &[AARCH64_ABI, ARM_ABI],
        "arm" => &[ARM_ABI, AARCH64_ABI],
        "x86_64" => &[X86_64_ABI, X86_32_ABI],
        "x86" => &[X86_32_ABI, X86_64_ABI],
        "riscv64" => &[RISCV64_ABI, RISCV32_ABI],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C library's headers are made from the kernel's tables.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn native_numbers_are_those_of_the_headers() {
        let calls = of(std::env::consts::ARCH)[0].calls;
        let table = [
            (calls.kexec_load, libc::SYS_kexec_load),
            (calls.kexec_file_load.unwrap(), libc::SYS_kexec_file_load),
            (calls.init_module, libc::SYS_init_module),
            (calls.finit_module, libc::SYS_finit_module),
            (calls.delete_module, libc::SYS_delete_module),
            (calls.reboot, libc::SYS_reboot),
            (calls.prctl, libc::SYS_prctl),
            (calls.socket, libc::SYS_socket),
            (calls.ioctl, libc::SYS_ioctl),
            (calls.syslog, libc::SYS_syslog),
            (calls.keyctl, libc::SYS_keyctl),
            (calls.add_key, libc::SYS_add_key),
            (calls.request_key, libc::SYS_request_key),
            (calls.clone, libc::SYS_clone),
            (calls.clone3, libc::SYS_clone3),
            (calls.unshare, libc::SYS_unshare),
            (calls.setns, libc::SYS_setns),
            (calls.swapon, libc::SYS_swapon),
            (calls.swapoff, libc::SYS_swapoff),
            (calls.fanotify_mark, libc::SYS_fanotify_mark),
            (calls.mknodat, libc::SYS_mknodat),
        ];
        for (ours, theirs) in table {
            assert_eq!(i64::from(ours), theirs);
        }
    }

    /// Compares the table with the compiler's headers for 32-bit programs, if they are installed.
    #[test]
    fn numbers_of_32_bit_programs_are_those_of_the_headers() {
        let headers = ["/usr/include/x86_64-linux-gnu/asm/unistd_32.h", "/usr/include/asm/unistd_32.h"];
        let Some(text) = headers.iter().find_map(|path| std::fs::read_to_string(path).ok()) else {
            eprintln!("no asm/unistd_32.h here: only the values in the table are checked");
            assert_eq!((X86_32.unshare, X86_32.socket), (310, 359));
            return;
        };
        let number = |name: &str| {
            let mark = format!("#define __NR_{name} ");
            text.lines().find_map(|line| line.strip_prefix(&mark)?.trim().parse::<u32>().ok())
        };
        let table = [
            (X86_32.kexec_load, "kexec_load"),
            (X86_32.init_module, "init_module"),
            (X86_32.finit_module, "finit_module"),
            (X86_32.delete_module, "delete_module"),
            (X86_32.reboot, "reboot"),
            (X86_32.prctl, "prctl"),
            (X86_32.socket, "socket"),
            (X86_32.ioctl, "ioctl"),
            (X86_32.syslog, "syslog"),
            (X86_32.keyctl, "keyctl"),
            (X86_32.add_key, "add_key"),
            (X86_32.request_key, "request_key"),
            (X86_32.clone, "clone"),
            (X86_32.clone3, "clone3"),
            (X86_32.unshare, "unshare"),
            (X86_32.setns, "setns"),
            (X86_32.swapon, "swapon"),
            (X86_32.swapoff, "swapoff"),
            (X86_32.fanotify_mark, "fanotify_mark"),
            (X86_32.mknod.unwrap(), "mknod"),
            (X86_32.mknodat, "mknodat"),
        ];
        for (ours, name) in table {
            assert_eq!(number(name), Some(ours), "{name}");
        }
        assert_eq!(number("kexec_file_load"), X86_32.kexec_file_load);
    }
}
