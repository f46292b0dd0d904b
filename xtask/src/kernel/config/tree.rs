//! A small reader of the kernel's Kconfig files, for one question: which
//! dependency of a lost option is missing.
//!
//! The language is described in Documentation/kbuild/kconfig-language.rst of the
//! kernel. Of it are read: symbols with their prompts, `depends on`, `select` and
//! `imply`; the conditions of `if`, `menu` and `choice` around them; and `source`.
//! Macros (`$(cc-option,…)`) are not run: they count as true, and are named when
//! nothing else explains the loss.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Audited, FinalConfig, Value};
use crate::base::input;
use crate::base::suggest::nearest;
use crate::model::arch::Arch;

/// All symbols of a source tree, without `CONFIG_`.
#[derive(Debug, Default)]
pub struct Tree {
    symbols: BTreeMap<String, Symbol>,
    /// How many choices there are so far: their numbers tell them apart.
    choices: usize,
}

#[derive(Debug, Default)]
struct Symbol {
    definitions: Vec<Definition>,
    /// What selects or implies it.
    selected_by: Vec<String>,
}

/// A symbol may be defined in several places.
#[derive(Debug, Default)]
struct Definition {
    file: String,
    line: usize,
    /// Its own and those of everything around it.
    conditions: Vec<Expression>,
    /// Whether it has a prompt, so that a file can set it.
    prompt: bool,
    /// The choice that it is one of.
    choice: Option<usize>,
}

/// Why an option could not be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No Kconfig file defines it; the most similar name.
    Unknown(Option<String>),
    /// It cannot be set by itself, only by these.
    NotSettable(Vec<String>),
    /// Conditions that do not hold, in words, of the definition at `file:line`.
    Conditions(String, String),
    /// This other option of the same choice is set.
    Choice(String),
    /// It was to be off, and these turn it on.
    Selected(Vec<String>),
    /// All conditions that can be looked at hold; these macros depend on the tools.
    Tools(Vec<String>),
    /// All conditions hold.
    Nothing,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(None) => f.write_str("no Kconfig file of this source has it"),
            Self::Unknown(Some(name)) => write!(
                f,
                "no Kconfig file of this source has it; did you mean {name}?"
            ),
            Self::NotSettable(by) if by.is_empty() => {
                f.write_str("it cannot be set by itself, and nothing selects it")
            }
            Self::NotSettable(by) => {
                write!(f, "it cannot be set by itself, only by {}", some(by))
            }
            Self::Conditions(what, place) => write!(f, "{what} ({place})"),
            Self::Choice(other) => write!(f, "{other} is set, which excludes it"),
            Self::Selected(by) => write!(f, "selected by {}", some(by)),
            Self::Tools(macros) => {
                write!(f, "it depends on the tools of this host: {}", some(macros))
            }
            Self::Nothing => f.write_str("no dependency is missing"),
        }
    }
}

/// The first few of a list.
fn some(names: &[String]) -> String {
    const MOST: usize = 5;
    match names.get(MOST..) {
        Some(rest) if !rest.is_empty() => {
            format!("{} and {} more", names[..MOST].join(", "), rest.len())
        }
        _ => names.join(", "),
    }
}

/// One line for each lost option of an audit: the option, where it stands, what it
/// is instead, and why. `source` is the kernel's source tree.
///
/// # Errors
///
/// The top-level Kconfig file cannot be read.
pub fn explain<'a>(
    lost: impl Iterator<Item = &'a Audited<'a>>,
    source: &Path,
    arch: &Arch,
    final_config: &FinalConfig,
) -> Result<Vec<String>> {
    let mut lost = lost.peekable();
    if lost.peek().is_none() {
        return Ok(Vec::new());
    }
    let tree = Tree::load(source, arch)?;
    let lines = lost.map(|lost| {
        let missing = tree.missing(lost.name, &lost.wanted.value, final_config);
        format!("{lost}: {missing}")
    });
    Ok(lines.collect())
}

/// Why `option` (with `CONFIG_`) is not `value` in the final configuration of the
/// kernel in `source`. For several options, [`explain`] reads the tree once.
///
/// # Errors
///
/// The top-level Kconfig file cannot be read.
pub fn missing_dependency(
    source: &Path,
    arch: &Arch,
    option: &str,
    value: &Value,
    final_config: &FinalConfig,
) -> Result<Missing> {
    Ok(Tree::load(source, arch)?.missing(option, value, final_config))
}

impl Tree {
    /// Reads the Kconfig files of a source tree, from the top.
    ///
    /// # Errors
    ///
    /// The top-level file cannot be read. Others may be missing: some are
    /// generated, and some archives leave out what an architecture does not need.
    pub fn load(source: &Path, arch: &Arch) -> Result<Self> {
        let top = source.join("Kconfig");
        std::fs::metadata(&top).with_context(|| format!("cannot read {}", top.display()))?;
        Ok(Self::parse(arch.source, &mut |path| {
            // Kconfig files are UTF-8 but for a few old ones with Latin-1 names in comments.
            let bytes = input::bytes(&source.join(path), input::TEXT).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }))
    }

    /// Reads the file `Kconfig` and those it includes through `read`, which gets
    /// paths relative to the top. `arch` is what `$(SRCARCH)` stands for.
    pub fn parse(arch: &str, read: &mut dyn FnMut(&str) -> Option<String>) -> Self {
        let mut parser = Parser {
            tree: Self::default(),
            arch,
            read,
            blocks: Vec::new(),
            depth: 0,
        };
        parser.file("Kconfig");
        parser.tree
    }

    /// Why `option` (with `CONFIG_`) is not `value`.
    pub fn missing(&self, option: &str, value: &Value, config: &FinalConfig) -> Missing {
        let name = option.strip_prefix("CONFIG_").unwrap_or(option);
        let Some(symbol) = self.symbols.get(name).filter(|s| !s.definitions.is_empty()) else {
            let known = self.symbols.keys().map(String::as_str);
            let close = nearest(name, known).map(|name| format!("CONFIG_{name}"));
            return Missing::Unknown(close);
        };
        let selectors = |only_set: bool| {
            let names = symbol.selected_by.iter();
            let mut names = names
                .map(|name| format!("CONFIG_{name}"))
                .filter(|name| !only_set || *config.get(name) != Value::No)
                .collect::<Vec<_>>();
            names.sort();
            names.dedup();
            names
        };
        let selected = || match selectors(true) {
            by if by.is_empty() => Missing::Nothing,
            by => Missing::Selected(by),
        };
        let needed = match value {
            Value::No => return selected(),
            Value::Module => Tristate::Module,
            _ => Tristate::Yes,
        };
        // `m` was wanted, `y` was got: something built in selects it.
        if *value == Value::Module && *config.get(option) == Value::Yes {
            return selected();
        }
        let settable = symbol.definitions.iter().filter(|d| d.prompt);
        let mut unmet = Vec::new();
        let mut macros = Vec::new();
        for definition in settable.clone() {
            let words = definition
                .conditions
                .iter()
                .filter_map(|condition| condition.unmet(needed, config))
                .collect::<Vec<_>>();
            if words.is_empty() {
                for condition in &definition.conditions {
                    condition.macros(&mut macros);
                }
                if let Some(other) = self.chosen(definition.choice, name, config) {
                    return Missing::Choice(format!("CONFIG_{other}"));
                }
            } else {
                unmet.push((words.join(", "), definition));
            }
        }
        let definitions = settable.count();
        match unmet.first() {
            _ if definitions == 0 => Missing::NotSettable(selectors(false)),
            // Only if no definition could have set it.
            Some((words, definition)) if unmet.len() == definitions => Missing::Conditions(
                words.clone(),
                format!("{}:{}", definition.file, definition.line),
            ),
            _ if macros.is_empty() => Missing::Nothing,
            _ => Missing::Tools(macros),
        }
    }

    /// The symbol of a choice that is set, if it is not `name`.
    fn chosen(&self, choice: Option<usize>, name: &str, config: &FinalConfig) -> Option<&str> {
        let choice = choice?;
        let mut members = self.symbols.iter().filter(|(_, symbol)| {
            symbol
                .definitions
                .iter()
                .any(|definition| definition.choice == Some(choice))
        });
        members
            .find(|(other, _)| {
                *other != name && *config.get(&format!("CONFIG_{other}")) == Value::Yes
            })
            .map(|(other, _)| other.as_str())
    }
}

/// A value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tristate {
    No,
    Module,
    Yes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Symbol(String),
    /// Quoted text.
    Constant(String),
    /// `$(…)`.
    Macro(String),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Compare(Box<Expression>, String, Box<Expression>),
}

impl Expression {
    fn value(&self, config: &FinalConfig) -> Tristate {
        match self {
            Self::Symbol(name) | Self::Constant(name) if name == "y" => Tristate::Yes,
            Self::Symbol(name) | Self::Constant(name) if name == "m" => Tristate::Module,
            Self::Symbol(name) => match config.get(&format!("CONFIG_{name}")) {
                Value::Yes => Tristate::Yes,
                Value::Module => Tristate::Module,
                _ => Tristate::No,
            },
            Self::Constant(_) => Tristate::No,
            Self::Macro(_) => Tristate::Yes,
            Self::Not(inner) => match inner.value(config) {
                // Not known either way.
                _ if inner.has_macro() => Tristate::Yes,
                Tristate::No => Tristate::Yes,
                Tristate::Module => Tristate::Module,
                Tristate::Yes => Tristate::No,
            },
            Self::And(a, b) => a.value(config).min(b.value(config)),
            Self::Or(a, b) => a.value(config).max(b.value(config)),
            Self::Compare(a, operator, b) => {
                if self.has_macro() || compare(&a.text(config), operator, &b.text(config)) {
                    Tristate::Yes
                } else {
                    Tristate::No
                }
            }
        }
    }

    /// The value as text, for comparisons.
    fn text(&self, config: &FinalConfig) -> String {
        match self {
            Self::Symbol(name) if ["y", "m", "n"].contains(&name.as_str()) => name.clone(),
            // A number stands in an expression like a symbol.
            Self::Symbol(name) if super::number(name).is_some() => name.clone(),
            Self::Symbol(name) => match config.get(&format!("CONFIG_{name}")) {
                Value::Text(text) => text.clone(),
                value => value.to_string(),
            },
            Self::Constant(text) => text.clone(),
            other => match other.value(config) {
                Tristate::Yes => "y".to_owned(),
                Tristate::Module => "m".to_owned(),
                Tristate::No => "n".to_owned(),
            },
        }
    }

    fn has_macro(&self) -> bool {
        let mut macros = Vec::new();
        self.macros(&mut macros);
        !macros.is_empty()
    }

    fn macros(&self, found: &mut Vec<String>) {
        match self {
            Self::Symbol(_) | Self::Constant(_) => {}
            Self::Macro(text) => found.push(text.clone()),
            Self::Not(inner) => inner.macros(found),
            Self::And(a, b) | Self::Or(a, b) | Self::Compare(a, _, b) => {
                a.macros(found);
                b.macros(found);
            }
        }
    }

    /// What keeps the condition below `needed`, in words; `None` if nothing does.
    fn unmet(&self, needed: Tristate, config: &FinalConfig) -> Option<String> {
        let value = self.value(config);
        if value >= needed {
            return None;
        }
        Some(match self {
            Self::Symbol(_) | Self::Constant(_) | Self::Macro(_) => {
                let state = if value == Tristate::Module {
                    "is m"
                } else {
                    "is not set"
                };
                format!("{self} {state}")
            }
            Self::Not(inner) => format!("{inner} is set"),
            Self::And(a, b) => [a, b]
                .into_iter()
                .filter_map(|side| side.unmet(needed, config))
                .collect::<Vec<_>>()
                .join(", "),
            Self::Or(a, b) => {
                let sides = [a, b].map(|side| side.unmet(needed, config).unwrap_or_default());
                format!("{} or {}", sides[0], sides[1])
            }
            Self::Compare(a, ..) => format!("{self} does not hold ({a} is {})", a.text(config)),
        })
    }
}

fn compare(a: &str, operator: &str, b: &str) -> bool {
    let order = match (super::number(a), super::number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    };
    match operator {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(name)
                if super::number(name).is_some() || ["y", "m", "n"].contains(&name.as_str()) =>
            {
                f.write_str(name)
            }
            Self::Symbol(name) => write!(f, "CONFIG_{name}"),
            Self::Constant(text) => write!(f, "\"{text}\""),
            Self::Macro(text) => f.write_str(text),
            Self::Not(inner) => write!(f, "!{inner}"),
            Self::And(a, b) => write!(f, "({a} && {b})"),
            Self::Or(a, b) => write!(f, "({a} || {b})"),
            Self::Compare(a, operator, b) => write!(f, "{a}{operator}{b}"),
        }
    }
}

/// Splits an expression into words and operators.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => break,
            '"' | '\'' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            '$' => macro_length(rest),
            '(' | ')' => 1,
            '!' if rest.starts_with("!=") => 2,
            '!' => 1,
            '<' | '>' if rest[1..].starts_with('=') => 2,
            '<' | '>' | '=' => 1,
            '&' if rest.starts_with("&&") => 2,
            '|' if rest.starts_with("||") => 2,
            _ => rest
                .find(|c: char| !(c.is_alphanumeric() || "_-./".contains(c)))
                .map_or(rest.len(), |end| end.max(first.len_utf8())),
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The length of `$(…)` with what is nested in it, or of `$NAME`.
fn macro_length(text: &str) -> usize {
    if !text.starts_with("$(") {
        let end = text[1..].find(|c: char| !(c.is_alphanumeric() || c == '_'));
        return end.map_or(text.len(), |end| end + 1);
    }
    let mut depth = 0;
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Parses an expression; `None` if it is not one.
fn expression(text: &str) -> Option<Expression> {
    let tokens = tokens(text);
    let mut parser = ExpressionParser {
        tokens: &tokens,
        position: 0,
    };
    let parsed = parser.or()?;
    (parser.position == tokens.len()).then_some(parsed)
}

struct ExpressionParser<'a> {
    tokens: &'a [String],
    position: usize,
}

impl ExpressionParser<'_> {
    fn accept(&mut self, expected: &str) -> bool {
        let found = self
            .tokens
            .get(self.position)
            .is_some_and(|t| t == expected);
        self.position += usize::from(found);
        found
    }

    fn or(&mut self) -> Option<Expression> {
        let mut left = self.and()?;
        while self.accept("||") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expression> {
        let mut left = self.unary()?;
        while self.accept("&&") {
            left = Expression::And(Box::new(left), Box::new(self.unary()?));
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<Expression> {
        if self.accept("!") {
            return Some(Expression::Not(Box::new(self.unary()?)));
        }
        if self.accept("(") {
            let inner = self.or()?;
            return self.accept(")").then_some(inner);
        }
        let left = self.operand()?;
        for operator in ["=", "!=", "<=", ">=", "<", ">"] {
            if self.accept(operator) {
                let right = self.operand()?;
                let operator = operator.to_owned();
                return Some(Expression::Compare(
                    Box::new(left),
                    operator,
                    Box::new(right),
                ));
            }
        }
        Some(left)
    }

    fn operand(&mut self) -> Option<Expression> {
        let token = self.tokens.get(self.position)?;
        self.position += 1;
        let first = token.chars().next()?;
        Some(match first {
            '"' | '\'' => Expression::Constant(token.trim_matches(first).to_owned()),
            '$' => Expression::Macro(token.clone()),
            c if c.is_alphanumeric() || c == '_' || c == '-' => Expression::Symbol(token.clone()),
            _ => return None,
        })
    }
}

/// What `if`, `menu` or `choice` puts around the symbols in it.
#[derive(Debug, Default)]
struct Block {
    conditions: Vec<Expression>,
    choice: Option<usize>,
}

/// What the attributes that follow belong to.
enum Target {
    Nothing,
    /// The last definition of this symbol.
    Symbol(String),
    /// The innermost block.
    Block,
}

struct Parser<'a> {
    tree: Tree,
    arch: &'a str,
    read: &'a mut dyn FnMut(&str) -> Option<String>,
    blocks: Vec<Block>,
    /// How many files deep: a file that includes itself must not run for ever.
    depth: usize,
}

impl Parser<'_> {
    fn file(&mut self, path: &str) {
        const DEEPEST: usize = 64;
        let Some(text) = (self.read)(path).filter(|_| self.depth < DEEPEST) else {
            return;
        };
        self.depth += 1;
        let outer_blocks = self.blocks.len();
        let mut target = Target::Nothing;
        let mut lines = text.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let mut line = line.to_owned();
            while line.ends_with('\\')
                && let Some((_, next)) = lines.next()
            {
                line.pop();
                line.push_str(next);
            }
            let (word, rest) = split_word(line.trim());
            if word == "help" || word == "---help---" {
                skip_help(&mut lines);
                continue;
            }
            self.line(word, rest, path, index + 1, &mut target);
        }
        // A file that does not close what it opened must not change the others.
        self.blocks.truncate(outer_blocks);
        self.depth -= 1;
    }

    fn line(&mut self, word: &str, rest: &str, path: &str, line: usize, target: &mut Target) {
        match word {
            "config" | "menuconfig" => {
                let name = split_word(rest).0.to_owned();
                let around = self
                    .blocks
                    .iter()
                    .flat_map(|b| b.conditions.iter().cloned());
                let definition = Definition {
                    file: path.to_owned(),
                    line,
                    conditions: around.collect(),
                    prompt: false,
                    choice: self.blocks.iter().rev().find_map(|block| block.choice),
                };
                let symbol = self.tree.symbols.entry(name.clone()).or_default();
                symbol.definitions.push(definition);
                *target = Target::Symbol(name);
            }
            "if" => {
                self.blocks.push(Block {
                    conditions: expression(rest).into_iter().collect(),
                    choice: None,
                });
                *target = Target::Nothing;
            }
            "menu" | "choice" => {
                let choice = (word == "choice").then(|| {
                    self.tree.choices += 1;
                    self.tree.choices
                });
                self.blocks.push(Block {
                    conditions: Vec::new(),
                    choice,
                });
                *target = Target::Block;
            }
            "endif" | "endmenu" | "endchoice" => {
                self.blocks.pop();
                *target = Target::Nothing;
            }
            "comment" | "mainmenu" => *target = Target::Nothing,
            "source" => {
                let name = rest.trim_matches(['"', '\'']);
                let name = name
                    .replace("$(SRCARCH)", self.arch)
                    .replace("$SRCARCH", self.arch);
                self.file(&name);
                *target = Target::Nothing;
            }
            "depends" => {
                let condition = rest.strip_prefix("on").unwrap_or(rest);
                // `depends on A if B` (since 6.19) asks for A only where B holds.
                let (condition, only_if) = split_if(condition);
                let condition = match (expression(condition), only_if.map(expression)) {
                    (Some(condition), None) => condition,
                    (Some(condition), Some(Some(only_if))) => Expression::Or(
                        Box::new(condition),
                        Box::new(Expression::Not(Box::new(only_if))),
                    ),
                    _ => return,
                };
                self.condition(target, condition);
            }
            "visible" => {
                if let Some(condition) = split_if(rest).1.and_then(expression) {
                    self.condition(target, condition);
                }
            }
            "bool" | "tristate" | "string" | "int" | "hex" | "prompt" => {
                if !rest.starts_with(['"', '\'']) {
                    return;
                }
                let (_, only_if) = split_if(after_string(rest));
                if let Target::Symbol(name) = &*target
                    && let Some(definition) = self.last_definition(name)
                {
                    definition.prompt = true;
                }
                if let Some(condition) = only_if.and_then(expression) {
                    self.condition(target, condition);
                }
            }
            "select" | "imply" => {
                if let Target::Symbol(by) = &*target {
                    let selected = split_word(rest).0.to_owned();
                    let symbol = self.tree.symbols.entry(selected).or_default();
                    symbol.selected_by.push(by.clone());
                }
            }
            _ => {}
        }
    }

    fn last_definition(&mut self, name: &str) -> Option<&mut Definition> {
        self.tree.symbols.get_mut(name)?.definitions.last_mut()
    }

    fn condition(&mut self, target: &Target, condition: Expression) {
        match target {
            Target::Nothing => {}
            Target::Block => {
                if let Some(block) = self.blocks.last_mut() {
                    block.conditions.push(condition);
                }
            }
            Target::Symbol(name) => {
                if let Some(definition) = self.last_definition(name) {
                    definition.conditions.push(condition);
                }
            }
        }
    }
}

fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// What stands behind the string that `text` begins with.
fn after_string(text: &str) -> &str {
    let quote = text.chars().next().unwrap_or('"');
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return &text[index + 1..],
            _ => {}
        }
    }
    ""
}

/// Splits at the word `if`.
fn split_if(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("if")
        && rest.starts_with([' ', '\t', '('])
    {
        return ("", Some(rest));
    }
    match text.split_once(" if ") {
        Some((before, condition)) => (before, Some(condition)),
        None => (text, None),
    }
}

/// Passes over a help text: it ends at the first line that is indented less than
/// its first one.
fn skip_help<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = (usize, &'a str)>>) {
    const TAB: usize = 8;
    let indentation = |line: &str| {
        line.chars()
            .take_while(|c| c.is_whitespace())
            .fold(0, |column, c| match c {
                '\t' => (column / TAB + 1) * TAB,
                _ => column + 1,
            })
    };
    let mut first = None;
    while let Some((_, line)) = lines.peek() {
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
    use crate::model::arch;

    const TOP: &str = r#"
mainmenu "Linux"
source "arch/$(SRCARCH)/Kconfig"
source "missing/Kconfig"
source "drivers/Kconfig"
config LATER
	bool "After a file that leaves a block open"
"#;
    const ARCH: &str = r#"
config X86
	def_bool y
	select SELECTED if EXPERT
config KEXEC_FILE
	bool "kexec file based system call"
	depends on X86 && CRYPTO=y
	depends on CRYPTO_SHA256=y
	help
	  Some text. It mentions
	  config NOT_A_SYMBOL
	    bool "no"

	  depends on NOTHING
config TOOLS
	bool "Tools"
	depends on $(cc-option,-mfoo(bar)) && X86
config SELECTED
	bool
config LONELY
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
config VERSIONED
	bool 'With "if" in it if' if GCC_VERSION >= 120000
config CONDITIONAL
	bool "Conditional"
	depends on ACPI if X86
endmenu
endif # NET
config MII
	tristate "MII"
choice
	prompt "Compression"
	default GZIP
config GZIP
	bool "gzip"
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

    fn tree() -> Tree {
        let mut asked = Vec::new();
        let tree = Tree::parse("x86", &mut |path| {
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
        tree
    }

    fn check(option: &str, value: &str, config: &str, expected: Expect) {
        let value = Value::parse(value).unwrap();
        let config = config.replace(' ', "\n");
        let config = FinalConfig::parse(&config);
        expected.assert_eq(&tree().missing(option, &value, &config).to_string());
    }

    #[test]
    fn the_missing_dependency_is_named() {
        check(
            "CONFIG_KEXEC_FILE",
            "y",
            "CONFIG_X86=y CONFIG_CRYPTO=y",
            expect![
                "CONFIG_CRYPTO_SHA256=y does not hold (CONFIG_CRYPTO_SHA256 is n) (arch/x86/Kconfig:5)"
            ],
        );
        check(
            "CONFIG_KEXEC_FILE",
            "y",
            "CONFIG_CRYPTO=m",
            expect![
                "CONFIG_X86 is not set, CONFIG_CRYPTO=y does not hold (CONFIG_CRYPTO is m), CONFIG_CRYPTO_SHA256=y does not hold (CONFIG_CRYPTO_SHA256 is n) (arch/x86/Kconfig:5)"
            ],
        );
        check(
            "CONFIG_DUMMY",
            "m",
            "CONFIG_EMBEDDED=y CONFIG_EXPERT=y",
            expect![
                "CONFIG_NET is not set, CONFIG_PCI is not set or CONFIG_USB is not set, CONFIG_EMBEDDED is set, CONFIG_HAS_IOMEM is not set (drivers/Kconfig:9)"
            ],
        );
        check(
            "CONFIG_DUMMY",
            "y",
            "CONFIG_NET=y CONFIG_EXPERT=y CONFIG_USB=m CONFIG_HAS_IOMEM=y",
            expect!["CONFIG_PCI is not set or CONFIG_USB is m (drivers/Kconfig:9)"],
        );
        check(
            "CONFIG_VERSIONED",
            "y",
            "CONFIG_NET=y CONFIG_PCI=y CONFIG_EXPERT=y CONFIG_GCC_VERSION=90000",
            expect![
                "CONFIG_GCC_VERSION>=120000 does not hold (CONFIG_GCC_VERSION is 90000) (drivers/Kconfig:13)"
            ],
        );
        check(
            "CONFIG_CONDITIONAL",
            "y",
            "CONFIG_NET=y CONFIG_PCI=y CONFIG_EXPERT=y CONFIG_X86=y",
            expect!["CONFIG_ACPI is not set or CONFIG_X86 is set (drivers/Kconfig:15)"],
        );
    }

    #[test]
    fn dependencies_that_are_met_are_not_named() {
        for config in [
            "CONFIG_NET=y CONFIG_USB=m CONFIG_EXPERT=y CONFIG_HAS_IOMEM=y",
            "CONFIG_NET=y CONFIG_PCI=y CONFIG_EXPERT=y CONFIG_HAS_IOMEM=y",
        ] {
            check(
                "CONFIG_DUMMY",
                "m",
                config,
                expect!["no dependency is missing"],
            );
        }
        check("CONFIG_LATER", "y", "", expect!["no dependency is missing"]);
        check(
            "CONFIG_TWICE",
            "y",
            "CONFIG_B=y",
            expect!["no dependency is missing"],
        );
        check(
            "CONFIG_TWICE",
            "y",
            "",
            expect!["CONFIG_A is not set (drivers/Kconfig:31)"],
        );
        check(
            "CONFIG_CONDITIONAL",
            "y",
            "CONFIG_NET=y CONFIG_PCI=y CONFIG_EXPERT=y",
            expect!["no dependency is missing"],
        );
    }

    #[test]
    fn other_reasons() {
        check(
            "CONFIG_KEXEC_FIEL",
            "y",
            "",
            expect!["no Kconfig file of this source has it; did you mean CONFIG_KEXEC_FILE?"],
        );
        check(
            "CONFIG_NOT_A_SYMBOL",
            "y",
            "",
            expect!["no Kconfig file of this source has it"],
        );
        check(
            "CONFIG_SELECTED",
            "y",
            "",
            expect!["it cannot be set by itself, only by CONFIG_X86"],
        );
        check(
            "CONFIG_LONELY",
            "y",
            "",
            expect!["it cannot be set by itself, and nothing selects it"],
        );
        check(
            "CONFIG_LZ4",
            "y",
            "CONFIG_GZIP=y CONFIG_HAVE_LZ4=y",
            expect!["CONFIG_GZIP is set, which excludes it"],
        );
        check(
            "CONFIG_LZ4",
            "y",
            "CONFIG_GZIP=y",
            expect!["CONFIG_HAVE_LZ4 is not set (drivers/Kconfig:27)"],
        );
        check(
            "CONFIG_MII",
            "n",
            "CONFIG_DUMMY=m CONFIG_MII=m",
            expect!["selected by CONFIG_DUMMY"],
        );
        check(
            "CONFIG_MII",
            "m",
            "CONFIG_DUMMY=y CONFIG_MII=y",
            expect!["selected by CONFIG_DUMMY"],
        );
        check(
            "CONFIG_TOOLS",
            "y",
            "CONFIG_X86=y",
            expect!["it depends on the tools of this host: $(cc-option,-mfoo(bar))"],
        );
    }

    #[test]
    fn expressions() {
        let text = |text: &str| expression(text).map(|e| e.to_string());
        assert_eq!(
            text("A && B || !C").as_deref(),
            Some("((CONFIG_A && CONFIG_B) || !CONFIG_C)")
        );
        assert_eq!(
            text("A&&(B||C) # note").as_deref(),
            Some("(CONFIG_A && (CONFIG_B || CONFIG_C))")
        );
        assert_eq!(text("A!=\"x y\"").as_deref(), Some("CONFIG_A!=\"x y\""));
        assert_eq!(text("A = y").as_deref(), Some("CONFIG_A=y"));
        for wrong in ["", "A &&", "(A", "A B", "&& A", "A = ", "é&"] {
            assert_eq!(text(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let tree = Tree::parse("x86", &mut |_| {
            Some("source \"Kconfig\"\nconfig A\n".to_owned())
        });
        assert!(tree.symbols.contains_key("A"));
    }

    #[test]
    fn a_source_without_kconfig_is_an_error() {
        let error = Tree::load(Path::new("/nonexistent"), arch::find("x86_64").unwrap());
        assert_eq!(
            error.unwrap_err().to_string(),
            "cannot read /nonexistent/Kconfig"
        );
    }
}
