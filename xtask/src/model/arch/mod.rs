//! The architectures: what differs between them is here, a file each, and nowhere else but in
//! data: the options of their kernels (`kernel-configs/arch/`) and the packages with their QEMU
//! (`vmtest-assets/host/packages.txt`).

mod x86_64;

use crate::base::{error::Failure, suggest::nearest};

#[derive(Debug)]
pub struct Arch {
    /// Our name, as `uname -m` and `qemu-system-*` have it.
    pub name: &'static str,
    /// The kernel's `ARCH=` value.
    pub kernel: &'static str,
    /// The directory below the kernel's `arch/`.
    pub source: &'static str,
    /// Debian's name.
    pub debian: &'static str,
    /// The end of the releases of Debian's plain kernels.
    pub debian_flavor: &'static str,
    /// GNU triplet of a cross compiler, without the trailing dash.
    pub triplet: &'static str,
    /// Class, byte order and machine of ELF files.
    pub elf: (u8, u8, u16),
    /// The boot image below the build tree.
    pub image: &'static str,
    /// Whether a boot image begins so, with [`IMAGE_HEAD`] bytes or less.
    pub is_image: fn(&[u8]) -> bool,
    /// The first serial console's device name below `/dev`.
    pub console: &'static str,
    pub qemu: &'static str,
    pub machine: &'static [&'static str],
    pub processor: &'static str,
    pub bus: &'static VirtioBus,
    /// Kernel parameters that the machine needs.
    pub parameters: &'static [&'static str],
    /// Further ones where it is emulated.
    pub emulated_parameters: &'static [&'static str],
    /// The options with which a kernel that has ACPI needs none on the machine; `None`: no
    /// kernel is told to do without.
    pub spare_acpi: Option<&'static [&'static str]>,
    /// The number of kexec_file_load(2).
    pub kexec_file_load: u32,
    /// How much memory a kernel sets aside for the one that comes after its crash, in MiB:
    /// what drgn's own vmtest gives it too.
    pub crash_memory: u32,
    /// The same where debuggers will read a distribution's debugging information there, and
    /// how much the guest has more then. With the first, drgn did not survive Debian's 6.1.
    pub large_crash_memory: u32,
}

impl PartialEq for Arch {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Arch {}

/// The bus that the machine's virtio devices are on.
#[derive(Debug)]
pub struct VirtioBus {
    /// The end of the names of QEMU's devices, as in `virtio-rng-pci`.
    pub name: &'static str,
    pub option: &'static str,
    pub module: &'static str,
    /// Leaves out the network card's boot ROM, a file that may be missing and takes time to run.
    pub no_rom: &'static str,
}

const PCI: VirtioBus = VirtioBus {
    name: "pci",
    option: "CONFIG_VIRTIO_PCI",
    module: "virtio_pci",
    no_rom: ",romfile=",
};

pub const ARCHITECTURES: &[Arch] = &[x86_64::X86_64];

/// As many bytes of a boot image say what it is for; s390's are the last (`arch/s390/boot/head.S`).
pub const IMAGE_HEAD: u64 = 0x10010;

/// Numbers of ELF files (`<elf.h>`).
const ELF64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;

/// Machines of ELF files (`<elf.h>`, `EM_*`) that kernels are for, to name those that are not
/// supported.
const ELF_MACHINES: &[(u16, &str)] = &[
    (3, "i386"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (183, "aarch64"),
    (243, "riscv64"),
];

pub fn find(name: &str) -> Option<&'static Arch> {
    ARCHITECTURES.iter().find(|arch| arch.name == name)
}

/// The same for a name that a user wrote. `others` are what else may stand there.
pub fn named(name: &str, others: &[&'static str]) -> Result<&'static Arch, Failure> {
    find(name).ok_or_else(|| {
        let known = ARCHITECTURES.iter().map(|arch| arch.name);
        let known = known.chain(others.iter().copied()).collect::<Vec<_>>();
        let near = nearest(name, known.iter().copied());
        let near = near.map_or(String::new(), |near| format!("did you mean {near}? "));
        let hint = format!("{near}there is {}", known.join(", "));
        Failure::usage(format!("unknown architecture {name:?}")).hint(hint)
    })
}

/// The architecture that this binary was built for, if it is in the table.
pub fn host() -> Option<&'static Arch> {
    find(std::env::consts::ARCH)
}

/// The architecture that an ELF file is for, from the header (elf(5)), or what is wrong with it.
pub fn of_elf(header: &[u8; 20]) -> Result<&'static Arch, String> {
    let [b'\x7f', b'E', b'L', b'F', class, order, .., low, high] = *header else {
        return Err("is not an ELF file".to_owned());
    };
    let machine = match order {
        LITTLE_ENDIAN => u16::from_le_bytes([low, high]),
        _ => u16::from_be_bytes([low, high]),
    };
    let elf = (class, order, machine);
    ARCHITECTURES
        .iter()
        .find(|arch| arch.elf == elf)
        .ok_or_else(|| {
            let name = ELF_MACHINES.iter().find(|(number, _)| *number == machine);
            let name = name.map_or_else(
                || format!("ELF machine {machine}"),
                |(_, name)| (*name).to_owned(),
            );
            format!("is for {name}, which is not supported")
        })
}
