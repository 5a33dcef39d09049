//! Platforms of machines: the emulator, the processor, and the first programs.
//!
//! Owns the differences between architectures on QEMU's command line, and the folders of `$DS_VM` and of the sources for
//! each platform. See qemu(1), system/target-i386 and arm/virt of QEMU's documentation.

use crate::given;
use std::path::PathBuf;
use std::{env, fs};

/// A platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// Its folder below `$DS_VM`.
    parts: &'static str,
    /// The folder of its scripts, below `tests/vm`.
    pub scripts: &'static str,
    /// QEMU's program.
    pub emulator: &'static str,
    machine: &'static str,
    /// The processor that is emulated without KVM.
    processor: &'static str,
    /// Kernel parameters: the console, and options for a faster emulation.
    pub kernel: &'static str,
}

/// A machine with Debian's tools.
pub const PLAIN: Platform = Platform {
    parts: "amd64",
    scripts: "guest",
    emulator: "qemu-system-x86_64",
    machine: "q35",
    processor: "Nehalem,-kvm",
    kernel: "console=ttyS0 tsc=reliable no_timer_check",
};

/// A phone with a desktop's processor.
pub const PHONE_AMD64: Platform = Platform { parts: "phone-amd64", scripts: "android", ..PLAIN };

/// A phone with a desktop's processor, and a kernel like those that phones are sold with; [`Platform::folder`] has its
/// version.
pub const PHONE_STOCK: Platform = Platform { parts: "phone-stock", ..PHONE_AMD64 };

/// A phone with its own processor.
pub const PHONE_ARM64: Platform = Platform {
    parts: "phone-arm64",
    scripts: "android",
    emulator: "qemu-system-aarch64",
    machine: "virt,gic-version=3",
    processor: "cortex-a57",
    kernel: "console=ttyAMA0",
};

impl Platform {
    /// The folder with its parts. `cargo xtask test --stock-kernel` selects another kernel for the phone that has a stock one.
    pub fn folder(&self) -> PathBuf {
        let chosen = env::var("DS_STOCK_KERNEL").ok().filter(|_| self.parts == PHONE_STOCK.parts);
        given("DS_VM").join(chosen.as_deref().unwrap_or(self.parts))
    }

    /// QEMU's options for board and processor.
    pub fn words(&self) -> [&'static str; 6] {
        let (accelerator, processor) =
            if self.has_kvm() { ("kvm", "host") } else { ("tcg,thread=multi", self.processor) };
        ["-machine", self.machine, "-accel", accelerator, "-cpu", processor]
    }

    /// Whether KVM can run this platform. If the processor does not report support, /dev/kvm may exist and be slower than
    /// emulation.
    fn has_kvm(&self) -> bool {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let can = processor.split_whitespace().any(|word| word == "vmx" || word == "svm");
        self.emulator == PLAIN.emulator
            && can
            && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
    }
}
