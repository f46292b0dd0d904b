//! Finds where the kernel's Kconfig files define an option, and what it depends on there.
//!
//! Conditions are quoted, not evaluated. Of the language (Documentation/kbuild/kconfig-language.rst
//! of the kernel) only the lines that hold conditions are read: `depends on`, `visible if`, a
//! prompt's `if`, and the `if`, `menu` and `choice` around a definition.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::Audited;
use crate::base::{input, suggest::nearest};
use crate::model::arch::Arch;

/// For each lost option of an audit: what it is instead of what was wanted, then, indented, its
/// definitions in the source tree `source` with their conditions.
pub fn explain<'a>(
    lost: impl Iterator<Item = &'a Audited<'a>>,
    source: &Path,
    arch: &Arch,
) -> Result<Vec<String>> {
    let mut lost = lost.peekable();
    if lost.peek().is_none() {
        return Ok(Vec::new());
    }
    let definitions = Definitions::of_source(source, arch)?;
    let explain = |lost: &Audited<'_>| {
        let lines = definitions.describe(lost.name).join("\n  ");
        format!("{lost}\n  {lines}")
    };
    Ok(lost.map(explain).collect())
}

/// By symbol (without `CONFIG_`): its definitions and their conditions, a line each, with file
/// and line number.
#[derive(Debug)]
pub struct Definitions(BTreeMap<String, Vec<String>>);

impl Definitions {
    /// Those of an architecture in the source tree `source`.
    pub fn of_source(source: &Path, arch: &Arch) -> Result<Self> {
        let top = source.join("Kconfig");
        std::fs::metadata(&top).with_context(|| format!("cannot read {}", top.display()))?;
        Ok(Self::read(arch.source, &mut |path| {
            // Kconfig files are UTF-8 but for a few old ones with Latin-1 names in comments. Some
            // are generated, and some archives leave out what an architecture does not need.
            let bytes = input::bytes(&source.join(path), input::TEXT).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }))
    }

    /// Whether there is one of this symbol (without `CONFIG_`).
    pub fn has(&self, symbol: &str) -> bool {
        self.0.contains_key(symbol)
    }

    /// Reads the file `Kconfig` and those it includes through `read`, which gets paths relative
    /// to the top. `arch` is what `$(SRCARCH)` stands for.
    fn read(arch: &str, read: &mut dyn FnMut(&str) -> Option<String>) -> Self {
        let mut reader = Reader {
            arch,
            read,
            symbols: BTreeMap::new(),
            blocks: Vec::new(),
            depth: 0,
        };
        reader.file("Kconfig");
        Self(reader.symbols)
    }

    fn describe(&self, option: &str) -> Vec<String> {
        let name = option.strip_prefix("CONFIG_").unwrap_or(option);
        if let Some(lines) = self.0.get(name) {
            return lines.clone();
        }
        let near = nearest(name, self.0.keys().map(String::as_str));
        let near = near.map(|name| format!("; did you mean CONFIG_{name}?"));
        let near = near.unwrap_or_default();
        vec![format!("no Kconfig file of this source has it{near}")]
    }
}

/// What the conditions that follow belong to.
enum Target {
    Nothing,
    Symbol(String),
    /// The innermost `menu` or `choice`.
    Block,
}

struct Reader<'a> {
    arch: &'a str,
    read: &'a mut dyn FnMut(&str) -> Option<String>,
    symbols: BTreeMap<String, Vec<String>>,
    /// The conditions of each `if`, `menu` and `choice` around the current line.
    blocks: Vec<Vec<String>>,
    /// How many files deep: a file that includes itself must not run for ever.
    depth: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &str) {
        let Some(text) = (self.read)(path).filter(|_| self.depth < 64) else {
            return;
        };
        self.depth += 1;
        let outer_blocks = self.blocks.len();
        let mut target = Target::Nothing;
        let mut lines = text.lines().zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            let mut line = line.trim().to_owned();
            while line.ends_with('\\')
                && let Some((next, _)) = lines.next()
            {
                line.pop();
                line.push_str(next.trim());
            }
            if line == "help" || line == "---help---" {
                skip_help(&mut lines);
            } else {
                self.line(&line, &format!("{path}:{number}"), &mut target);
            }
        }
        // A file that does not close what it opened must not change the others.
        self.blocks.truncate(outer_blocks);
        self.depth -= 1;
    }

    fn line(&mut self, line: &str, place: &str, target: &mut Target) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match word {
            "config" | "menuconfig" => {
                let name = rest.split_whitespace().next().unwrap_or_default();
                let lines = self.symbols.entry(name.to_owned()).or_default();
                lines.push(format!("{place}: {word} {name}"));
                lines.extend(self.blocks.iter().flatten().cloned());
                *target = Target::Symbol(name.to_owned());
            }
            "if" => {
                self.blocks.push(vec![format!("{place}: {line}")]);
                *target = Target::Nothing;
            }
            "menu" | "choice" => {
                self.blocks.push(Vec::new());
                *target = Target::Block;
            }
            "endif" | "endmenu" | "endchoice" => {
                self.blocks.pop();
                *target = Target::Nothing;
            }
            "comment" | "mainmenu" => *target = Target::Nothing,
            "source" => {
                let name = rest.trim_matches(['"', '\'']);
                let name = name.replace("$(SRCARCH)", self.arch);
                self.file(&name.replace("$SRCARCH", self.arch));
                *target = Target::Nothing;
            }
            "depends" | "visible" => self.condition(target, place, line),
            "bool" | "tristate" | "string" | "int" | "hex" | "prompt"
                if rest.contains("\" if ") || rest.contains("' if ") =>
            {
                self.condition(target, place, line);
            }
            _ => {}
        }
    }

    fn condition(&mut self, target: &Target, place: &str, line: &str) {
        let lines = match target {
            Target::Nothing => None,
            Target::Symbol(name) => self.symbols.get_mut(name),
            Target::Block => self.blocks.last_mut(),
        };
        if let Some(lines) = lines {
            lines.push(format!("{place}: {line}"));
        }
    }
}

/// Passes over a help text: it ends at the first line that is indented less than its first one.
fn skip_help<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = (&'a str, usize)>>) {
    let indentation = |line: &str| {
        let blanks = line.chars().take_while(|c| c.is_whitespace());
        blanks.fold(0, |column, c| match c {
            '\t' => (column / 8 + 1) * 8,
            _ => column + 1,
        })
    };
    let mut first = None;
    while let Some((line, _)) = lines.peek() {
        if !line.trim().is_empty() {
            let column = indentation(line);
            if column < *first.get_or_insert(column) || column == 0 {
                return;
            }
        }
        lines.next();
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const TOP: &str = r#"
mainmenu "Linux"
source "arch/$(SRCARCH)/Kconfig"
source "missing/Kconfig"
source "drivers/Kconfig"
config LATER
	bool "After a file that leaves a block open"
"#;
    const ARCH: &str = r#"
config KEXEC_FILE
	bool "kexec file based system call"
	depends on X86 && CRYPTO=y
	depends on CRYPTO_SHA256=y
	help
	  Some text. It mentions
	  config NOT_A_SYMBOL
	    bool "no"

	  depends on NOTHING
config SELECTED
	bool
"#;
    const DRIVERS: &str = r#"
menuconfig NET
	bool "Networking"
if NET
menu "Drivers"
	depends on PCI || \
		USB
	visible if EXPERT
config DUMMY
	tristate "Dummy" if !EMBEDDED
	select MII
	depends on HAS_IOMEM
endmenu
endif # NET
choice
	prompt "Compression"
	depends on HAVE_COMPRESSION
config LZ4
	bool "lz4"
	depends on HAVE_LZ4
endchoice
config TWICE
	bool "Twice"
	depends on A
config TWICE
	bool "Twice"
	depends on B
if UNCLOSED
"#;

    fn check(option: &str, expected: Expect) {
        let mut asked = Vec::new();
        let definitions = Definitions::read("x86", &mut |path| {
            asked.push(path.to_owned());
            match path {
                "Kconfig" => Some(TOP.to_owned()),
                "arch/x86/Kconfig" => Some(ARCH.to_owned()),
                "drivers/Kconfig" => Some(DRIVERS.to_owned()),
                _ => None,
            }
        });
        assert_eq!(
            asked,
            [
                "Kconfig",
                "arch/x86/Kconfig",
                "missing/Kconfig",
                "drivers/Kconfig"
            ]
        );
        expected.assert_eq(&definitions.describe(option).join("\n"));
    }

    #[test]
    fn conditions_are_quoted_with_their_places() {
        check(
            "CONFIG_KEXEC_FILE",
            expect![[r#"
                arch/x86/Kconfig:2: config KEXEC_FILE
                arch/x86/Kconfig:4: depends on X86 && CRYPTO=y
                arch/x86/Kconfig:5: depends on CRYPTO_SHA256=y"#]],
        );
        check(
            "CONFIG_DUMMY",
            expect![[r#"
                drivers/Kconfig:9: config DUMMY
                drivers/Kconfig:4: if NET
                drivers/Kconfig:6: depends on PCI || USB
                drivers/Kconfig:8: visible if EXPERT
                drivers/Kconfig:10: tristate "Dummy" if !EMBEDDED
                drivers/Kconfig:12: depends on HAS_IOMEM"#]],
        );
        check(
            "CONFIG_LZ4",
            expect![[r#"
                drivers/Kconfig:18: config LZ4
                drivers/Kconfig:17: depends on HAVE_COMPRESSION
                drivers/Kconfig:20: depends on HAVE_LZ4"#]],
        );
        check(
            "CONFIG_TWICE",
            expect![[r#"
                drivers/Kconfig:22: config TWICE
                drivers/Kconfig:24: depends on A
                drivers/Kconfig:25: config TWICE
                drivers/Kconfig:27: depends on B"#]],
        );
        check(
            "CONFIG_SELECTED",
            expect!["arch/x86/Kconfig:12: config SELECTED"],
        );
        check("CONFIG_LATER", expect!["Kconfig:6: config LATER"]);
    }

    #[test]
    fn an_option_that_is_not_there_is_said_to_be_so() {
        check(
            "CONFIG_KEXEC_FIEL",
            expect!["no Kconfig file of this source has it; did you mean CONFIG_KEXEC_FILE?"],
        );
        check(
            "CONFIG_NOT_A_SYMBOL",
            expect!["no Kconfig file of this source has it"],
        );
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let definitions = Definitions::read("x86", &mut |_| {
            Some("source \"Kconfig\"\nconfig A\n".to_owned())
        });
        assert!(definitions.0.contains_key("A"));
    }

    #[test]
    fn a_source_without_kconfig_is_an_error() {
        let merged = super::super::Merged {
            options: super::super::parse_fragment("f", "# Why.\nCONFIG_A=y\n").unwrap(),
        };
        let audit = super::super::audit(&merged, &"6.1".parse().unwrap(), "", None);
        let arch = crate::model::arch::find("x86_64").unwrap();
        let error = explain(audit.lost(), Path::new("/nonexistent"), arch);
        assert_eq!(
            error.unwrap_err().to_string(),
            "cannot read /nonexistent/Kconfig"
        );
    }
}
