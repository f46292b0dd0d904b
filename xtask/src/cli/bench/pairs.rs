//! Two commands timed against each other, in turn, so that a machine whose speed
//! drifts slows both: only the ratio within a pair counts.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::base::error::Failure;
use crate::base::process::{LongCommand, status_in_words};
use crate::base::ui::Ui;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The shell command under test.
    pub ours: String,
    /// The shell command that it is compared with.
    pub theirs: String,
    /// Pairs that count.
    pub runs: u32,
    /// Pairs before those, which warm caches and do not count.
    pub warm_up: u32,
}

/// Wall times of one pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Of [`Bench::ours`].
    pub ours: Duration,
    /// Of [`Bench::theirs`].
    pub theirs: Duration,
}

/// Runs the pairs. Output of the commands goes to `log`.
///
/// # Errors
///
/// If a command fails: a run that failed early would look fast.
pub fn measure(bench: &Bench, log: &Path, ui: &Ui) -> Result<Vec<Pair>> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let total = bench.warm_up + bench.runs;
    let mut task = ui.task("measuring");
    let mut pairs = Vec::new();
    for number in 0..total {
        task.update(format!("pair {} of {total}", number + 1));
        let pair = Pair {
            ours: time(&bench.ours, &file, log)?,
            theirs: time(&bench.theirs, &file, log)?,
        };
        if number >= bench.warm_up {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

fn time(command: &str, file: &File, log: &Path) -> Result<Duration> {
    let child = LongCommand::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .credentials()
        .log(file)?;
    let start = Instant::now();
    let status = child.spawn()?.wait()?;
    let elapsed = start.elapsed();
    if !status.success() {
        let how = status_in_words(status);
        return Err(Failure::setup(format!("{command} ended with {how}"))
            .hint(format!("its output: {}", log.display()))
            .into());
    }
    Ok(elapsed)
}

/// The result as a table: minimum, median and maximum of each, and of the ratio.
pub fn table(pairs: &[Pair], out: &mut dyn Write) -> std::io::Result<()> {
    let seconds =
        |choose: fn(&Pair) -> Duration| spread(pairs.iter().map(|pair| choose(pair).as_secs_f64()));
    let ratio = spread(
        pairs
            .iter()
            .map(|pair| pair.ours.as_secs_f64() / pair.theirs.as_secs_f64()),
    );
    writeln!(
        out,
        "{:8} {:>9} {:>9} {:>9}",
        "", "minimum", "median", "maximum"
    )?;
    for (name, unit, [minimum, median, maximum]) in [
        ("ours", " s", seconds(|pair| pair.ours)),
        ("theirs", " s", seconds(|pair| pair.theirs)),
        ("ratio", "", ratio),
    ] {
        writeln!(
            out,
            "{name:8} {minimum:>9.3} {median:>9.3} {maximum:>9.3}{unit}"
        )?;
    }
    Ok(())
}

fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    let (Some(&minimum), Some(&maximum)) = (values.first(), values.last()) else {
        return [f64::NAN; 3];
    };
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    [minimum, median, maximum]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_pairs_not_of_medians() {
        let pair = |ours, theirs| Pair {
            ours: Duration::from_secs(ours),
            theirs: Duration::from_secs(theirs),
        };
        let mut out = Vec::new();
        table(&[pair(1, 2), pair(4, 4), pair(9, 10)], &mut out).unwrap();
        expect_test::expect![[r#"
                       minimum    median   maximum
            ours         1.000     4.000     9.000 s
            theirs       2.000     4.000    10.000 s
            ratio        0.500     0.900     1.000
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn an_even_number_has_its_median_between() {
        assert_eq!(spread([1.0, 4.0, 2.0, 3.0].into_iter()), [1.0, 2.5, 4.0]);
        assert!(
            spread(std::iter::empty())
                .iter()
                .all(|value| value.is_nan())
        );
    }
}
