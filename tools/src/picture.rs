//! Draws a downsampled series with braille dots.
//!
//! Every bucket is one column of dots and shows its true extremes: from its first value over its min and max to its
//! last. So a spike of one point in ten million is visible. Buckets without a finite value leave a gap.

use crate::format;
use runlode::engine::{Bucket, Downsampled};

/// Rows of text of a picture.
const ROWS: usize = 15;
/// Columns that the labels of values need.
const LABEL_COLUMNS: u16 = 12;

/// Columns of dots that fit a terminal, two a character; one bucket is requested for each.
pub(crate) fn buckets(terminal_columns: u16) -> usize {
    usize::from(terminal_columns.saturating_sub(LABEL_COLUMNS).clamp(20, 100)) * 2
}

/// Draws a series in at most `buckets` columns of dots; returns lines of text.
pub(crate) fn draw(series: &Downsampled, buckets: usize) -> Vec<String> {
    let finite: Vec<&Bucket> = series.buckets.iter().filter(|bucket| is_finite(bucket)).collect();
    let (Some(first), Some(last)) = (series.buckets.first(), series.buckets.last()) else {
        return vec!["(no points)".to_owned()];
    };
    if finite.is_empty() {
        return vec![format!("({} points, none of them finite)", format::count(series.count))];
    }
    let low = finite.iter().map(|bucket| bucket.summary.min).filter(|v| v.is_finite()).fold(f64::INFINITY, f64::min);
    let high =
        finite.iter().map(|bucket| bucket.summary.max).filter(|v| v.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    // The corners of the picture are the ends of the axes.
    let steps = (first.step_first as f64, last.step_last as f64);
    let mut dots = Dots::new(buckets, ROWS * 4);
    let (right, bottom) = ((dots.width - 1) as f64, (dots.height - 1) as f64);
    let x = |step: i64| {
        let width = steps.1 - steps.0;
        if width > 0.0 { ((step as f64 - steps.0) / width * right).round() as usize } else { 0 }
    };
    // Halved first: the span of two finite numbers may be infinite.
    let y = |value: f64| {
        let span = high / 2.0 - low / 2.0;
        let share = if span > 0.0 { (value.clamp(low, high) / 2.0 - low / 2.0) / span } else { 0.5 };
        ((1.0 - share) * bottom).round() as usize
    };
    let mut before: Option<Dot> = None;
    for bucket in &series.buckets {
        if !is_finite(bucket) {
            before = None;
            continue;
        }
        let (summary, at, end) = (&bucket.summary, x(bucket.step_first), x(bucket.step_last));
        let middle = (at + end) / 2;
        for (at, value) in [(at, summary.first), (middle, summary.min), (middle, summary.max), (end, summary.last)] {
            if value.is_finite() {
                let to = (at, y(value));
                dots.line(before.unwrap_or(to), to);
                before = Some(to);
            }
        }
    }
    label(&dots.rows(), (low, high), (first.step_first, last.step_last), buckets / 2)
}

/// Column and row, from the upper left.
type Dot = (usize, usize);

/// A raster of dots. A character holds eight of them: two columns of four.
struct Dots {
    width: usize,
    height: usize,
    /// The eight dots of each character, as braille numbers them.
    cells: Vec<u8>,
}

impl Dots {
    fn new(width: usize, height: usize) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, cells: vec![0; width.div_ceil(2) * height.div_ceil(4)] }
    }

    /// Sets a dot; dots outside the picture are dropped.
    fn set(&mut self, (x, y): Dot) {
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        if x < self.width && y < self.height {
            self.cells[y / 4 * self.width.div_ceil(2) + x / 2] |= BITS[y % 4][x % 2];
        }
    }

    /// Draws a line between two dots, both included.
    fn line(&mut self, from: Dot, to: Dot) {
        let (columns, rows) = (to.0.abs_diff(from.0), to.1.abs_diff(from.1));
        let parts = columns.max(rows).max(1);
        // Rounded to the nearest dot of the shorter direction.
        let between = |from: usize, to: usize, part: usize| {
            let moved = (from.abs_diff(to) * part * 2 + parts) / (parts * 2);
            if to < from { from - moved } else { from + moved }
        };
        for part in 0..=parts {
            self.set((between(from.0, to.0, part), between(from.1, to.1, part)));
        }
    }

    fn rows(&self) -> Vec<String> {
        let cells = self.cells.chunks(self.width.div_ceil(2));
        cells.map(|row| row.iter().filter_map(|bits| char::from_u32(0x2800 + u32::from(*bits))).collect()).collect()
    }
}

fn is_finite(bucket: &Bucket) -> bool {
    let summary = &bucket.summary;
    summary.nan + summary.pos_inf + summary.neg_inf < summary.count
}

/// Labels the ends of both axes.
fn label(rows: &[String], values: (f64, f64), steps: (i64, i64), columns: usize) -> Vec<String> {
    let last = rows.len().saturating_sub(1);
    let mut lines: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let text = match index {
                0 => format::value(values.1),
                i if i == last => format::value(values.0),
                i if i == last / 2 && values.0 < values.1 => format::value(values.0 / 2.0 + values.1 / 2.0),
                _ => String::new(),
            };
            format!("{text:>10} ┤{}", row.trim_end_matches(['\u{2800}', ' ']))
        })
        .collect();
    let (from, to) = (steps.0.to_string(), steps.1.to_string());
    let gap = columns.saturating_sub(from.len() + to.len()).max(1);
    lines.push(format!("{:>10} └{}", "", "─".repeat(columns)));
    lines.push(format!("{:>10}  {from}{}{to}", "step", " ".repeat(gap)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_drawn_in_all_directions() {
        let draw = |lines: &[(Dot, Dot)]| {
            let mut dots = Dots::new(6, 8);
            lines.iter().for_each(|(from, to)| dots.line(*from, *to));
            dots.rows()
        };
        assert_eq!(draw(&[]), ["\u{2800}\u{2800}\u{2800}"; 2]);
        assert_eq!(draw(&[((0, 0), (5, 0))]), ["⠉⠉⠉", "\u{2800}\u{2800}\u{2800}"]);
        assert_eq!(draw(&[((1, 7), (1, 0))]), ["⢸\u{2800}\u{2800}"; 2]);
        assert_eq!(draw(&[((0, 0), (5, 5))]), draw(&[((5, 5), (0, 0))]));
        assert_eq!(draw(&[((0, 0), (3, 3))]), ["⠑⢄\u{2800}", "\u{2800}\u{2800}\u{2800}"]);
        assert_eq!(draw(&[((2, 2), (2, 2))]), ["\u{2800}⠄\u{2800}", "\u{2800}\u{2800}\u{2800}"]);
        assert_eq!(draw(&[((0, 0), (0, 99))]), ["⡇\u{2800}\u{2800}"; 2]);
    }
}
