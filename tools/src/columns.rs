//! Columns of numbers and texts as a Runlode server gives them: `application/vnd.runlode.columns`.
//!
//! What comes is not trusted: every place is checked before it is read.

use serde_json::Value;

use crate::list::Cell;

const MAGIC: &[u8] = b"RLC1";

/// A table.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// What the header says besides its columns.
    pub(crate) header: Value,
    /// Names and values; in a table all of the same length.
    pub(crate) columns: Vec<(String, Vec<Cell>)>,
    /// The length of the longest.
    pub(crate) rows: usize,
}

impl Columns {
    /// Reads a table. `None`: it is none.
    pub(crate) fn table(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes).filter(|found| found.columns.iter().all(|(_, cells)| cells.len() == found.rows))
    }

    /// Reads an answer, whose columns may differ in length. `None`: it is none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (header, arrays) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let header: Value = serde_json::from_slice(header).ok()?;
        let mut columns = Vec::new();
        for column in header["columns"].as_array()? {
            let rows = usize::try_from(column["rows"].as_u64()?).ok()?;
            // A row has a byte at least.
            if rows > bytes.len() {
                return None;
            }
            columns.push((column["name"].as_str()?.to_owned(), cells(arrays, column, rows)?));
        }
        let rows = columns.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        Some(Self { header, columns, rows })
    }
}

fn place(column: &Value, name: &str) -> Option<usize> {
    usize::try_from(column[name].as_u64()?).ok()
}

/// `count` numbers of `N` bytes each.
fn array<const N: usize>(arrays: &[u8], at: usize, count: usize) -> Option<&[[u8; N]]> {
    let bytes = arrays.get(at..at.checked_add(count.checked_mul(N)?)?)?;
    Some(bytes.as_chunks::<N>().0)
}

fn cells(arrays: &[u8], column: &Value, rows: usize) -> Option<Vec<Cell>> {
    let at = place(column, "at")?;
    let is_time = matches!(column["name"].as_str(), Some("start_time" | "end_time"));
    let mut cells: Vec<Cell> = match column["type"].as_str()? {
        "f64" => array::<8>(arrays, at, rows)?.iter().map(|bytes| Cell::Number(f64::from_le_bytes(*bytes))).collect(),
        "i64" => {
            let cell = |number| if is_time { Cell::Time(number) } else { Cell::Integer(number) };
            array::<8>(arrays, at, rows)?.iter().map(|bytes| cell(i64::from_le_bytes(*bytes))).collect()
        }
        "text" => {
            let text_at = place(column, "text_at")?;
            let text = arrays.get(text_at..text_at.checked_add(place(column, "text_bytes")?)?)?;
            let offsets = array::<4>(arrays, at, rows.checked_add(1)?)?;
            let offset = |bytes: [u8; 4]| usize::try_from(u32::from_le_bytes(bytes)).ok();
            let cell = |ends: &[[u8; 4]]| {
                let part = text.get(offset(*ends.first()?)?..offset(*ends.get(1)?)?)?;
                Some(Cell::Text(std::str::from_utf8(part).ok()?.to_owned()))
            };
            offsets.windows(2).map(cell).collect::<Option<_>>()?
        }
        _ => return None,
    };
    if column.get("present_at").is_some_and(|at| !at.is_null()) {
        let present = array::<1>(arrays, place(column, "present_at")?, rows)?;
        for (cell, [is_there]) in cells.iter_mut().zip(present) {
            if *is_there == 0 {
                *cell = Cell::Nothing;
            }
        }
    }
    Some(cells)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Vec<u8> {
        let mut header = json!({ "total": 2, "columns": [
            { "name": "metrics.loss", "type": "f64", "rows": 2, "at": 0, "present_at": 16 },
            { "name": "start_time", "type": "i64", "rows": 2, "at": 24 },
            { "name": "run_id", "type": "text", "rows": 2, "at": 40, "text_at": 56, "text_bytes": 3 },
        ]})
        .to_string();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let mut bytes = b"RLC1".to_vec();
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header.as_bytes());
        for value in [0.5f64, 0.0] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        for value in [7i64, 8] {
            bytes.extend(value.to_le_bytes());
        }
        for offset in [0u32, 1, 3, 0] {
            bytes.extend(offset.to_le_bytes());
        }
        bytes.extend(b"abc");
        bytes
    }

    #[test]
    fn columns_are_read_and_broken_ones_refused() {
        let bytes = answer();
        let found = Columns::table(&bytes).unwrap();
        assert_eq!((found.rows, &found.header["total"]), (2, &json!(2)));
        assert_eq!(found.columns[0].1, [Cell::Number(0.5), Cell::Nothing]);
        assert_eq!(found.columns[1].1, [Cell::Time(7), Cell::Time(8)]);
        assert_eq!(found.columns[2].1, [Cell::Text("a".into()), Cell::Text("bc".into())]);
        for end in 0..bytes.len() {
            assert!(Columns::table(&bytes[..end]).is_none(), "{end}");
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for (from, to) in
            [("\"rows\":2", "\"rows\":9"), ("\"at\":40", "\"at\":99"), ("\"text_bytes\":3", "\"text_bytes\":8")]
        {
            let at = text.find(from).unwrap();
            let mut broken = bytes.clone();
            broken[at..at + from.len()].copy_from_slice(to.as_bytes());
            assert!(Columns::table(&broken).is_none(), "{to}");
        }
    }
}
