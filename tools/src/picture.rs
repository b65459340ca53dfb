//! A downsampled series as a picture of braille dots.
//!
//! Every bucket is one column of dots and draws its true extremes: from its first value over its least and greatest to
//! its last. A spike of one point in ten million is on the picture. Buckets without a finite value leave a gap.

use runlode::engine::query::points::{Bucket, Downsampled};
use textplots::{Chart, Plot, Shape};

use crate::format;

/// Rows of text of a picture.
const ROWS: u32 = 15;
/// Columns that the labels of values need.
const LABEL_COLUMNS: u16 = 12;

/// Columns of dots that fit a terminal: two a character. So many buckets are asked for.
pub(crate) fn buckets(terminal_columns: u16) -> usize {
    usize::from(terminal_columns.saturating_sub(LABEL_COLUMNS).clamp(20, 100)) * 2
}

/// Draws a series in at most `buckets` columns of dots; lines of text.
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
    // Positions within the picture: f32 holds them, whatever the steps and values are.
    let steps = (first.step_first as f64, last.step_last as f64);
    let x = |step: i64| {
        let width = steps.1 - steps.0;
        if width > 0.0 { ((step as f64 - steps.0) / width * (buckets - 1) as f64) as f32 } else { 0.0 }
    };
    // Halved first: the span of two finite numbers may be infinite.
    let y = |value: f64| {
        let span = high / 2.0 - low / 2.0;
        if span > 0.0 { ((value.clamp(low, high) / 2.0 - low / 2.0) / span) as f32 } else { 0.5 }
    };
    let mut lines: Vec<Vec<(f32, f32)>> = vec![Vec::new()];
    for bucket in &series.buckets {
        if !is_finite(bucket) {
            lines.push(Vec::new());
            continue;
        }
        let (summary, at, end) = (&bucket.summary, x(bucket.step_first), x(bucket.step_last));
        let middle = (at + end) / 2.0;
        if let Some(line) = lines.last_mut() {
            for (at, value) in [(at, summary.first), (middle, summary.min), (middle, summary.max), (end, summary.last)]
            {
                if value.is_finite() {
                    line.push((at, y(value)));
                }
            }
        }
    }
    let shapes: Vec<Shape<'_>> = lines
        .iter_mut()
        .filter(|line| !line.is_empty())
        .map(|line| {
            // A line needs two ends.
            if let [only] = line.as_slice() {
                line.push(*only);
            }
            Shape::Lines(line)
        })
        .collect();
    // The library draws the dot at the end of an axis too: one less keeps it within the last row and column.
    let width = u32::try_from(buckets - 1).unwrap_or(u32::MAX);
    let mut chart = Chart::new_with_y_range(width, ROWS * 4 - 1, 0.0, (buckets - 1) as f32, 0.0, 1.0);
    let mut drawn = &mut chart;
    for shape in &shapes {
        drawn = drawn.lineplot(shape);
    }
    drawn.figures();
    label(&drawn.frame(), (low, high), (first.step_first, last.step_last), buckets / 2)
}

fn is_finite(bucket: &Bucket) -> bool {
    let summary = &bucket.summary;
    summary.nan + summary.pos_inf + summary.neg_inf < summary.count
}

/// Puts the ends of both axes to the dots.
fn label(frame: &str, values: (f64, f64), steps: (i64, i64), columns: usize) -> Vec<String> {
    let rows: Vec<&str> = frame.lines().take(ROWS as usize).collect();
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
