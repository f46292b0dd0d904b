//! Source lines for the addresses in a kernel's report: `panic+0xfc/0x2b2` becomes
//! `panic+0xfc/0x2b2 (kernel/panic.c:276)`, by the package's `vmlinux` and by `nm` and
//! `addr2line` of the binutils. Without one of them the text stays as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::base::{process::LongCommand, programs};

/// Addresses that are asked for: a report has about 20 that matter.
const MOST: usize = 64;

/// How long a program may take; `addr2line` needs a second for a kernel of ours.
const LIMIT: Duration = Duration::from_secs(15);

/// Bytes of an answer: the symbols of a distribution's kernel have some 10 MiB.
const LONGEST_ANSWER: u64 = 256 << 20;

/// A place in the kernel's code as a report names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CodePlace {
    name: String,
    offset: u64,
    /// From this symbol to the next.
    size: u64,
    /// Whether this is the address of an instruction and not one to return to.
    exact: bool,
}

/// A place in a text, and the byte behind it.
type Mention = (usize, CodePlace);

/// All places of the kernel's own code (not of a module's) in a text.
fn mentions(text: &str) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let exact = ["RIP:", "pc :", "PC is at"];
        let exact = exact.iter().any(|word| line.contains(word));
        for (at, _) in line.match_indices("+0x") {
            let other = |c: char| !(c.is_ascii_alphanumeric() || "_.$".contains(c));
            let name = line[..at].rsplit(other).next().unwrap_or_default();
            let rest = &line[at + 1..];
            let numbers = hexadecimal(rest).and_then(|(offset, rest)| {
                let (size, rest) = hexadecimal(rest.strip_prefix('/')?)?;
                Some((offset, size, rest))
            });
            let Some((offset, size, rest)) = numbers else {
                continue;
            };
            if !name.is_empty() && !rest.starts_with(" [") {
                let place = CodePlace {
                    name: name.to_owned(),
                    offset,
                    size,
                    exact,
                };
                found.push((start + line.len() - rest.len(), place));
            }
        }
        start += line.len();
    }
    found
}

/// Reads `0x1f` from the beginning of a text.
fn hexadecimal(text: &str) -> Option<(u64, &str)> {
    let digits = text.strip_prefix("0x")?;
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    let number = &digits[..digits.len() - rest.len()];
    Some((u64::from_str_radix(number, 16).ok()?, rest))
}

struct Symbols {
    by_name: HashMap<String, Vec<u64>>,
    /// Where symbols begin.
    starts: BTreeSet<u64>,
}

impl Symbols {
    /// The wanted symbols of code, from what nm(1) says: a line `ADDRESS TYPE NAME` for each.
    fn parse(text: &str, wanted: &BTreeSet<&str>) -> Result<Self> {
        let mut found = Self {
            by_name: HashMap::new(),
            starts: BTreeSet::new(),
        };
        for line in text.lines() {
            let words = line.splitn(3, ' ').collect::<Vec<_>>();
            if let [address, "T" | "t" | "W" | "w", name] = words[..]
                && let Ok(address) = u64::from_str_radix(address, 16)
            {
                found.starts.insert(address);
                if wanted.contains(name) {
                    let addresses = found.by_name.entry(name.to_owned()).or_default();
                    addresses.push(address);
                }
            }
        }
        ensure!(!found.starts.is_empty(), "the file has no symbols");
        Ok(found)
    }

    /// The address of a place before the kernel was moved; `None` if it is not known,
    /// or not certain: several static functions may have one name.
    fn address(&self, place: &CodePlace) -> Option<u64> {
        let all = self.by_name.get(&place.name)?;
        let sized = |start: &&u64| {
            let next = self.starts.range(*start + 1..).next();
            next.is_some_and(|next| next - *start == place.size)
        };
        let fitting = all.iter().filter(sized).copied().collect::<Vec<_>>();
        let start = match (&all[..], &fitting[..]) {
            ([only], _) | (_, [only]) => only,
            _ => return None,
        };
        // An address to return to is behind the call, which may be the last
        // instruction of its line.
        let back = u64::from(!place.exact);
        start.checked_add(place.offset.saturating_sub(back))
    }
}

/// The source lines in what `addr2line --addresses --inlines` says, by address: the
/// innermost first.
fn parse_answers(text: &str) -> BTreeMap<u64, Vec<String>> {
    let mut answers = BTreeMap::<u64, Vec<String>>::new();
    let mut current = None;
    for line in text.lines() {
        if let Some((address, "")) = hexadecimal(line) {
            current = Some(address);
            continue;
        }
        let Some(address) = current else { continue };
        let line = line.split(" (discriminator").next().unwrap_or_default();
        let (file, number) = line.rsplit_once(':').unwrap_or_default();
        if file == "??" || !number.starts_with(|c: char| c.is_ascii_digit()) || number == "0" {
            continue;
        }
        let file = file.trim_start_matches("./");
        let known = answers.entry(address).or_default();
        known.push(format!("{file}:{number}"));
    }
    answers
}

/// The text with source lines behind the places that have one.
fn annotate(text: &str, lines: &HashMap<&CodePlace, &Vec<String>>) -> String {
    let mut out = String::new();
    let mut done = 0;
    for (end, place) in &mentions(text) {
        if let Some(lines) = lines.get(place).filter(|lines| !lines.is_empty()) {
            out += &text[done..*end];
            out += &format!(" ({})", lines.join(" inlined at "));
            done = *end;
        }
    }
    out + &text[done..]
}

/// The text with source lines where they are known. Never an error: a report without
/// them is as good a report.
pub fn symbolize(text: &str, vmlinux: &Path) -> String {
    try_symbolize(text, vmlinux).unwrap_or_else(|_| text.to_owned())
}

fn try_symbolize(text: &str, vmlinux: &Path) -> Result<String> {
    let mentions = mentions(text);
    let names = mentions.iter().map(|(_, place)| &*place.name);
    let names = names.collect::<BTreeSet<_>>();
    ensure!(!names.is_empty(), "nothing to ask");
    let text_of_nm = ask("nm", ["--defined-only".into(), vmlinux.into()])?;
    let symbols = Symbols::parse(&text_of_nm, &names)?;
    let mut addresses = BTreeMap::new();
    for (_, place) in &mentions {
        if addresses.len() < MOST
            && let Some(address) = symbols.address(place)
        {
            addresses.insert(place, address);
        }
    }
    let options = ["--addresses", "--inlines", "--exe"].map(OsString::from);
    let asked = addresses.values().map(|address| format!("{address:#x}"));
    let arguments = (options.into_iter()).chain([vmlinux.into()]);
    let arguments = arguments.chain(asked.map(OsString::from));
    // Without an address it would read its standard input.
    ensure!(!addresses.is_empty(), "no symbol is known");
    let answers = parse_answers(&ask("addr2line", arguments)?);
    let answer = |(place, address)| Some((place, answers.get(address)?));
    let lines = addresses.iter().map(|(place, address)| (*place, address));
    Ok(annotate(text, &lines.filter_map(answer).collect()))
}

/// What a program of the binutils says.
fn ask(program: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<String> {
    let path = programs::find_program(program).context("nobody to ask")?;
    // In memory: a file could be left behind.
    let mut answer = File::from(memfd_create(program, MemfdFlags::CLOEXEC)?);
    let command = LongCommand::new(path).args(arguments);
    let command = command.stdout(answer.try_clone()?).stderr(Stdio::null());
    let end = Instant::now() + LIMIT;
    let status = command.spawn()?.wait_with(|| {
        ensure!(Instant::now() < end, "{program} takes too long");
        Ok(())
    })?;
    ensure!(status.success(), "{program} failed");
    answer.rewind()?;
    let mut said = String::new();
    answer.take(LONGEST_ANSWER).read_to_string(&mut said)?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
RIP: 0010:sysrq_handle_crash+0xc/0x10
 panic+0xfc/0x2b2
 ? oops_init+0x2/0x1000 [oops]
[<ffffffff8107a1b2>] do_it.isra.0+0x1/0x20
x+0x, +0x1/0x2, y+0x1 z+0x1/2
 panic+0xfc/0x2b2 again";

    fn place(name: &str, offset: u64, size: u64, exact: bool) -> CodePlace {
        CodePlace {
            name: name.to_owned(),
            offset,
            size,
            exact,
        }
    }

    #[test]
    fn places_are_found_and_annotated() {
        let crash = place("sysrq_handle_crash", 0xc, 0x10, true);
        let panic = place("panic", 0xfc, 0x2b2, false);
        let found = mentions(TEXT);
        let places = found.iter().map(|(_, place)| place).collect::<Vec<_>>();
        let other = place("do_it.isra.0", 1, 0x20, false);
        assert_eq!(places, [&crash, &panic, &other, &panic]);
        let (one, two) = (
            vec!["drivers/tty/sysrq.c:155".to_owned()],
            vec!["a.h:1".to_owned(), "kernel/panic.c:276".to_owned()],
        );
        let none = Vec::new();
        let lines = HashMap::from([(&crash, &one), (&panic, &two), (&other, &none)]);
        let text = annotate(TEXT, &lines);
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(
            lines[0],
            "RIP: 0010:sysrq_handle_crash+0xc/0x10 (drivers/tty/sysrq.c:155)"
        );
        let panic = " panic+0xfc/0x2b2 (a.h:1 inlined at kernel/panic.c:276)";
        assert_eq!(lines[1], panic);
        assert_eq!(lines[5], format!("{panic} again"));
        assert_eq!(lines[2..5], TEXT.lines().collect::<Vec<_>>()[2..5]);
    }

    #[test]
    fn any_text_is_a_text() {
        for text in [
            "",
            "+0x",
            "+0x1/0x2",
            "é+0x1/0x2",
            "a+0x1/0x",
            "a+0xffffffffffffffffff/0x1",
        ] {
            assert_eq!(annotate(text, &HashMap::new()), text);
            assert_eq!(symbolize(text, Path::new("/nonexistent")), text);
        }
    }

    #[test]
    fn answers_are_read() {
        let text = "\
0xffffffff813a4abe
././kernel/panic.c:276
0xffffffff8126b46e
./include/linux/x.h:10 (discriminator 3)
/src/drivers/tty/sysrq.c:155
0x0000000000000001
??:0
0x0000000000000002
??:?
kernel/x.c:?
";
        let answers = parse_answers(text);
        assert_eq!(answers[&0xffff_ffff_813a_4abe], ["kernel/panic.c:276"]);
        assert_eq!(
            answers[&0xffff_ffff_8126_b46e],
            ["include/linux/x.h:10", "/src/drivers/tty/sysrq.c:155"]
        );
        assert_eq!(answers.len(), 2);
    }

    #[test]
    fn a_name_that_is_there_twice_is_told_apart_by_its_size() {
        let symbols = Symbols {
            by_name: HashMap::from([
                ("a".to_owned(), vec![0x100]),
                ("b".to_owned(), vec![0x200, 0x300]),
            ]),
            starts: BTreeSet::from([0x100, 0x200, 0x300, 0x310, 0x500]),
        };
        let address = |name: &str, size, exact| symbols.address(&place(name, 4, size, exact));
        assert_eq!(address("a", 0x99, true), Some(0x104));
        assert_eq!(address("a", 0x99, false), Some(0x103));
        assert_eq!(address("b", 0x10, true), Some(0x304));
        assert_eq!(address("b", 0x100, true), Some(0x204));
        assert_eq!(address("b", 0x20, true), None);
        assert_eq!(address("c", 0x20, true), None);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a short command of a test")]
    fn the_symbols_of_a_real_file_are_read_and_of_others_not() {
        let program = std::env::current_exe().unwrap();
        let said = std::process::Command::new("nm")
            .arg("--defined-only")
            .arg(program)
            .output();
        let said = String::from_utf8(said.unwrap().stdout).unwrap();
        let symbols = Symbols::parse(&said, &BTreeSet::from(["main", "no_such_symbol"])).unwrap();
        assert_eq!(symbols.by_name["main"].len(), 1);
        assert!(symbols.starts.contains(&symbols.by_name["main"][0]));
        assert_eq!(symbols.by_name.len(), 1);
        for text in [
            "",
            "T main",
            "x T main",
            "0000000000000010 D main",
            "\u{fffd}\n\n",
        ] {
            assert!(
                Symbols::parse(text, &BTreeSet::from(["main"])).is_err(),
                "{text}"
            );
        }
    }
}
