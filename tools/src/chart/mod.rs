//! A chart of metrics over steps, for a file: SVG or PNG.
//!
//! As in the terminal, every bucket shows its true extremes: a series with more points than columns is a light band from
//! the min to the max of each bucket, with a line through the means; one with fewer is a line through its points. All
//! series share the axes. Buckets without a finite value leave a gap.

mod png;
mod scene;
mod svg;

use runlode::engine::{Bucket, Downsampled};

use crate::format;
use png::png;
use scene::{Anchor, Color, Scene, Shape};
use svg::svg;

const WIDTH: u32 = 960;
const HEIGHT: u32 = 540;
const LEFT: f32 = 84.0;
const RIGHT: f32 = 24.0;
const TOP: f32 = 44.0;
const BOTTOM: f32 = 52.0;
/// Pixels of a line of the legend.
const LEGEND_LINE: f32 = 18.0;
/// Most characters of a name in the legend.
const NAME_MAX: usize = 60;
const TEXT: f32 = 12.0;

/// Colors that are told apart by people who see colors differently (Okabe and Ito).
const COLORS: [Color; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [90, 90, 90]];
const INK: Color = [40, 40, 40];
const GRID: Color = [222, 222, 222];

/// Buckets that a chart has room for.
pub(crate) const BUCKETS: usize = (WIDTH - 108) as usize;

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Svg,
    Png,
}

impl Format {
    /// The format that a file's name asks for.
    pub(crate) fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "svg" => Some(Self::Svg),
            "png" => Some(Self::Png),
            _ => None,
        }
    }
}

/// One curve.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) series: Downsampled,
}

/// The bytes of a file with these curves; `None` if it is too large for memory.
pub(crate) fn file(title: &str, curves: &[Curve], format: Format) -> Option<Vec<u8>> {
    let scene = draw(title, curves);
    match format {
        Format::Svg => Some(svg(&scene).into_bytes()),
        Format::Png => png(&scene),
    }
}

/// The ends of both axes.
#[derive(Debug, Clone, Copy)]
struct Axes {
    steps: (f64, f64),
    values: (f64, f64),
    /// Where the axes' area begins, from the top.
    top: f32,
}

impl Axes {
    fn of(curves: &[Curve], top: f32) -> Self {
        let mut steps = (f64::INFINITY, f64::NEG_INFINITY);
        let mut values = (f64::INFINITY, f64::NEG_INFINITY);
        for bucket in curves.iter().flat_map(|curve| &curve.series.buckets) {
            steps = (steps.0.min(bucket.step_first as f64), steps.1.max(bucket.step_last as f64));
            for value in [bucket.summary.min, bucket.summary.max].into_iter().filter(|value| value.is_finite()) {
                values = (values.0.min(value), values.1.max(value));
            }
        }
        Self { steps: opened(steps), values: opened(values), top }
    }

    fn x(&self, step: f64) -> f32 {
        let width = f64::from(WIDTH as f32 - LEFT - RIGHT);
        LEFT + (share(step, self.steps) * width) as f32
    }

    fn y(&self, value: f64) -> f32 {
        let height = f64::from(HEIGHT as f32 - self.top - BOTTOM);
        self.top + ((1.0 - share(value, self.values)) * height) as f32
    }
}

/// A range that is not empty.
fn opened((low, high): (f64, f64)) -> (f64, f64) {
    match low.partial_cmp(&high) {
        Some(std::cmp::Ordering::Less) => (low, high),
        Some(std::cmp::Ordering::Equal) => {
            let room = (low.abs() * 0.05).max(0.5);
            (low - room, high + room)
        }
        // Nothing is finite.
        _ => (0.0, 1.0),
    }
}

/// Where a number lies in a range, from 0 to 1. Halved first: the span of two finite numbers may be infinite.
fn share(number: f64, (low, high): (f64, f64)) -> f64 {
    ((number.clamp(low, high) / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)).clamp(0.0, 1.0)
}

/// About `count` round numbers within a range.
fn ticks((low, high): (f64, f64), count: usize) -> Vec<f64> {
    let span = high / 2.0 - low / 2.0;
    let rough = span * 2.0 / count.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return vec![low, high];
    }
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|of| of * magnitude).find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * magnitude);
    let first = (low / step).ceil();
    let last = (high / step).floor();
    if !(first.is_finite() && last.is_finite()) || last - first > 1e3 {
        return vec![low, high];
    }
    let mut ticks = Vec::new();
    let mut at = first;
    while at <= last {
        ticks.push(at * step);
        at += 1.0;
    }
    ticks
}

fn draw(title: &str, curves: &[Curve]) -> Scene {
    let legend = if curves.len() > 1 { curves.len() as f32 * LEGEND_LINE } else { 0.0 };
    let axes = Axes::of(curves, (TOP + legend).min(HEIGHT as f32 / 2.0));
    let mut shapes = Vec::new();
    let text = |x, y, size, anchor, text: String| Shape::Text { x, y, size, anchor, color: INK, text };
    let (right, bottom) = (WIDTH as f32 - RIGHT, HEIGHT as f32 - BOTTOM);
    for value in ticks(axes.values, 6) {
        let y = axes.y(value);
        shapes.push(Shape::Line { points: vec![(LEFT, y), (right, y)], color: GRID, width: 1.0 });
        shapes.push(text(LEFT - 8.0, y + 4.0, TEXT, Anchor::End, format::value(value)));
    }
    for step in ticks(axes.steps, 8).into_iter().filter(|step| step.fract() == 0.0) {
        let x = axes.x(step);
        shapes.push(Shape::Line { points: vec![(x, axes.top), (x, bottom)], color: GRID, width: 1.0 });
        shapes.push(text(x, bottom + 18.0, TEXT, Anchor::Middle, format!("{step}")));
    }
    let frame = vec![(LEFT, axes.top), (LEFT, bottom), (right, bottom)];
    shapes.push(Shape::Line { points: frame, color: INK, width: 1.0 });
    shapes.push(text((LEFT + right) / 2.0, bottom + 38.0, TEXT, Anchor::Middle, "step".to_owned()));
    shapes.push(text(LEFT, 26.0, 16.0, Anchor::Start, format::cut(title, NAME_MAX)));
    for (number, curve) in curves.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        if curves.len() > 1 {
            let y = TOP + number as f32 * LEGEND_LINE;
            shapes.push(Shape::Line { points: vec![(LEFT, y - 4.0), (LEFT + 22.0, y - 4.0)], color, width: 3.0 });
            shapes.push(text(LEFT + 30.0, y, TEXT, Anchor::Start, format::cut(&curve.name, NAME_MAX)));
        }
        curve_shapes(&curve.series, axes, color, &mut shapes);
    }
    Scene { width: WIDTH, height: HEIGHT, shapes }
}

fn curve_shapes(series: &Downsampled, axes: Axes, color: Color, shapes: &mut Vec<Shape>) {
    let is_band = series.count > BUCKETS as u64;
    for part in series.buckets.split(|bucket| !has_finite(bucket)).filter(|part| !part.is_empty()) {
        let middle = |bucket: &Bucket| axes.x(bucket.step_first as f64 / 2.0 + bucket.step_last as f64 / 2.0);
        if !is_band {
            let points = part.iter().flat_map(|bucket| {
                let (summary, first, last) = (&bucket.summary, bucket.step_first as f64, bucket.step_last as f64);
                let all =
                    [(axes.x(first), summary.first), (middle(bucket), summary.min), (middle(bucket), summary.max)];
                all.into_iter().chain([(axes.x(last), summary.last)])
            });
            let points = points.filter(|(_, value)| value.is_finite()).map(|(x, value)| (x, axes.y(value)));
            let mut points: Vec<(f32, f32)> = points.collect();
            points.dedup();
            shapes.push(Shape::Line { points, color, width: 1.5 });
            continue;
        }
        let upper = part.iter().map(|bucket| (middle(bucket), axes.y(bucket.summary.max)));
        let lower = part.iter().rev().map(|bucket| (middle(bucket), axes.y(bucket.summary.min)));
        shapes.push(Shape::Area { points: upper.chain(lower).collect(), color });
        let mean = |bucket: &Bucket| {
            let summary = &bucket.summary;
            summary.sum / (summary.count - summary.nan - summary.pos_inf - summary.neg_inf) as f64
        };
        let means = part.iter().filter(|bucket| mean(bucket).is_finite());
        let points = means.map(|bucket| (middle(bucket), axes.y(mean(bucket)))).collect();
        shapes.push(Shape::Line { points, color, width: 1.5 });
    }
}

fn has_finite(bucket: &Bucket) -> bool {
    let summary = &bucket.summary;
    summary.nan + summary.pos_inf + summary.neg_inf < summary.count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, values: &[f64]) -> Curve {
        let dir = tempfile::tempdir().unwrap();
        let store = runlode::LocalStore::open(dir.path().join("store")).unwrap();
        let run = store.create_run(runlode::ExperimentId(0), runlode::RunSpec::named("r")).unwrap();
        for (step, value) in (0..).zip(values) {
            run.log_metrics(step, &[("v", *value)]).unwrap();
        }
        let series = store.snapshot().unwrap().downsample(run.id(), "v", None, BUCKETS).unwrap();
        Curve { name: name.to_owned(), series }
    }

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(ticks((0.0, 1.0), 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((-7.0, 12.0), 4), [-5.0, 0.0, 5.0, 10.0]);
        for range in [(f64::MIN, f64::MAX), (1e-310, 2e-310), (1e300, 1.1e300)] {
            let ticks = ticks(range, 6);
            assert!(!ticks.is_empty() && ticks.len() < 20, "{range:?}: {ticks:?}");
        }
    }

    #[test]
    fn extremes_gaps_and_several_curves_are_drawn() {
        let wave: Vec<f64> = (0..100).map(|step| if step == 50 { f64::NAN } else { f64::from(step % 10) }).collect();
        let scene = draw("v", &[curve("a", &wave), curve("b", &[3.0; 10])]);
        let lines = |of: Color| {
            let drawn = scene.shapes.iter().filter(|shape| match shape {
                Shape::Line { color, width, .. } => *color == of && *width < 3.0,
                _ => false,
            });
            drawn.count()
        };
        assert_eq!((lines(COLORS[0]), lines(COLORS[1])), (2, 1), "NaN leaves a gap");
        let names = scene.shapes.iter().filter(|shape| matches!(shape, Shape::Text { text, .. } if text == "b"));
        assert_eq!(names.count(), 1);
        // More points than columns: a band that reaches the extremes.
        let mut noise: Vec<f64> = (0..5000).map(|step| f64::from(step % 2)).collect();
        noise[1234] = 9.0;
        let scene = draw("v", &[curve("a", &noise)]);
        let top = scene.shapes.iter().find_map(|shape| match shape {
            Shape::Area { points, .. } => points.iter().map(|(_, y)| *y).reduce(f32::min),
            _ => None,
        });
        assert_eq!(top, Some(TOP), "the spike of one point touches the upper end");
    }

    #[test]
    fn files_begin_as_their_format_does() {
        let curves = [curve("a", &[1.0, 2.0, 4.0])];
        let png = file("größe λ 日", &curves, Format::Png).unwrap();
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        let svg = String::from_utf8(file("a", &curves, Format::Svg).unwrap()).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        // A chart without a finite point has axes all the same.
        let none = [curve("a", &[f64::NAN]), curve("b", &[])];
        assert!(file("none", &none, Format::Png).is_some());
    }
}
