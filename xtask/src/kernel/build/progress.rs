//! What make's output says: how far a build is, and what went wrong first. Pure.

use std::collections::HashSet;

use crate::base::format::thousands;

/// Objects that a build of our configurations makes when nothing better is known.
pub const TYPICAL_OBJECTS: u64 = 1_350;

/// Counts objects in make's output as it comes, cut anywhere.
#[derive(Default)]
pub struct Counter {
    line: Vec<u8>,
    pub objects: u64,
}

impl Counter {
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.objects += u64::from(is_object(&self.line));
                self.line.clear();
            } else if self.line.len() < 32 {
                // Longer lines need no more to be told apart.
                self.line.push(byte);
            }
        }
    }
}

/// Whether a line of make's says that something is compiled or assembled:
/// two spaces, the tool, and where it goes.
fn is_object(line: &[u8]) -> bool {
    let tools = ["  CC ", "  AS ", "  HOSTCC ", "  CC\t", "  AS\t"];
    tools.iter().any(|tool| line.starts_with(tool.as_bytes()))
}

/// How far a build is, for people.
pub fn progress(objects: u64, estimate: u64) -> String {
    let done = thousands(objects);
    // Linking, BTF and compression take their time after the last object.
    match objects < estimate {
        true => format!("{done} of about {} objects", thousands(estimate)),
        false => format!("{done} objects"),
    }
}

/// At most this many lines are quoted from a log.
const QUOTED: usize = 6;

/// The first lines of a log that say what is wrong. With `-j` what comes last is
/// what other jobs still did, and make's own `Error 2` on the way up. Without any
/// such line, the last lines.
pub fn first_errors(log: &str) -> Vec<&str> {
    let matching = |test: &dyn Fn(&str) -> bool| {
        let mut known = HashSet::new();
        let lines = log.lines().filter(|line| test(line) && known.insert(*line));
        lines.take(QUOTED).collect::<Vec<_>>()
    };
    let failed = log.lines().find_map(failed_target);
    let names_it = |line: &str| failed.is_some_and(|target| is_about(line, target));
    let found = [
        matching(&is_error),
        matching(&names_it),
        matching(&is_consequence),
    ];
    let found = found.into_iter().find(|lines| !lines.is_empty());
    found.unwrap_or_else(|| {
        let lines = log.lines().rev().filter(|line| !line.trim().is_empty());
        let mut last = lines.take(QUOTED).collect::<Vec<_>>();
        last.reverse();
        last
    })
}

/// Remedies for errors whose messages name none.
const REMEDIES: &[(&str, &str)] = &[
    (
        "Unsupported relocation type: R_X86_64_PLT32",
        "binutils since 2.31 write it, and this source is older: apply b21ebf2fb4cd (\"x86: Treat \
         R_X86_64_PLT32 as R_X86_64_PC32\", 4.16), or take a later point release, which has it",
    ),
    (
        "Killed signal terminated program",
        "the host may have run out of memory: run fewer jobs with -j",
    ),
];

/// What helps against the first of these errors for which something is known.
pub fn remedy(errors: &[&str]) -> Option<&'static str> {
    let known = |line: &&str| REMEDIES.iter().find(|(text, _)| line.contains(text));
    errors.iter().find_map(known).map(|(_, remedy)| *remedy)
}

/// What make could not make, from `make[3]: *** [Makefile:1: mm/slub.o] Error 1`.
fn failed_target(line: &str) -> Option<&str> {
    let (_, place) = line.strip_prefix("make")?.split_once("*** [")?;
    let (place, _) = place.split_once("] Error ")?;
    place
        .rsplit(' ')
        .next()
        .filter(|target| target.contains('/'))
}

/// Whether a program says something about a target, such as objtool, whose errors are called
/// warnings. Lines that begin with blanks are make's own ("  CC      mm/slub.o").
fn is_about(line: &str, target: &str) -> bool {
    line.contains(target) && !line.starts_with([' ', '\t']) && !line.starts_with("make")
}

/// Whether it is an error of Kconfig's (scripts/kconfig/parser.y of the kernel):
/// `drivers/Kconfig:16: can't open file "drivers/of/Kconfig"`.
fn is_of_kconfig(line: &str) -> bool {
    let mut parts = line.splitn(3, ':');
    parts.next().is_some_and(|file| file.contains("Kconfig"))
        && parts
            .next()
            .is_some_and(|number| number.parse::<u32>().is_ok())
        && parts
            .next()
            .is_some_and(|words| !words.trim_start().starts_with("warning"))
}

fn is_consequence(line: &str) -> bool {
    line.starts_with("make") && line.contains("***") || line.contains("No such file or directory")
}

fn is_error(line: &str) -> bool {
    const WITHIN: &[&str] = &[
        ": error: ",
        ": fatal error: ",
        // arch/x86/tools/relocs.c
        "Unsupported relocation type: ",
        "internal compiler error: ",
        "undefined reference to",
        "multiple definition of",
        "ld: cannot find",
        ": command not found",
        ": not found",
        "No space left on device",
        "Cannot allocate memory",
        // The assembler, and make without a rule.
        ": Error: ",
        "No rule to make target",
        // The linker, and what the makefiles themselves refuse.
        "ld: error: ",
        "final link failed",
        "please install ",
        "Encountered error while encoding BTF",
        "Inconsistent kallsyms data",
        "Segmentation fault",
    ];
    const FIRST: &[&str] = &[
        // modpost, Kconfig, resolve_btfids and the kernel's makefiles.
        "ERROR: ",
        "error: ",
        "FAILED: ",
        "FAILED ",
        "FATAL: modpost: ",
        "BTF: .tmp_vmlinux.btf: pahole",
        "Killed",
    ];
    WITHIN.iter().any(|text| line.contains(text))
        || FIRST.iter().any(|text| line.starts_with(text))
        || is_of_kconfig(line)
}

pub fn disk_was_full(log: &str) -> bool {
    log.contains("No space left on device") || log.contains("Disk quota exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_however_the_output_is_cut() {
        let output = b"make[1]: Entering directory '/w'\n  CC      init/main.o\n  AS      a.o\n  \
            CC [M]  fs/x.o\n  LD      vmlinux\n  HOSTCC  scripts/x\n warning: CC \n  AR built-in.a\n";
        for size in [1, 2, 7, 1000] {
            let mut counter = Counter::default();
            for chunk in output.chunks(size) {
                counter.feed(chunk);
            }
            assert_eq!(counter.objects, 4, "{size}");
        }
    }

    #[test]
    fn progress_is_readable() {
        assert_eq!(progress(0, 2100), "0 of about 2,100 objects");
        assert_eq!(progress(1234567, 2100), "1,234,567 objects");
    }

    #[test]
    fn the_first_error_is_found_before_what_follows_from_it() {
        let log = "  CC      mm/slub.o\n\
            mm/slub.c: In function 'x':\n\
            mm/slub.c:12:3: error: expected ';' before 'y'\n\
            \u{20}  12 |   z\n\
            make[3]: *** [scripts/Makefile.build:250: mm/slub.o] Error 1\n\
            \u{20} CC      mm/other.o\n\
            mm/other.c:1:1: warning: nothing\n\
            make: *** [Makefile:219: __sub-make] Error 2\n";
        assert_eq!(
            first_errors(log),
            ["mm/slub.c:12:3: error: expected ';' before 'y'"]
        );
    }

    #[test]
    fn other_kinds_of_errors() {
        for line in [
            "ERROR: modpost: \"x\" [y.ko] undefined!",
            "ld: vmlinux.o: in function `f': undefined reference to `g'",
            "/bin/sh: 1: flex: not found",
            "FAILED: load BTF from vmlinux: Invalid argument",
            "scripts/extract-cert.c:21:10: fatal error: openssl/bio.h: No such file or directory",
            "make[2]: *** No rule to make target 'debian/certs.pem', needed by 'x'.  Stop.",
            "/tmp/cc1.s: Assembler messages: x.s:3: Error: no such instruction",
            "cc1: error: unrecognized command-line option '-x'",
            "drivers/Kconfig:16: can't open file \"drivers/of/Kconfig\"",
            "arch/x86/Kconfig:2962: syntax error",
            "FATAL: modpost: GPL-incompatible module x.ko uses GPL-only symbol 'y'",
            "FAILED unresolved symbol vfs_truncate",
            "ld: final link failed: bad value",
            "Unsupported relocation type: R_X86_64_PLT32 (4)",
            "Makefile:991: *** \"Cannot generate ORC metadata, please install libelf-dev\".  Stop.",
        ] {
            let log = format!("  CC a.o\n{line}\nmake: *** [Makefile:1: all] Error 2\n");
            assert_eq!(first_errors(&log), [line]);
        }
        assert_eq!(
            first_errors("a\nmake[1]: *** [Makefile:1: all] Error 2\nb\n"),
            ["make[1]: *** [Makefile:1: all] Error 2"]
        );
        assert_eq!(
            first_errors("a\n/m/gen: No such file or directory\nb\n"),
            ["/m/gen: No such file or directory"]
        );
        assert_eq!(first_errors("a\n\nb\n"), ["a", "b"]);
        assert_eq!(first_errors(""), [""; 0]);
    }

    #[test]
    fn what_a_tool_says_of_the_object_that_failed_is_its_error() {
        let log = "a.o: warning: objtool: nothing\n\
            \u{20} AS      arch/x86/entry/thunk_64.o\n\
            arch/x86/entry/thunk_64.o: warning: objtool: missing symbol table\n\
            make[4]: *** [scripts/Makefile.build:403: arch/x86/entry/thunk_64.o] Error 1\n\
            make[3]: *** [scripts/Makefile.build:544: arch/x86/entry] Error 2\n";
        assert_eq!(
            first_errors(log),
            ["arch/x86/entry/thunk_64.o: warning: objtool: missing symbol table"]
        );
        let log = "lib/Kconfig:3:warning: ignoring unsupported character\n\
            make[1]: *** [scripts/kconfig/Makefile:69: allnoconfig] Error 1\n";
        assert_eq!(first_errors(log), [log.lines().nth(1).unwrap()]);
    }

    #[test]
    fn an_error_that_does_not_say_what_helps_has_a_remedy() {
        let remedy = |log| remedy(&first_errors(log));
        let relocs = "Unsupported relocation type: R_X86_64_PLT32 (4)\n";
        assert!(remedy(relocs).unwrap().contains("apply b21ebf2fb4cd"));
        let log = "a.c:1: error: x\ngcc: fatal error: Killed signal terminated program cc1\n";
        assert!(remedy(log).unwrap().contains("-j"));
        assert_eq!(remedy("a.c:1: error: x\n"), None);
    }

    #[test]
    fn many_errors_are_cut_and_repeated_ones_said_once() {
        let log = (0..100)
            .map(|n| format!("a.c:{}: error: x\n", n / 2))
            .collect::<String>();
        let errors = first_errors(&log);
        assert_eq!(errors.len(), QUOTED);
        assert_eq!(errors[1], "a.c:1: error: x");
    }

    #[test]
    fn a_full_disk_is_recognised() {
        assert!(disk_was_full("as: fatal: No space left on device\n"));
        assert!(!disk_was_full("a.c:1: error: x\n"));
    }
}
