//! Search: the runs of some experiments that match a filter, in an order, a page at a time.
//!
//! A projection is read chunk by chunk, those with the best bounds first:
//! ```text
//!  view bits -> can it still reach the page? -> behind the token? -> filter -> buffer of at most 2 x page, cut to the
//!               (k-th best so far)                                            page by selection when full
//! ```
//! The filter comes first where both together are then cheaper, by what was seen of each.
//! Reading ends when no chunk left has a bound as good as the k-th row. Several projections are searched one by one,
//! and their pages merged.

use std::cmp::Ordering;

use super::column::{CHUNK_BLOCKS, CHUNK_ROWS, Mask, NONE};
use super::number::MISSING;
use super::order::{SortColumn, SortValues, sort_values};
use super::page::{PageToken, Start, foreign};
use super::plan::{Node, ones};
use super::request::{SearchPage, SearchQuery, View};
use super::row::Source;
use super::sort::{Place, SortValue};
use super::table::Projection;
use crate::error::Result;
use crate::id::RunId;

/// Searches those projections that belong to the query's experiments.
///
/// # Errors
/// `Invalid` for a query that cannot be answered ([`SearchQuery::check`]), `Internal` if a projection was not prepared
/// for it ([`Projection::prepare`]), and those of `source`.
pub fn search(query: &SearchQuery, projections: &[&Projection], source: &dyn Source) -> Result<SearchPage> {
    query.check()?;
    let chosen: Vec<&Projection> =
        projections.iter().copied().filter(|p| query.experiments.contains(&p.experiment)).collect();
    let (skip, after) = match query.after.as_ref().map(|token| &token.0) {
        None => (0, None),
        Some(Start::Offset(offset)) => (usize::try_from(*offset).unwrap_or(usize::MAX), None),
        Some(Start::After { place, .. }) => (0, Some(place)),
    };
    // One more than the page shows whether there is another page.
    let wanted = skip.saturating_add(query.limit).saturating_add(1);
    let mut places;
    let more;
    let runs: Vec<RunId>;
    if let [projection] = chosen[..] {
        let mut scan = Scan::new(query, projection, source, after)?;
        let rows = scan.top(wanted);
        more = rows.len() > skip.saturating_add(query.limit);
        let page: Vec<u32> = rows.into_iter().skip(skip).take(query.limit).collect();
        runs = page.iter().map(|row| projection.rows.ids[*row as usize]).collect();
        places = page.last().map(|row| vec![scan.place(*row)]).unwrap_or_default();
    } else {
        places = Vec::new();
        for projection in chosen {
            let mut scan = Scan::new(query, projection, source, after)?;
            let rows = scan.top(wanted);
            places.extend(rows.into_iter().map(|row| scan.place(row)));
        }
        places.sort_by(|a, b| a.compare(b, &query.order));
        more = places.len() > skip.saturating_add(query.limit);
        places.truncate(skip.saturating_add(query.limit));
        runs = places.iter().skip(skip).map(|place| place.run).collect();
    }
    let next = places.pop().filter(|_| more).map(|place| PageToken::after(query.fingerprint(), place));
    Ok(SearchPage { runs, next })
}

/// Tests the first two sort columns against one place in the order: which rows may be at it or before it, and which
/// must be before it. Both keep a row in case of doubt; kept rows are compared exactly.
struct Frontier<'p> {
    first_at_most: Option<Node<'p>>,
    first_below: Option<Node<'p>>,
    second_at_most: Option<Node<'p>>,
    second_below: Option<Node<'p>>,
    /// Number of consecutive chunks in which the second column excluded next to nothing.
    in_vain: u32,
    /// Whether the place has no value in the first column, so that nothing comes after it there.
    first_is_last: bool,
}

/// After this many chunks in vain the second column is no longer tested.
const IN_VAIN_MAX: u32 = 4;

impl<'p> Frontier<'p> {
    /// `in_vain`: the count of the place before this one.
    fn new(columns: &[SortColumn<'p>], first: u64, second: u64, in_vain: u32) -> Self {
        let other = columns.get(1);
        Self {
            first_at_most: columns[0].at_most(first),
            first_below: columns[0].below(first),
            second_at_most: other.and_then(|column| column.at_most(second)),
            second_below: other.and_then(|column| column.below(second)),
            // One chunk shows whether it is still in vain.
            in_vain: in_vain.min(IN_VAIN_MAX - 1),
            first_is_last: first == MISSING,
        }
    }

    /// Removes rows that certainly come after the place.
    fn keep_up_to(&mut self, chunk: usize, mask: &mut Mask) {
        if let Some(test) = &mut self.first_at_most {
            *mask = eval(test, chunk, mask);
        }
        // Of rows that tie in the first column, keep only those that may be before it in the second.
        if let (Some(below), Some(second)) = (&mut self.first_below, &mut self.second_at_most)
            && *mask != NONE
        {
            let sure = eval(below, chunk, mask);
            let tied = minus(mask, &sure);
            if tied != NONE {
                let kept = eval(second, chunk, &tied);
                let mut dropped = 0;
                for i in 0..CHUNK_BLOCKS {
                    dropped += (tied[i] & !kept[i]).count_ones();
                    mask[i] = sure[i] | kept[i];
                }
                self.in_vain = if dropped >= 16 { 0 } else { self.in_vain + 1 };
            } else {
                self.in_vain += 1;
            }
            if self.in_vain >= IN_VAIN_MAX {
                // Ties are rare here and are compared one by one.
                self.first_below = None;
            }
        }
    }

    /// Removes rows that certainly come before the place.
    fn keep_from(&mut self, chunk: usize, mask: &mut Mask) {
        if let Some(below) = &mut self.first_below {
            let before = eval(below, chunk, mask);
            *mask = minus(mask, &before);
        }
        if let Some(second) = &mut self.second_below
            && *mask != NONE
        {
            let tied = match &mut self.first_at_most {
                Some(at_most) => eval(at_most, chunk, mask),
                None if self.first_is_last => *mask,
                None => return,
            };
            if tied != NONE {
                let before = eval(second, chunk, &tied);
                *mask = minus(mask, &before);
            }
        }
    }
}

fn eval(node: &mut Node<'_>, chunk: usize, mask: &Mask) -> Mask {
    let mut out = NONE;
    node.eval(chunk, mask, &mut out);
    out
}

fn minus(mask: &Mask, other: &Mask) -> Mask {
    std::array::from_fn(|i| mask[i] & !other[i])
}

/// Guessed nanoseconds to compare one row with a place in the order.
const PLACE_COST: f64 = 0.4;

/// Measured share of rows that pass a test, with recent chunks weighing most. It changes the time, never the answer.
struct Seen {
    /// Guessed nanoseconds per row.
    cost: f64,
    candidates: f64,
    passed: f64,
}

impl Seen {
    /// Starts with a guess of the share that passes.
    fn guess(cost: f64, share: f64) -> Self {
        Self { cost, candidates: 256.0, passed: 256.0 * share }
    }

    fn note(&mut self, before: &Mask, after: &Mask) {
        self.candidates = self.candidates / 2.0 + ones(before);
        self.passed = self.passed / 2.0 + ones(after);
    }

    /// Guessed cost per row of this test, followed by the other on the rows that passed.
    fn then(&self, other: &Self) -> f64 {
        // If few rows are left in each block of 64, they are tested one by one.
        self.cost + other.cost * (8.0 * self.passed / self.candidates).min(1.0)
    }
}

/// A row that may belong to the page.
#[derive(Clone, Copy)]
struct Entry {
    /// Code of the first sort column.
    first: u64,
    row: u32,
}

/// A search of one projection.
struct Scan<'p> {
    projection: &'p Projection,
    columns: Vec<SortColumn<'p>>,
    filter: Node<'p>,
    view: View,
    /// Codes of the token's place, one per column, and its run.
    after: Option<(Vec<u64>, RunId)>,
}

impl<'p> Scan<'p> {
    fn new(
        query: &SearchQuery,
        projection: &'p Projection,
        source: &'p dyn Source,
        after: Option<&Place>,
    ) -> Result<Self> {
        let filter = query.filter.as_ref().map_or(Ok(Node::All), |filter| Node::new(filter, projection, source))?;
        let mut columns = Vec::with_capacity(query.order.len() + 1);
        for (value, order) in query.order.iter().enumerate() {
            let mut push = |values| columns.push(SortColumn { ascending: order.ascending, value: Some(value), values });
            match sort_values(order, projection, source)? {
                SortValues::Run { ids, .. } => {
                    push(SortValues::Run { half: 0, ids });
                    push(SortValues::Run { half: 1, ids });
                }
                values => push(values),
            }
        }
        let start = SortValues::Time(&projection.start);
        columns.push(SortColumn { ascending: false, value: None, values: start });
        let after = match after {
            None => None,
            Some(place) => {
                let start = SortValue::Time(place.start_time_ms);
                let mut codes = Vec::with_capacity(columns.len());
                for column in &columns {
                    let value = column.value.map_or(Some(&start), |i| place.values.get(i)).ok_or_else(foreign)?;
                    codes.push(column.code_of(value)?);
                }
                Some((codes, place.run))
            }
        };
        Ok(Self { projection, columns, filter, view: query.view, after })
    }

    fn place(&self, row: u32) -> Place {
        let values = self.columns.iter().filter(|column| {
            // The second half of a run id is not a value of its own.
            column.value.is_some() && !matches!(column.values, SortValues::Run { half: 1, .. })
        });
        Place {
            values: values.map(|column| column.value(row)).collect(),
            start_time_ms: self.projection.start.get(row),
            run: self.projection.rows.ids[row as usize],
        }
    }

    fn compare(&self, a: &Entry, b: &Entry) -> Ordering {
        a.first.cmp(&b.first).then_with(|| {
            let rest = self.columns[1..].iter().map(|column| column.code(a.row).cmp(&column.code(b.row)));
            let ids = &self.projection.rows.ids;
            rest.into_iter()
                .find(|order| order.is_ne())
                .unwrap_or_else(|| ids[a.row as usize].cmp(&ids[b.row as usize]))
        })
    }

    /// Whether a row comes after the token.
    fn is_after(&self, entry: &Entry) -> bool {
        let Some((codes, run)) = &self.after else { return true };
        match entry.first.cmp(&codes[0]) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => {
                let rest =
                    self.columns[1..].iter().zip(&codes[1..]).map(|(column, code)| column.code(entry.row).cmp(code));
                let order = rest.into_iter().find(|order| order.is_ne());
                order.unwrap_or_else(|| self.projection.rows.ids[entry.row as usize].cmp(run)).is_gt()
            }
        }
    }

    fn bounds(&self, chunk: usize) -> (u64, u64) {
        (self.columns[0].bound(chunk), self.columns.get(1).map_or(0, |column| column.bound(chunk)))
    }

    /// Codes of a row in the first two columns.
    fn firsts(&self, entry: &Entry) -> (u64, u64) {
        (entry.first, self.columns.get(1).map_or(0, |column| column.code(entry.row)))
    }

    /// The first `count` rows, in order.
    fn top(&mut self, count: usize) -> Vec<u32> {
        let count = count.min(self.projection.len());
        if count == 0 {
            return Vec::new();
        }
        let mut order: Vec<((u64, u64), u32)> =
            (0..self.projection.chunks()).map(|chunk| (self.bounds(chunk), chunk as u32)).collect();
        order.sort_unstable();
        let full = count.saturating_add(count.max(64));
        let mut buffer: Vec<Entry> = Vec::with_capacity(full.min(4096));
        let mut worst: Option<Entry> = None;
        let mut reach: Option<Frontier<'p>> = None;
        let mut passed = self
            .after
            .as_ref()
            .map(|(codes, _)| Frontier::new(&self.columns, codes[0], codes.get(1).copied().unwrap_or(0), 0));
        let (filter_cost, filter_share) = self.filter.guess(self.projection);
        let mut of_filter = Seen::guess(filter_cost, filter_share);
        let mut of_place = Seen::guess(PLACE_COST, 0.5);
        for (bounds, chunk) in order {
            if worst.is_some_and(|worst| bounds > self.firsts(&worst)) {
                break;
            }
            let chunk = chunk as usize;
            let mut found = self.projection.shown(chunk, self.view);
            let filter_first = of_filter.then(&of_place) < of_place.then(&of_filter);
            if filter_first {
                found = self.filtered(chunk, &found, &mut of_filter);
            }
            if found != NONE && (reach.is_some() || passed.is_some()) {
                let before = found;
                if let Some(reach) = &mut reach {
                    reach.keep_up_to(chunk, &mut found);
                }
                if let Some(passed) = &mut passed {
                    passed.keep_from(chunk, &mut found);
                }
                of_place.note(&before, &found);
            }
            if !filter_first {
                found = self.filtered(chunk, &found, &mut of_filter);
            }
            if found == NONE {
                continue;
            }
            if self.gather(chunk, &found, count, full, &mut buffer, &mut worst)
                && let Some(worst) = &worst
            {
                let (first, second) = self.firsts(worst);
                let in_vain = reach.as_ref().map_or(0, |reach| reach.in_vain);
                reach = Some(Frontier::new(&self.columns, first, second, in_vain));
            }
        }
        buffer.sort_unstable_by(|a, b| self.compare(a, b));
        buffer.truncate(count);
        buffer.into_iter().map(|entry| entry.row).collect()
    }

    fn filtered(&mut self, chunk: usize, mask: &Mask, seen: &mut Seen) -> Mask {
        if *mask == NONE || matches!(self.filter, Node::All) {
            return *mask;
        }
        let found = eval(&mut self.filter, chunk, mask);
        seen.note(mask, &found);
        found
    }

    /// Adds the rows found to the buffer. True if the worst row of the page changed.
    fn gather(
        &self,
        chunk: usize,
        found: &Mask,
        count: usize,
        full: usize,
        buffer: &mut Vec<Entry>,
        worst: &mut Option<Entry>,
    ) -> bool {
        let mut changed = false;
        // Newer runs usually have higher rows and come first if the sort keys tie; later rows are then refused.
        let oldest_first = matches!(self.columns[0].values, SortValues::Time(_)) && self.columns[0].ascending;
        for i in 0..CHUNK_BLOCKS {
            let block = if oldest_first { i } else { CHUNK_BLOCKS - 1 - i };
            let mut bits = found[block];
            while bits != 0 {
                let bit = if oldest_first { bits.trailing_zeros() } else { 63 - bits.leading_zeros() };
                bits &= !(1 << bit);
                let row = (chunk * CHUNK_ROWS + block * 64) as u32 + bit;
                let entry = Entry { first: self.columns[0].code(row), row };
                if worst.is_some_and(|worst| self.compare(&entry, &worst).is_ge()) || !self.is_after(&entry) {
                    continue;
                }
                buffer.push(entry);
                if buffer.len() >= full {
                    self.cut(count, buffer, worst);
                    changed = true;
                }
            }
        }
        if worst.is_none() && buffer.len() >= count {
            self.cut(count, buffer, worst);
            changed = true;
        }
        changed
    }

    /// Keeps the first `count` entries, unordered, and the last of them as the worst.
    fn cut(&self, count: usize, buffer: &mut Vec<Entry>, worst: &mut Option<Entry>) {
        let (_, last, _) = buffer.select_nth_unstable_by(count - 1, |a, b| self.compare(a, b));
        *worst = Some(*last);
        buffer.truncate(count);
    }
}
