//! Tables without borders: columns as wide as their content, two spaces between them.

use comfy_table::{ContentArrangement, Row, Table, presets};

use crate::cli::human::clean;

/// The lines of a table: the header first, then one line for each row, in order.
pub(super) fn lines<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows.iter().map(|row| Row::from(row.iter().map(|cell| clean(cell)))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content_and_a_cell_stays_on_its_line() {
        let rows =
            [["a".into(), "long\ncell".into(), "x".into()], ["bb".into(), "".into(), "".into()]];
        assert_eq!(
            lines(["N", "CELL", "L"], &rows),
            ["N   CELL       L", "a   long cell  x", "bb"]
        );
        assert_eq!(lines(["N"], &[]), ["N"]);
    }
}
