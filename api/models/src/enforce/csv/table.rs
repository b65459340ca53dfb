//! A CSV file as columns of texts, cut as pandas' reader cuts it.
//!
//! ```text
//! header   a,b,a,       ->  names   a, b, a.1, "Unnamed: 3"
//! row 0    x,y,1,2,3,4  ->  labels  x, y     two fields more than the header: each row begins with two labels
//! row 1    x,z,1        ->  cells   1, "", "", ""                             short rows are filled
//! row 2    seven fields ->  refused
//! ```
//! - Lines end with `\n`, `\r` or both. Empty lines are none, and so are lines of spaces and tabs; a BOM is dropped.
//! - A quote opens a field only at its begin. Behind the closing quote a field goes on without quotes: `"a"b` is `ab`.
//! - A quote that is never closed is an error, and no field of the rest of the file.

use std::collections::HashMap;

use crate::enforce::frame::Filled;

/// The fields of a file by column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) names: Vec<Name>,
    pub(super) columns: Vec<Vec<String>>,
    /// Labels of the rows, each level from top to bottom; none if rows have none.
    pub(super) labels: Vec<Vec<String>>,
    pub(super) rows_count: usize,
}

/// The name of a column: none twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) unique: String,
    /// The name in the header, if `unique` had to be made different from it.
    pub(super) repeats: Option<String>,
}

impl Table {
    /// Cuts a file.
    ///
    /// # Errors
    /// Why it is no table, for a user.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut lines = Lines { rest: text.strip_prefix('\u{feff}').unwrap_or(text) };
        let mut fields = Vec::new();
        if !lines.read(&mut fields)? {
            return Err("it has no columns".to_owned());
        }
        let names = unique_names(std::mem::take(&mut fields));
        let width = names.len();
        let mut table = Self { columns: vec![Vec::new(); width], names, labels: Vec::new(), rows_count: 0 };
        let mut filled = Filled::default();
        while lines.read(&mut fields)? {
            if table.rows_count == 0 {
                table.labels = vec![Vec::new(); fields.len().saturating_sub(width)];
            }
            let row_width = table.labels.len() + width;
            if fields.len() > row_width {
                let (found, row) = (fields.len(), table.rows_count);
                return Err(format!("row {row} has {found} fields, but there are {row_width} columns"));
            }
            filled.add(row_width - fields.len()).map_err(|fault| fault.reason)?;
            let mut fields = fields.drain(..);
            for column in table.labels.iter_mut().chain(&mut table.columns) {
                column.push(fields.next().unwrap_or_default());
            }
            table.rows_count += 1;
        }
        Ok(table)
    }
}

/// The lines of a file that are not read yet.
struct Lines<'t> {
    rest: &'t str,
}

impl Lines<'_> {
    /// Reads the fields of the next line; false at the end of the file.
    fn read(&mut self, fields: &mut Vec<String>) -> Result<bool, String> {
        fields.clear();
        loop {
            let blank = self.rest.trim_start_matches([' ', '\t']);
            match blank.chars().next() {
                None => return Ok(false),
                Some('\n' | '\r') => self.rest = &blank[1..],
                Some(_) => break,
            }
        }
        loop {
            fields.push(self.field()?);
            let mut letters = self.rest.chars();
            match letters.next() {
                Some(',') => self.rest = letters.as_str(),
                Some('\r') => {
                    let rest = letters.as_str();
                    self.rest = rest.strip_prefix('\n').unwrap_or(rest);
                    return Ok(true);
                }
                Some(_) => {
                    self.rest = letters.as_str();
                    return Ok(true);
                }
                None => return Ok(true),
            }
        }
    }

    /// Reads a field, and the comma or the end of the line after it.
    fn field(&mut self) -> Result<String, String> {
        let mut field = String::new();
        if let Some(mut quoted) = self.rest.strip_prefix('"') {
            loop {
                let Some((inside, behind)) = quoted.split_once('"') else {
                    let begin: String = quoted.chars().take(40).collect();
                    return Err(format!("a quote is never closed; it opens before {begin:?}"));
                };
                field.push_str(inside);
                match behind.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        quoted = more;
                    }
                    None => {
                        self.rest = behind;
                        break;
                    }
                }
            }
        }
        let end = self.rest.find([',', '\n', '\r']).unwrap_or(self.rest.len());
        field.push_str(&self.rest[..end]);
        self.rest = &self.rest[end..];
        Ok(field)
    }
}

/// `a`, `a.1` for a repeated name, `Unnamed: 0` for an empty one. A name that the header has somewhere is given to no
/// other column, and names that are given come before those that are made.
fn unique_names(header: Vec<String>) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::with_capacity(header.len());
    // Columns that have a name, and how often each name was met.
    let (mut held, mut met): (HashMap<String, usize>, HashMap<String, usize>) = (HashMap::new(), HashMap::new());
    let (mut order, mut unnamed) = (Vec::with_capacity(header.len()), Vec::new());
    for (at, name) in header.into_iter().enumerate() {
        if name.is_empty() {
            unnamed.push(at)
        } else {
            order.push(at)
        }
        let unique = if name.is_empty() { format!("Unnamed: {at}") } else { name };
        *held.entry(unique.clone()).or_default() += 1;
        names.push(Name { unique, repeats: None });
    }
    order.append(&mut unnamed);
    for at in order {
        let old = names[at].unique.clone();
        let mut repeat = met.get(&old).copied().unwrap_or_default();
        let mut unique = old.clone();
        while repeat > 0 {
            met.insert(old.clone(), repeat + 1);
            unique = format!("{old}.{repeat}");
            let is_held = held.get(&unique).is_some_and(|count| *count > 0);
            repeat = if is_held { repeat + 1 } else { met.get(&unique).copied().unwrap_or_default() };
        }
        met.insert(unique.clone(), 1);
        if unique != old {
            if let Some(count) = held.get_mut(&old) {
                *count -= 1;
            }
            *held.entry(unique.clone()).or_default() += 1;
            names[at] = Name { unique, repeats: Some(old) };
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(header: &str) -> Vec<String> {
        Table::read(header).unwrap().names.into_iter().map(|name| name.unique).collect()
    }

    #[test]
    fn names_are_made_as_by_pandas() {
        assert_eq!(names("a,b,a,"), ["a", "b", "a.1", "Unnamed: 3"]);
        assert_eq!(names("a,a,a.1"), ["a", "a.2", "a.1"]);
        assert_eq!(names("a.1,a,a"), ["a.1", "a", "a.2"]);
        assert_eq!(names(",Unnamed: 0"), ["Unnamed: 0.1", "Unnamed: 0"]);
        assert_eq!(names("a,a,a,a.1,a.1"), ["a", "a.2", "a.3", "a.1", "a.1.1"]);
    }

    #[test]
    fn lines_are_cut_as_by_pandas() {
        let cells = |text: &str| Table::read(text).map(|table| table.columns);
        let column = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect::<Vec<_>>();
        assert_eq!(cells("a\n1\n\n \t\n2\r3\r\n4").unwrap(), [column(&["1", "2", "3", "4"])]);
        assert_eq!(
            cells("a,b\n\"x\"\"y\"z, \"q\"\n\"\",\n").unwrap(),
            [column(&["x\"yz", ""]), column(&[" \"q\"", ""])]
        );
        assert_eq!(cells("a\n\"1\n2\"").unwrap(), [column(&["1\n2"])]);
        assert_eq!(cells("\u{feff}\"a\"\n1").unwrap(), [column(&["1"])]);
        assert_eq!(cells("a,b\n1\n").unwrap(), [column(&["1"]), column(&[""])]);
        for bad in ["", "\n \n", "a\n\"1", "a,b\n1,2\n1,2,3\n"] {
            assert!(cells(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_first_row_says_how_many_labels_rows_have() {
        let table = Table::read("a\nx,y,1\nz\n").unwrap();
        assert_eq!(table.labels, [["x", "z"], ["y", ""]]);
        assert_eq!(table.columns, [["1", ""]]);
    }
}
