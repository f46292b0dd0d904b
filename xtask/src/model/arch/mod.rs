//! The architectures: what differs between them is here, a file each, and nowhere else but in
//! data: the options of their kernels (`kernel-configs/arch/`) and the packages with their QEMU
//! (`vmtest-assets/host/packages.txt`).

mod aarch64;
mod arm;
mod ppc64;
mod riscv64;
mod s390x;
mod x86_64;

use crate::base::{error::Failure, suggest::nearest};
use crate::model::version::Series;

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
    /// The end of the releases of Debian's plain kernels, as in `linux-image-<flavor>`.
    pub debian_flavor: &'static str,
    /// GNU triplet of a cross compiler, without the trailing dash.
    pub triplet: &'static str,
    /// glibc's dynamic linker below `/` (<https://sourceware.org/glibc/wiki/ABIList>).
    pub loader: &'static str,
    /// Class, byte order and machine of ELF files.
    pub elf: (u8, u8, u16),
    /// The boot image below the build tree: what `make image_name` prints.
    pub image: &'static str,
    /// Whether a boot image begins so, with [`IMAGE_HEAD`] bytes or less.
    pub is_image: fn(&[u8]) -> bool,
    /// The first serial console's device name below `/dev`.
    pub console: &'static str,
    /// The option of the driver for the machine's hardware clock, if it has one.
    pub clock: Option<&'static str>,
    pub qemu: &'static str,
    pub machine: &'static [&'static str],
    pub processor: &'static str,
    pub bus: &'static VirtioBus,
    /// Kernel parameters that the machine needs.
    pub parameters: &'static [&'static str],
    /// Further ones where it is emulated.
    pub emulated_parameters: &'static [&'static str],
    /// What an emulated kernel with so many ticks a second (`CONFIG_HZ`) would measure, as
    /// parameters, from the text of such a host's /proc/cpuinfo.
    pub measured: Option<fn(&str, f64) -> Option<String>>,
    /// The options with which a kernel that has ACPI needs none on the machine; `None`: no
    /// kernel is told to do without.
    pub spare_acpi: Option<&'static [&'static str]>,
    /// Where set, one thread emulates all processors of a kernel that has this option, unless it is
    /// one of ours.
    pub one_thread: Option<&'static str>,
    /// If the kernel's clock runs at a wrong speed.
    pub wrong_clock: Option<WrongClock>,
    /// How the kernel prints the registers with which a process entered it: the beginning of the
    /// first line, and of the others.
    pub user_registers: &'static [&'static str],
    /// By what the limits of a guest are multiplied on a host of another architecture, which has to
    /// emulate it.
    pub emulation_cost: u32,
    /// The number of kexec_file_load(2), where the kernel has it.
    pub kexec_file_load: Option<u32>,
    /// Whether kexec_file_load(2) is given the kernel as an ELF file instead of its boot image.
    pub kexec_elf: bool,
    /// The oldest series in which a kernel that crashes can start another one that has the
    /// memory of the first in /proc/vmcore; `None`: there is none.
    pub crash_from: Option<Series>,
    /// How much memory a kernel sets aside for the one that comes after its crash, in MiB:
    /// what drgn's own vmtest gives it too.
    pub crash_memory: u32,
    /// The same where debuggers will read a distribution's debugging information there, and
    /// how much the guest has more then. With the first, drgn did not survive Debian's 6.1.
    pub large_crash_memory: u32,
}

impl Arch {
    /// A compiler's or binutils' program for this architecture: with the triplet before it
    /// unless it is the host's own.
    pub fn program(&self, name: &str) -> String {
        match self.cross_compile() {
            Some(prefix) => prefix + name,
            None => name.to_owned(),
        }
    }

    /// What stands before the names of these programs; `None`: nothing, on a host of its own.
    pub fn cross_compile(&self) -> Option<String> {
        (host() != Some(self)).then(|| format!("{}-", self.triplet))
    }

    /// By what the default limits of a guest are multiplied on this host.
    pub fn limit_factor(&self) -> u32 {
        match host() == Some(self) {
            true => 1,
            false => self.emulation_cost,
        }
    }

    /// Whether tests can crash a kernel of this series on purpose.
    pub fn can_crash(&self, series: Series) -> bool {
        self.crash_from.is_some_and(|oldest| series >= oldest)
    }
}

impl PartialEq for Arch {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Arch {}

/// How a kernel says that it has taken a wrong frequency for that of its clock.
#[derive(Debug)]
pub struct WrongClock {
    pub words: &'static str,
    /// A clock source that has a frequency that every kernel knows.
    pub source: &'static str,
}

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

const CCW: VirtioBus = VirtioBus {
    name: "ccw",
    option: "CONFIG_S390_GUEST",
    module: "virtio_ccw",
    no_rom: "",
};

pub const ARCHITECTURES: &[Arch] = &[
    x86_64::X86_64,
    aarch64::AARCH64,
    arm::ARM,
    ppc64::PPC64,
    s390x::S390X,
    riscv64::RISCV64,
];

/// As many bytes of a boot image say what it is for; s390's are the last (`arch/s390/boot/head.S`).
pub const IMAGE_HEAD: u64 = 0x10010;

/// Classes and byte orders of ELF files (`<elf.h>`).
const ELF32: u8 = 1;
const ELF64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const BIG_ENDIAN: u8 = 2;

/// Other machines of ELF files (`<elf.h>`, `EM_*`) that kernels are for.
const UNSUPPORTED: &[(u16, &str)] = &[(3, "i386"), (8, "mips"), (20, "ppc"), (258, "loongarch64")];

/// `len` bytes of an image at `at`.
fn bytes(head: &[u8], at: usize, len: usize) -> &[u8] {
    head.get(at..at + len).unwrap_or_default()
}

/// Documentation/arch/arm64/booting.rst and Documentation/arch/riscv/boot-image-header.rst of the
/// kernel: the image as it is in memory, with a magic number at 56. gzip'd it says no more than
/// that it is compressed, and as an EFI application that decompresses itself
/// (`drivers/firmware/efi/libstub/zboot-header.S`) for which machine it is (the PE header).
fn is_flat_image(head: &[u8], magic: &[u8], pe_machine: u16) -> bool {
    let is_zboot = || {
        let offset = bytes(head, 0x3c, 4).try_into().map(u32::from_le_bytes);
        let offset = offset.map_or(usize::MAX - 8, |offset| offset as usize);
        bytes(head, 0, 2) == b"MZ"
            && bytes(head, 4, 4) == b"zimg"
            && bytes(head, offset + 4, 2) == pe_machine.to_le_bytes()
    };
    bytes(head, 56, 4) == magic || head.starts_with(&[0x1f, 0x8b, 8]) || is_zboot()
}

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
            if let Some(arch) = ARCHITECTURES.iter().find(|arch| arch.elf.2 == machine) {
                let name = arch.name;
                return format!(
                    "is for {name} of another class or byte order, which is not supported"
                );
            }
            let name = UNSUPPORTED.iter().find(|(number, _)| *number == machine);
            let name = name.map_or_else(
                || format!("ELF machine {machine}"),
                |(_, name)| (*name).to_owned(),
            );
            format!("is for {name}, which is not supported")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of an image that has these bytes there.
    fn head(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; IMAGE_HEAD as usize];
        for (at, bytes) in parts {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn an_image_is_for_those_that_can_start_it() {
        let zboot = |machine: u16| {
            let machine = machine.to_le_bytes();
            head(&[(0, b"MZ"), (4, b"zimg"), (0x3c, b"\x80"), (0x84, &machine)])
        };
        let elf = |order: u8, machine: u8| {
            let machine = match order {
                LITTLE_ENDIAN => [machine, 0],
                _ => [0, machine],
            };
            head(&[(0, &[0x7f, b'E', b'L', b'F', ELF64, order]), (18, &machine)])
        };
        for (image, names) in [
            (head(&[(56, b"ARM\x64")]), "aarch64"),
            (head(&[(56, b"RSC\x05")]), "riscv64"),
            (head(&[(0, &[0x1f, 0x8b, 8])]), "aarch64 riscv64"),
            (zboot(0xaa64), "aarch64"),
            (zboot(0x5064), "riscv64"),
            (zboot(0x8664), ""),
            (head(&[(36, &[0x18, 0x28, 0x6f, 0x01])]), "arm"),
            (elf(LITTLE_ENDIAN, 21), "ppc64"),
            (elf(BIG_ENDIAN, 21), ""),
            (head(&[(0x10008, b"S390EP")]), "s390x"),
            (head(&[]), ""),
            (head(&[(0, b"MZ"), (4, b"zimg"), (0x3c, &[0xff; 4])]), ""),
            (vec![], ""),
        ] {
            let fits = ARCHITECTURES.iter().filter(|arch| (arch.is_image)(&image));
            let fits = fits.map(|arch| arch.name).collect::<Vec<_>>();
            assert_eq!(fits.join(" "), names);
        }
    }

    #[test]
    fn elf_files_say_for_what_they_are() {
        let of = |class: u8, order: u8, machine: [u8; 2]| {
            let mut header = [0; 20];
            header[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
            header[18..].copy_from_slice(&machine);
            of_elf(&header).map(|arch| arch.name)
        };
        assert_eq!(of(ELF64, BIG_ENDIAN, [0, 22]), Ok("s390x"));
        assert_eq!(of(ELF64, LITTLE_ENDIAN, [21, 0]), Ok("ppc64"));
        assert_eq!(of(ELF32, LITTLE_ENDIAN, [40, 0]), Ok("arm"));
        let other = "is for ppc64 of another class or byte order, which is not supported";
        assert_eq!(of(ELF64, BIG_ENDIAN, [0, 21]), Err(other.to_owned()));
        let unknown = "is for ELF machine 9, which is not supported";
        assert_eq!(of(ELF64, LITTLE_ENDIAN, [9, 0]), Err(unknown.to_owned()));
    }
}
