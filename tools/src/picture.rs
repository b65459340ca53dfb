//! Draws a downsampled series with braille dots.
//!
//! Every bucket is one column of dots and shows its true extremes, so that a spike of one point in ten million is
//! visible. If there is a point for each column, a line joins them. If there are more, the dots of every second row are
//! a band from the min to the max of each bucket, and a line joins the means: noise would otherwise be one dark area.
//! Buckets without a finite value leave a gap.

use crate::format;
use runlode::engine::{Bucket, Downsampled};

/// Rows of text of a picture.
const ROWS: usize = 15;
/// Columns for the labels of values. Longer labels get more: the picture then needs more columns, but stays whole.
const LABEL_COLUMNS: u16 = 12;

/// Columns of dots that fit a terminal, two a character; one bucket is requested for each.
pub(crate) fn buckets(terminal_columns: u16) -> usize {
    usize::from(terminal_columns.saturating_sub(LABEL_COLUMNS).clamp(20, 100)) * 2
}

/// Whether a series is drawn as a band with its mean: it has more points than columns of dots.
pub(crate) fn is_band(series: &Downsampled, buckets: usize) -> bool {
    series.count > buckets as u64
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
    let band = is_band(series, buckets);
    let mut before: Option<Dot> = None;
    for bucket in &series.buckets {
        if !is_finite(bucket) {
            before = None;
            continue;
        }
        let (summary, at, end) = (&bucket.summary, x(bucket.step_first), x(bucket.step_last));
        let middle = (at + end) / 2;
        let values = if band {
            for at in at..=end {
                dots.band(at, y(summary.max), y(summary.min));
            }
            let finite = summary.count - summary.nan - summary.pos_inf - summary.neg_inf;
            vec![(middle, summary.sum / finite as f64)]
        } else {
            vec![(at, summary.first), (middle, summary.min), (middle, summary.max), (end, summary.last)]
        };
        for (at, value) in values {
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

    /// Draws a light band from one row to another: its ends, and every second dot between them.
    fn band(&mut self, x: usize, top: usize, bottom: usize) {
        for y in (top..=bottom).filter(|y| (x + y).is_multiple_of(2)).chain([top, bottom]) {
            self.set((x, y));
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
    let names: Vec<String> = (0..rows.len())
        .map(|index| match index {
            0 => format::value(values.1),
            i if i == last => format::value(values.0),
            i if i == last / 2 && values.0 < values.1 => format::value(values.0 / 2.0 + values.1 / 2.0),
            _ => String::new(),
        })
        .collect();
    let width = names.iter().map(String::len).max().unwrap_or(0).max(usize::from(LABEL_COLUMNS) - 2);
    let drawn = |row: &str| row.trim_end_matches(['\u{2800}', ' ']).to_owned();
    let mut lines: Vec<String> =
        names.iter().zip(rows).map(|(name, row)| format!("{name:>width$} ┤{}", drawn(row))).collect();
    let (from, to) = (steps.0.to_string(), steps.1.to_string());
    let gap = columns.saturating_sub(from.len() + to.len()).max(1);
    lines.push(format!("{:>width$} └{}", "", "─".repeat(columns)));
    lines.push(format!("{:>width$}  {from}{}{to}", "step", " ".repeat(gap)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series of these values at steps from 0, in so many buckets.
    fn series(values: &[f64], buckets: usize) -> Downsampled {
        let dir = tempfile::tempdir().unwrap();
        let store = runlode::LocalStore::open(dir.path().join("store")).unwrap();
        let run = store.create_run(runlode::ExperimentId(0), runlode::RunSpec::named("r")).unwrap();
        for (step, value) in (0..).zip(values) {
            run.log_metrics(step, &[("v", *value)]).unwrap();
        }
        store.snapshot().unwrap().downsample(run.id(), "v", None, buckets).unwrap()
    }

    fn dots(line: &str) -> u32 {
        let cells = line.chars().filter(|c| ('\u{2800}'..='\u{28ff}').contains(c));
        cells.map(|c| (u32::from(c) - 0x2800).count_ones()).sum()
    }

    #[test]
    fn noise_is_a_band_with_its_mean() {
        let noise: Vec<f64> = (0..400).map(|step| f64::from(step % 2)).collect();
        let noise = series(&noise, 40);
        assert!(is_band(&noise, 40));
        let drawn = draw(&noise, 40);
        let (middle, light) = (dots(&drawn[7]), dots(&drawn[3]));
        assert_eq!(light, 20 * 4, "half of the dots of a row of 20 characters: {drawn:#?}");
        assert!(middle > light + 10, "the mean is a line: {drawn:#?}");
        assert!(dots(&drawn[0]) > light && dots(&drawn[14]) > light, "so are the extremes: {drawn:#?}");
        // As many points as columns are joined by a line.
        assert!(!is_band(&series(&[0.25, 0.5, 0.75, 1.0], 40), 40));
    }

    #[test]
    fn long_labels_do_not_move_the_axis() {
        let drawn = draw(&series(&[-1.234_567e-300, 1.234_567e-300, -3e-300], 40), 40);
        let axis = |line: &String| line.chars().position(|c| matches!(c, '┤' | '└'));
        let at = axis(&drawn[0]);
        assert!(at.is_some() && drawn[..16].iter().all(|line| axis(line) == at), "{drawn:#?}");
    }

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
