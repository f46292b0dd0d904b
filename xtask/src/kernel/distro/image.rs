//! What the first bytes of a boot image say: for which architecture it is, and which
//! kernel.

use std::path::Path;

use anyhow::{Context, Result};

use crate::base::input;
use crate::model::version::Release;

/// As many bytes of an image are looked at: the text with the release stands within
/// 64 KiB after the boot sector, because a field of 16 bits says where.
pub const HEAD: u64 = 0x200 + 0x1_0000 + RELEASE_MAX as u64;

/// A release is at most this long (`__NEW_UTS_LEN` of `include/uapi/linux/utsname.h`).
const RELEASE_MAX: usize = 64;

/// A boot image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A bzImage for 64 bits, and the release if it says one.
    X86_64(Option<Release>),
    /// An image for another architecture, whose name this is.
    Other(&'static str),
    /// Nothing that is known here.
    Unknown,
}

impl Image {
    /// The architecture, by the name that [`crate::model::arch`] would have for it.
    pub fn arch(&self) -> Option<&'static str> {
        match self {
            Self::X86_64(_) => Some("x86_64"),
            Self::Other(name) => Some(name),
            Self::Unknown => None,
        }
    }

    /// Looks at a file.
    pub fn of_file(path: &Path) -> Result<Self> {
        let context = || format!("cannot read {}", path.display());
        let head = input::beginning(path, HEAD).with_context(context)?;
        Ok(Self::of(&head))
    }

    /// Looks at the first [`HEAD`] bytes.
    pub fn of(head: &[u8]) -> Self {
        // The kernel's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
        if head.get(0x202..0x206) == Some(b"HdrS") {
            return of_x86(head);
        }
        // Documentation/arch/arm64/booting.rst: "ARM\x64" at byte 56.
        if head.get(56..60) == Some(b"ARM\x64") {
            return Self::Other("aarch64");
        }
        Self::Unknown
    }
}

fn of_x86(head: &[u8]) -> Image {
    let field = |at: usize| {
        let bytes = head.get(at..at + 2)?;
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    // `xloadflags` came with version 2.12 of the protocol, in Linux 3.8; its bit 0 is
    // XLF_KERNEL_64.
    let (version, flags) = (field(0x206), field(0x236));
    match (version, flags) {
        (Some(0x020c..), Some(flags)) if flags & 1 == 0 => return Image::Other("i386"),
        _ => {}
    }
    let release = || {
        let pointer = field(0x20e).filter(|pointer| *pointer != 0)?;
        let text = head.get(usize::from(pointer) + 0x200..)?;
        // The release, a blank, and by whom and when it was built.
        let end = text
            .iter()
            .take(RELEASE_MAX + 1)
            .position(|byte| matches!(byte, b' ' | 0))?;
        std::str::from_utf8(&text[..end]).ok()?.parse().ok()
    };
    Image::X86_64(release())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The least that is a bzImage of that release.
    pub(crate) fn bz_image(release: &str) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x20e..0x210].copy_from_slice(&0x200_u16.to_le_bytes());
        image[0x236] = 0x3f;
        image.extend(format!("{release} (root@build) #1 SMP\0").into_bytes());
        image
    }

    #[test]
    fn images_say_for_what_they_are() {
        let release = "6.12.118+deb13-amd64";
        let good = bz_image(release);
        let parsed = Some(release.parse().unwrap());
        assert_eq!(Image::of(&good), Image::X86_64(parsed.clone()));
        assert_eq!(Image::of(&good).arch(), Some("x86_64"));

        let mut narrow = good.clone();
        narrow[0x236] = 0x3e;
        assert_eq!(Image::of(&narrow), Image::Other("i386"));
        // A version without that field.
        narrow[0x206] = 0x0a;
        assert_eq!(Image::of(&narrow), Image::X86_64(parsed));

        let mut arm = vec![0; 64];
        arm[56..60].copy_from_slice(b"ARMd");
        assert_eq!(Image::of(&arm).arch(), Some("aarch64"));
        assert_eq!(Image::of(b"\x7fELF").arch(), None);
    }

    #[test]
    fn what_is_cut_or_odd_says_no_release() {
        let good = bz_image("6.1.0-56-amd64");
        for length in 0..good.len() {
            match Image::of(&good[..length]) {
                Image::Unknown => assert!(length < 0x206),
                Image::X86_64(None) => assert!(length < 0x400 + "6.1.0-56-amd64 ".len()),
                Image::X86_64(Some(_)) => assert!(length >= 0x400 + "6.1.0-56-amd64 ".len()),
                Image::Other(name) => panic!("{name} at {length}"),
            }
        }
        for pointer in [0_u16, 1, 0xffff] {
            let mut odd = good.clone();
            odd[0x20e..0x210].copy_from_slice(&pointer.to_le_bytes());
            assert_eq!(Image::of(&odd), Image::X86_64(None), "{pointer}");
        }
        for release in ["", "linux", "6.1.0/../x", &"6.1.0".repeat(20)] {
            assert_eq!(Image::of(&bz_image(release)), Image::X86_64(None));
        }
    }

    #[test]
    fn all_that_an_image_can_point_to_is_looked_at() {
        let mut image = bz_image("x");
        image[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
        image.resize(0x200 + 0xffff, 0);
        image.extend(format!("6.1.0-{} \0", "y".repeat(58)).into_bytes());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vmlinuz");
        std::fs::write(&path, &image).unwrap();
        let Image::X86_64(Some(release)) = Image::of_file(&path).unwrap() else {
            panic!("no release");
        };
        assert_eq!(release.to_string().len(), 64);
    }
}
