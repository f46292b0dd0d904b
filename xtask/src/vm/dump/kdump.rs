//! Makes a dump that every reader opens of the one that QEMU writes: puts the pieces of
//! makedumpfile's flattened form in their places (makedumpfile, `IMPLEMENTATION`; QEMU
//! `dump/dump.c`), and adds the kernel's `VMCOREINFO`, which drgn needs and QEMU leaves out unless
//! the guest has a driver for its firmware interface (`CONFIG_FW_CFG_SYSFS`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};

/// The first bytes of a flattened dump: `makedumpfile`, padded.
const SIGNATURE: &[u8; 16] = b"makedumpfile\0\0\0\0";

/// How much of its beginning is its header.
const HEADER: usize = 4096;

/// The first bytes of a dump.
const KDUMP: &[u8] = b"KDUMP   ";

/// Puts the pieces of a flattened dump into a file, as they arrive.
#[derive(Debug)]
pub struct Assembler {
    file: File,
    /// The most that the file may have.
    longest: u64,
    /// The header of the dump, or of a piece, as far as it has come.
    header: Vec<u8>,
    begun: bool,
    /// Where the piece belongs, and how much of it is to come.
    offset: u64,
    left: u64,
    ended: bool,
}

impl Assembler {
    /// For an empty file that must not have more than `longest` bytes.
    pub fn new(file: File, longest: u64) -> Self {
        Self {
            file,
            longest,
            header: Vec::new(),
            begun: false,
            offset: 0,
            left: 0,
            ended: false,
        }
    }

    /// Whether the last piece has come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            ensure!(!self.ended, "the dump goes on behind its end");
            let wanted = match (self.left, self.begun) {
                (0, false) => HEADER - self.header.len(),
                (0, true) => 16 - self.header.len(),
                (left, _) => usize::try_from(left).unwrap_or(usize::MAX),
            };
            let (part, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            if self.left > 0 {
                let written = self.file.write_all_at(part, self.offset);
                written.context("cannot write the dump")?;
                self.offset += part.len() as u64;
                self.left -= part.len() as u64;
                continue;
            }
            self.header.extend_from_slice(part);
            if part.len() == wanted {
                self.take_header()?;
                self.header.clear();
            }
        }
        Ok(())
    }

    fn take_header(&mut self) -> Result<()> {
        // Whole numbers of eight bytes, the upper byte first.
        let number = |at: usize| {
            let bytes = self.header[at..at + 8].try_into().unwrap_or_default();
            i64::from_be_bytes(bytes)
        };
        if !self.begun {
            self.begun = self.header.starts_with(SIGNATURE) && (number(16), number(24)) == (1, 1);
            ensure!(self.begun, "QEMU's dump has an unknown form");
            return Ok(());
        }
        let (offset, size) = (number(0), number(8));
        self.ended = (offset, size) == (-1, -1);
        if self.ended {
            return Ok(());
        }
        let (Ok(from), Ok(length)) = (u64::try_from(offset), u64::try_from(size)) else {
            bail!("QEMU's dump has a piece at {offset} with {size} bytes");
        };
        let longest = self.longest;
        ensure!(
            from.saturating_add(length) <= longest,
            "the dump has more than {longest} bytes"
        );
        (self.offset, self.left) = (from, length);
        Ok(())
    }

    /// The file, when the last piece has come.
    pub fn finish(self) -> Result<File> {
        ensure!(self.ended, "the dump has no end");
        Ok(self.file)
    }
}

/// The most that the notes of a dump may have: QEMU writes some 400 bytes for each processor.
const LONGEST_NOTES: u64 = 16 << 20;

/// The kernel's description of itself for readers of dumps, as a note: elf(5), `Nhdr`.
/// <https://docs.kernel.org/admin-guide/kdump/vmcoreinfo.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmcoreinfo {
    note: Vec<u8>,
    big_endian: bool,
    /// Where in the note the text begins, and its length.
    text: (usize, usize),
}

/// The bytes of a guest's number with the lowest first, and the other way round.
fn little_first<const N: usize>(big_endian: bool, mut bytes: [u8; N]) -> [u8; N] {
    if big_endian {
        bytes.reverse();
    }
    bytes
}

/// The note at the beginning of a piece of the kernel's memory, if it is that one.
pub fn vmcoreinfo(note: &[u8]) -> Option<Vmcoreinfo> {
    // The length of the name, which is less than 256.
    let big_endian = note.first()? == &0;
    let number = |at: usize| {
        let bytes = note.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(little_first(big_endian, bytes))).ok()
    };
    let (name, size) = (number(0)?, number(4)?);
    let text = 12 + name.checked_next_multiple_of(4)?;
    (note.get(12..12 + name)? == b"VMCOREINFO\0").then_some(())?;
    let end = text.checked_add(size)?;
    let mut note = note.get(..end).filter(|_| size > 0)?.to_vec();
    note.resize(end.next_multiple_of(4), 0);
    let text = (text, size);
    Some(Vmcoreinfo {
        note,
        big_endian,
        text,
    })
}

/// Adds the kernel's description to a dump that has none: the notes, with one more, go
/// to its end. Where they and the text are is said in the header's second part
/// (makedumpfile, `diskdump_mod.h`, `kdump_sub_header`; with the guest's order of bytes). Of a new
/// dump libkdumpfile reads the notes, crash the text.
pub fn add_vmcoreinfo(file: &File, vmcoreinfo: &Vmcoreinfo) -> Result<()> {
    const UTSNAME: u64 = 12;
    const UTS_LENGTH: usize = 65;
    const BLOCK_SIZE: u64 = 428;
    const PHYS_BASE: u64 = 0;
    const OFFSET_VMCOREINFO: u64 = 32;
    let (context, big) = ("cannot complete the dump", vmcoreinfo.big_endian);
    let read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at).context(context)?;
        anyhow::Ok(bytes)
    };
    let write = |at: u64, bytes: &[u8]| file.write_all_at(bytes, at).context(context);
    let number = |at: u64| {
        let bytes = read(at, 8)?.try_into().unwrap_or_default();
        anyhow::Ok(u64::from_le_bytes(little_first(big, bytes)))
    };
    let bytes = |number: u64| little_first(big, number.to_le_bytes());
    ensure!(
        read(0, KDUMP.len())? == KDUMP,
        "QEMU's dump is no kdump file"
    );
    let block = read(BLOCK_SIZE, 4)?.try_into().unwrap_or_default();
    let sub = u64::from(u32::from_le_bytes(little_first(big, block)));
    let places = sub + OFFSET_VMCOREINFO;
    if number(places)? != 0 {
        return Ok(());
    }
    let (start, length) = (number(places + 16)?, number(places + 24)?);
    ensure!(
        length <= LONGEST_NOTES,
        "QEMU's dump has {length} bytes of notes"
    );
    let mut notes = read(start, usize::try_from(length)?)?;
    notes.resize(notes.len().next_multiple_of(4), 0);
    let end = file.metadata().context(context)?.len();
    let (at, size) = vmcoreinfo.text;
    let text_at = end + (notes.len() + at) as u64;
    notes.extend(&vmcoreinfo.note);
    write(end, &notes)?;
    let numbers = [text_at, size as u64, end, notes.len() as u64];
    write(places, &numbers.map(bytes).concat())?;
    let text = String::from_utf8_lossy(&vmcoreinfo.note[at..at + size]);
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    // `crash` takes it from here; a number with a sign.
    if let Some(base) = value("NUMBER(phys_base)=").and_then(|base| base.trim().parse::<i64>().ok())
    {
        write(sub + PHYS_BASE, &bytes(base.cast_unsigned()))?;
    }
    // QEMU names the machine only, which libkdumpfile does not look at when the other
    // names are empty (`util.c`, `uts_looks_sane`).
    let release = value("OSRELEASE=").unwrap_or("unknown");
    let names = ["Linux", "vmtest", release, "unknown"];
    for (at, name) in (UTSNAME..).step_by(UTS_LENGTH).zip(names) {
        if read(at, 1)? == [0] && name.len() < UTS_LENGTH {
            write(at, name.as_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flattened(pieces: &[(i64, &[u8])]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend(1_i64.to_be_bytes());
        bytes.extend(1_i64.to_be_bytes());
        bytes.resize(HEADER, 0);
        for (offset, piece) in pieces {
            bytes.extend(offset.to_be_bytes());
            bytes.extend(i64::try_from(piece.len()).unwrap().to_be_bytes());
            bytes.extend(*piece);
        }
        bytes.extend([0xff; 16]);
        bytes
    }

    fn assemble(bytes: &[u8], size: usize) -> Result<Vec<u8>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut assembler = Assembler::new(file.reopen().unwrap(), 1000);
        for piece in bytes.chunks(size) {
            assembler.push(piece)?;
        }
        assembler.finish()?;
        Ok(std::fs::read(file.path()).unwrap())
    }

    #[test]
    fn pieces_of_any_size_are_put_in_their_places() {
        let bytes = flattened(&[(10, b"later"), (0, b"first"), (5, b""), (12, b"T")]);
        for size in [1, 3, 16, 4096, 10_000] {
            let file = assemble(&bytes, size).unwrap();
            assert_eq!(file, b"first\0\0\0\0\0laTer", "{size}");
        }
    }

    #[test]
    fn what_is_no_dump_is_refused() {
        let good = flattened(&[(0, b"first")]);
        let says = |bytes: &[u8]| assemble(bytes, 100).unwrap_err().to_string();
        for end in 0..good.len() {
            assert_eq!(says(&good[..end]), "the dump has no end");
        }
        assert_eq!(says(&[0; 5000]), "QEMU's dump has an unknown form");
        let more = [&good[..], b"x"].concat();
        assert_eq!(says(&more), "the dump goes on behind its end");
        let huge = flattened(&[(999, b"xy")]);
        assert_eq!(says(&huge), "the dump has more than 1000 bytes");
        let negative = flattened(&[(-5, b"xy")]);
        assert_eq!(
            says(&negative),
            "QEMU's dump has a piece at -5 with 2 bytes"
        );
    }

    fn note(name: &[u8], size: u32, text: &[u8]) -> Vec<u8> {
        let mut note = u32::try_from(name.len()).unwrap().to_le_bytes().to_vec();
        note.extend(size.to_le_bytes());
        note.extend([0; 4]);
        note.extend(name);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(text);
        note
    }

    #[test]
    fn only_the_kernels_note_is_taken() {
        let good = note(b"VMCOREINFO\0", 4, b"X=1\nmore");
        let found = vmcoreinfo(&good).unwrap();
        assert_eq!(found.note, note(b"VMCOREINFO\0", 4, b"X=1\n"));
        assert_eq!(&found.note[found.text.0..], b"X=1\n");
        for end in 0..good.len() - 4 {
            assert_eq!(vmcoreinfo(&good[..end]), None, "{end}");
        }
        for bad in [
            note(b"OTHER\0", 4, b"X=1\n"),
            note(b"VMCOREINFO\0", 0, b""),
            note(b"VMCOREINFO\0", u32::MAX, b"X=1\n"),
            vec![0xff; 4096],
        ] {
            assert_eq!(vmcoreinfo(&bad), None);
        }
    }

    #[test]
    fn a_dump_gets_its_description_once() {
        for big in [false, true] {
            describes_once(big);
        }
    }

    fn describes_once(big: bool) {
        let order = |mut bytes: Vec<u8>| {
            if big {
                bytes.reverse();
            }
            bytes
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let dump = file.as_file();
        let text = b"OSRELEASE=6.1\nNUMBER(phys_base)=-4096\nx";
        let length = u32::try_from(text.len()).unwrap();
        let mut note = note(b"VMCOREINFO\0", length, text);
        for number in note[..8].chunks_mut(4).filter(|_| big) {
            number.reverse();
        }
        let description = vmcoreinfo(&note).unwrap();
        assert!(add_vmcoreinfo(dump, &description).is_err(), "an empty file");
        // Notes of six bytes at 8000.
        let mut bytes = KDUMP.to_vec();
        bytes.resize(12 + 65, 0);
        bytes.extend(b"node");
        bytes.resize(428, 0);
        bytes.extend(order(4096_u32.to_le_bytes().to_vec()));
        bytes.resize(4096 + 48, 0);
        bytes.extend(
            [8000_u64, 6]
                .map(|number| order(number.to_le_bytes().to_vec()))
                .concat(),
        );
        bytes.resize(8000, 0);
        bytes.extend(b"notes!");
        bytes.resize(9000, 0);
        std::fs::write(file.path(), &bytes).unwrap();
        add_vmcoreinfo(dump, &description).unwrap();
        let after = std::fs::read(file.path()).unwrap();
        let read = |at: usize| {
            let bytes = order(after[at..at + 8].to_vec());
            u64::from_le_bytes(bytes.try_into().unwrap())
        };
        assert_eq!(read(4096), (-4096_i64).cast_unsigned());
        let text_at = 9000 + 8 + 24;
        assert_eq!((read(4128), read(4136)), (text_at, u64::from(length)));
        assert_eq!((read(4144), read(4152)), (9000, 8 + 24 + 40));
        assert_eq!(&after[9000..9008], b"notes!\0\0");
        let text_at = usize::try_from(text_at).unwrap();
        assert_eq!(&after[text_at..text_at + text.len()], text);
        assert_eq!(after.len(), text_at + 40);
        let name = |number: usize| &after[12 + 65 * number..][..8];
        assert_eq!(name(0), b"Linux\0\0\0");
        assert_eq!(name(1), b"node\0\0\0\0", "it was there");
        assert_eq!(name(2), b"6.1\0\0\0\0\0");
        add_vmcoreinfo(dump, &description).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), after, "once is enough");
    }
}
