//! Long texts do not take the memory of everything else: the largest columns of params and tags have a bound.
//!
//! Texts are kept whole, and some tags are long: notes, or the JSON that MLflow writes for each logged model. If the
//! columns of a projection outgrow their part of memory, the largest ones are left out. A query that asks for such a key
//! is answered by columns made for it alone (`query::runs::once`), so it takes longer and answers the same.

use super::filter::{NumberKey, Term, TextKey};
use super::kept::Kept;
use super::request::SearchQuery;
use super::sort::Key;
use super::table::Projection;
use super::text::TextColumn;

/// After this many bytes of texts, the columns are measured again.
const MEASURED_EVERY_BYTES: usize = 1 << 20;

impl Projection {
    /// Leaves the largest columns of params and tags out from now on, if all of these take more than `bytes_max`.
    pub(crate) fn bound_texts(&mut self, bytes_max: usize) {
        self.texts_bytes_max = Some(bytes_max);
        self.leave_texts_out();
    }

    /// Bytes in memory of the columns of params and tags.
    pub(crate) fn texts_memory_bytes(&self) -> usize {
        self.params.values().chain(self.tags.values()).map(TextColumn::memory_bytes).sum()
    }

    /// Counts texts that were added, and leaves columns out when it is time.
    pub(super) fn added_texts(&mut self, bytes: usize) {
        self.texts_added_bytes += bytes;
        if self.texts_added_bytes >= MEASURED_EVERY_BYTES {
            self.leave_texts_out();
        }
    }

    fn leave_texts_out(&mut self) {
        self.texts_added_bytes = 0;
        let Some(bytes_max) = self.texts_bytes_max else { return };
        let columns = self.params.iter().map(|column| (true, column));
        let columns = columns.chain(self.tags.iter().map(|column| (false, column)));
        let mut sizes: Vec<(usize, bool, Box<str>)> =
            columns.map(|(is_param, (key, column))| (column.memory_bytes(), is_param, key.clone())).collect();
        let mut left: usize = sizes.iter().map(|(bytes, ..)| bytes).sum();
        if left <= bytes_max {
            return;
        }
        sizes.sort_unstable();
        // Some room for what comes, so that this is rare.
        while left > bytes_max / 4 * 3
            && let Some((bytes, is_param, key)) = sizes.pop()
        {
            left -= bytes;
            let (columns, kept) = if is_param {
                (&mut self.params, &mut self.kept_params)
            } else {
                (&mut self.tags, &mut self.kept_tags)
            };
            columns.remove(&key);
            kept.leave_out(key);
        }
    }

    /// Whether every param and tag of a run has a column.
    pub(crate) fn has_all_texts(&self) -> bool {
        self.kept_params == Kept::All && self.kept_tags == Kept::All
    }

    /// Whether a query asks for a param or tag that was left out.
    pub(crate) fn lacks(&self, query: &SearchQuery) -> bool {
        if self.has_all_texts() {
            return false;
        }
        let lacks_text = |key: &TextKey| match key {
            TextKey::Param(key) => !self.kept_params.has(key),
            TextKey::Tag(key) => !self.kept_tags.has(key),
            _ => false,
        };
        let lacks_number = |key: &NumberKey| match key {
            NumberKey::Param(key) => !self.kept_params.has(key),
            NumberKey::Tag(key) => !self.kept_tags.has(key),
            _ => false,
        };
        let mut lacks = query.order.iter().any(|order| match &order.key {
            Key::Text(key) => lacks_text(key),
            Key::Number(key) => lacks_number(key),
        });
        if let Some(filter) = &query.filter {
            filter.terms(&mut |term| {
                lacks |= match term {
                    Term::Text { key, .. } => lacks_text(key),
                    Term::Number { key, .. } => lacks_number(key),
                };
            });
        }
        lacks
    }
}
