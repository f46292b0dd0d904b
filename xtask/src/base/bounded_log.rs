//! A log with a bound: what tests print is kept from its beginning and from its end, because a test
//! that prints without end must not fill the host's disk. What is in the middle is left out while it
//! arrives, with a line in its place that says how much that is: the file is right when we are
//! killed, and never needs memory.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How many bytes of the beginning and of the end are kept.
const KEPT: u64 = 16 << 20;

/// Bytes that are moved at once.
const CHUNK: usize = 1 << 20;

/// The file. Until [`BoundedLog::finish`] its end may be up to twice as long.
#[derive(Debug)]
pub struct BoundedLog {
    file: File,
    kept: u64,
    head: u64,
    /// Where the rest begins: behind the line that says what is left out.
    tail_start: u64,
    tail: u64,
    left_out: u64,
}

/// The line in place of what was left out; its length is always the same.
fn gap(left_out: u64) -> String {
    format!("\n[xtask: {left_out:>20} bytes are left out here]\n")
}

impl BoundedLog {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::with_bound(path, KEPT)
    }

    /// The same for another number of bytes at each end.
    fn with_bound(path: &Path, kept: u64) -> io::Result<Self> {
        let mut options = File::options();
        // It is read where its end is moved.
        options.read(true).write(true).create(true).truncate(true);
        Ok(Self {
            file: options.open(path)?,
            kept,
            head: 0,
            tail_start: kept,
            tail: 0,
            left_out: 0,
        })
    }

    /// Leaves no more than the bound; how many bytes are not in the file.
    pub fn finish(&mut self) -> io::Result<u64> {
        // For less than the line that would say so, nothing is left out.
        if self.left_out > 0 || self.tail > self.kept + gap(0).len() as u64 {
            self.shorten()?;
        }
        Ok(self.left_out)
    }

    /// Leaves out all of the rest but its end.
    fn shorten(&mut self) -> io::Result<()> {
        let excess = self.tail.saturating_sub(self.kept);
        let start = self.head + gap(0).len() as u64;
        let mut buffer = vec![0; CHUNK];
        let mut moved = 0;
        while moved < self.kept.min(self.tail) {
            let left = self.kept.min(self.tail) - moved;
            let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let piece = &mut buffer[..length];
            let from = self.tail_start + excess + moved;
            self.file.read_exact_at(piece, from)?;
            // It never goes beyond what has been read.
            self.file.write_all_at(piece, start + moved)?;
            moved += length as u64;
        }
        self.left_out += excess;
        let gap = gap(self.left_out);
        self.file.write_all_at(gap.as_bytes(), self.head)?;
        self.tail_start = start;
        self.tail -= excess;
        self.file.set_len(self.tail_start + self.tail)
    }
}

impl Write for BoundedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let in_head = self.head < self.kept;
        let (room, at) = match in_head {
            true => (self.kept - self.head, self.head),
            false => (2 * self.kept - self.tail, self.tail_start + self.tail),
        };
        let length = usize::try_from(room).unwrap_or(CHUNK).min(bytes.len());
        self.file.write_all_at(&bytes[..length], at)?;
        match in_head {
            true => self.head += length as u64,
            false => self.tail += length as u64,
        }
        if self.tail >= 2 * self.kept {
            self.shorten()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a log with this bound holds of `bytes`, written in pieces; what it says
    /// to have left out, and how long the file was at most.
    fn log(bytes: &[u8], kept: u64, piece: usize) -> (Vec<u8>, u64, u64) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output.log");
        let mut log = BoundedLog::with_bound(&path, kept).unwrap();
        let mut longest = 0;
        for piece in bytes.chunks(piece) {
            log.write_all(piece).unwrap();
            longest = longest.max(path.metadata().unwrap().len());
        }
        let left_out = log.finish().unwrap();
        assert_eq!(log.finish().unwrap(), left_out, "once is enough");
        (std::fs::read(&path).unwrap(), left_out, longest)
    }

    #[test]
    fn both_ends_are_kept_and_the_gap_says_what_is_not() {
        let bytes = (0..40_000_u32)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect::<Vec<_>>();
        let kept = 1000;
        let gap_length = gap(0).len();
        for length in [
            0, 1, 999, 1000, 1001, 2000, 2053, 2054, 2100, 3000, 3001, 4000, 9999, 100_000,
        ] {
            for piece in [1, 7, 1000, 64 << 10] {
                if length / piece > 10_000 {
                    continue;
                }
                let bytes = &bytes[..length];
                let (file, left_out, longest) = log(bytes, kept, piece);
                assert!(longest <= 3 * kept + gap_length as u64, "{longest}");
                if length <= 2000 {
                    assert_eq!(file, bytes);
                }
                if left_out == 0 {
                    assert_eq!(file, bytes);
                    continue;
                }
                let (head, rest) = file.split_at(1000);
                let (line, tail) = rest.split_at(gap_length);
                assert_eq!(head, &bytes[..1000]);
                assert_eq!(line, gap(left_out).as_bytes());
                assert_eq!(tail, &bytes[length - 1000..]);
                assert_eq!(left_out, length as u64 - 2000);
            }
        }
    }

    #[test]
    fn a_file_that_is_not_finished_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output.log");
        let mut log = BoundedLog::with_bound(&path, 100).unwrap();
        for number in 0..1000 {
            writeln!(log, "{number}").unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("0\n"), "{text}");
            assert!(text.ends_with(&format!("{number}\n")), "{text}");
        }
    }

    #[test]
    fn what_another_process_has_written_stays() {
        // The host's own tests write the file themselves.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output.log");
        let mut log = BoundedLog::with_bound(&path, 10).unwrap();
        std::fs::write(&path, "much more than that").unwrap();
        assert_eq!(log.finish().unwrap(), 0);
        assert_eq!(std::fs::read(&path).unwrap(), b"much more than that");
    }
}
