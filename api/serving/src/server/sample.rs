//! A window of what was served: latencies, and statistics of the inputs' columns, for `--log-to`.
//!
//! The first requests of a window are looked at, until their rows are used up: so statistics cost no more however many
//! requests come. Latencies are of all requests.

use std::time::Duration;

use parking_lot::Mutex;
use runlode_models::{Cells, Frame, Input, Label, Tensor, Value};

/// Rows looked at in a window, and columns of them.
const ROWS_MAX: usize = 10_000;
const COLUMNS_MAX: usize = 1_000;
/// Latencies kept of a window.
const LATENCIES_MAX: usize = 100_000;

/// Statistics of a column's numbers, or of the presence of its other values.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ColumnWindow {
    /// The column's name; of an array its place.
    pub name: String,
    /// Rows looked at.
    pub rows_count: u64,
    /// Rows without a value, NaN among them.
    pub missing_count: u64,
    /// Rows with a finite number: those that the following are of.
    pub numbers_count: u64,
    /// Mean; 0 if there is no number.
    pub mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
    /// Least number.
    pub min: f64,
    /// Greatest number.
    pub max: f64,
}

impl ColumnWindow {
    fn new(name: String) -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { name, rows_count: 0, missing_count: 0, numbers_count: 0, mean: 0.0, squares: 0.0, min, max }
    }

    /// Standard deviation of the numbers; 0 for fewer than two.
    #[must_use]
    pub fn std(&self) -> f64 {
        if self.numbers_count < 2 { 0.0 } else { (self.squares / (self.numbers_count - 1) as f64).sqrt() }
    }

    fn add(&mut self, value: &Value) {
        self.rows_count += 1;
        let number = match value {
            Value::None | Value::Datetime(None) => None,
            Value::Float(number) if number.is_nan() => None,
            Value::Float(number) if !number.is_finite() => return,
            Value::Float(number) => Some(*number),
            Value::Int(number) => Some(*number as f64),
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            _ => return,
        };
        let Some(number) = number else {
            self.missing_count += 1;
            return;
        };
        // Welford's update: no difference of large sums.
        self.numbers_count += 1;
        let distance = number - self.mean;
        self.mean += distance / self.numbers_count as f64;
        self.squares += distance * (number - self.mean);
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }
}

/// What was served since the last window.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Window {
    /// Requests answered.
    pub requests_count: u64,
    /// Those whose status was no success.
    pub errors_count: u64,
    /// Rows given to the model.
    pub rows_count: u64,
    /// Latencies in microseconds, ascending.
    latencies_us: Vec<u32>,
    /// Columns of the rows looked at.
    pub columns: Vec<ColumnWindow>,
    rows_looked_at: usize,
}

impl Window {
    /// The latency in milliseconds that this share (0 to 1) of the requests do not exceed; none without requests.
    #[must_use]
    pub fn latency_ms(&self, share: f64) -> Option<f64> {
        let last = self.latencies_us.len().checked_sub(1)?;
        Some(f64::from(self.latencies_us[(last as f64 * share).round() as usize]) / 1e3)
    }

    fn column(&mut self, place: usize, name: impl FnOnce() -> String) -> Option<&mut ColumnWindow> {
        if place >= COLUMNS_MAX {
            return None;
        }
        while self.columns.len() <= place {
            self.columns.push(ColumnWindow::new(String::new()));
        }
        let column = &mut self.columns[place];
        if column.name.is_empty() {
            column.name = name();
        }
        Some(column)
    }

    fn add_frame(&mut self, frame: &Frame, rows_count: usize) {
        for (place, column) in frame.columns.iter().enumerate() {
            let name = || match &column.name {
                Label::Text(text) => text.to_string(),
                Label::Position(place) => place.to_string(),
            };
            self.add_column(place, name, &column.cells, 0..rows_count);
        }
    }

    /// The columns of a matrix, or the elements of an array of one dimension.
    fn add_tensor(&mut self, tensor: &Tensor, rows_count: usize) {
        let width: usize = tensor.shape.iter().skip(1).product();
        for place in 0..width.min(COLUMNS_MAX) {
            let rows = (0..rows_count).map(|row| row * width + place);
            self.add_column(place, || place.to_string(), &tensor.elements, rows);
        }
    }

    fn add_column(
        &mut self,
        place: usize,
        name: impl FnOnce() -> String,
        cells: &Cells,
        rows: impl Iterator<Item = usize>,
    ) {
        if let Some(column) = self.column(place, name) {
            rows.for_each(|row| column.add(&cells.value(row)));
        }
    }
}

/// The window that is open.
#[derive(Debug, Default)]
pub(super) struct Sampler(Mutex<Window>);

impl Sampler {
    /// Looks at a request's input.
    pub(super) fn input(&self, input: &Input, rows_count: usize) {
        let mut window = self.0.lock();
        window.rows_count += rows_count as u64;
        let rows_count = rows_count.min(ROWS_MAX - window.rows_looked_at);
        window.rows_looked_at += rows_count;
        match input {
            Input::Frame(frame) => window.add_frame(frame, rows_count),
            Input::Tensor(tensor) if !tensor.shape.is_empty() => window.add_tensor(tensor, rows_count),
            _ => {}
        }
    }

    pub(super) fn answered(&self, status: u16, latency: Duration) {
        let mut window = self.0.lock();
        window.requests_count += 1;
        window.errors_count += u64::from(status >= 400);
        if window.latencies_us.len() < LATENCIES_MAX {
            window.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// Closes the window, and begins the next one.
    pub(super) fn take(&self) -> Window {
        let mut window = std::mem::take(&mut *self.0.lock());
        window.latencies_us.sort_unstable();
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_the_numbers_of_its_rows() {
        let values = [Value::Int(1), Value::Float(f64::NAN), Value::Float(3.0), Value::None, Value::Text("x".into())];
        let frame = Frame::new(vec![runlode_models::Column::new("a", Cells::Objects(values.to_vec()))]);
        let sampler = Sampler::default();
        sampler.input(&Input::Frame(frame), 5);
        (1..=100).for_each(|ms| sampler.answered(if ms > 90 { 400 } else { 200 }, Duration::from_millis(ms)));
        let window = sampler.take();
        assert_eq!((window.requests_count, window.errors_count, window.rows_count), (100, 10, 5));
        assert_eq!(window.latency_ms(0.5), Some(51.0));
        let column = &window.columns[0];
        assert_eq!((column.rows_count, column.missing_count, column.numbers_count), (5, 2, 2));
        assert_eq!((column.mean, column.std(), column.min, column.max), (2.0, 2.0_f64.sqrt(), 1.0, 3.0));
        assert_eq!(sampler.take(), Window::default());
    }

    #[test]
    fn rows_beyond_the_budget_are_counted_and_not_looked_at() {
        let cells = Cells::Objects(vec![Value::Int(1); ROWS_MAX + 1]);
        let frame = Input::Frame(Frame::new(vec![runlode_models::Column::new("a", cells)]));
        let sampler = Sampler::default();
        sampler.input(&frame, ROWS_MAX + 1);
        sampler.input(&frame, ROWS_MAX + 1);
        let window = sampler.take();
        assert_eq!(window.rows_count, 2 * (ROWS_MAX as u64 + 1));
        assert_eq!(window.columns[0].rows_count, ROWS_MAX as u64);
    }
}
