//! Text in columns.

use crate::base::shown;

/// A line per row, two blanks between columns; the cells of the columns in `right`, which are
/// numbers, end below each other. A cell is one line of safe text, whatever is in it.
pub fn columns(rows: &[impl AsRef<[String]>], right: &[usize]) -> String {
    painted(rows, right, |_, _, cell| cell)
}

/// The same, with `paint` told the row, the column and the cell with its blanks: colours have no
/// width.
pub fn painted(
    rows: &[impl AsRef<[String]>],
    right: &[usize],
    paint: impl Fn(usize, usize, String) -> String,
) -> String {
    let rows = rows
        .iter()
        .map(|row| row.as_ref().iter().map(|cell| shown::line(cell)).collect())
        .collect::<Vec<Vec<_>>>();
    let mut widths = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let cell = match right.contains(&column) {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
            line += &paint(number, column, cell);
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let rows = [
            &["kernel", "size", "place"][..],
            &["6.1", "1,024 MB", ""],
            &["läng\ner", "2 MB", "a b"],
            &["short"],
        ];
        let rows = rows.map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>());
        expect_test::expect![[r#"
            kernel       size  place
            6.1      1,024 MB
            läng�er      2 MB  a b
            short
        "#]]
        .assert_eq(&columns(&rows, &[1]));
        let text = painted(&rows, &[1], |row, column, cell| match (row, column) {
            (1, 0) => format!("<{cell}>"),
            _ => cell,
        });
        assert!(text.contains("\n<6.1      >1,024 MB\n"), "{text}");
    }
}
