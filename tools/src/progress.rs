//! Progress bars on standard error, if it is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar; draws nothing if standard error is no terminal.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar with a label.
    pub(crate) fn new(label: &'static str) -> Self {
        // indicatif draws nothing when standard error is no terminal.
        let bar = ProgressBar::new(0);
        // The template is right (or the plain bar stays).
        if let Ok(style) =
            ProgressStyle::with_template("{msg:16} {wide_bar} {human_pos}/{human_len} {per_sec} {eta_precise}")
        {
            bar.set_style(style);
        }
        bar.set_message(label);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Moves it.
    pub(crate) fn set(&self, label: &'static str, done: u64, total: u64) {
        self.0.set_message(label);
        self.0.set_length(total.max(done));
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
