//! The orders of a search over the rows of one projection.
//!
//! Every value that is sorted by becomes a u64 with the order of the answer (NaN, then missing, last), so that rows
//! compare as numbers.

use super::column::CodeColumn;
use super::filter::{Comparison, NumberKey, NumberTest, TextKey};
use super::leaf::{CodeTest, TimeTest};
use super::number::{MISSING, NAN, NO_TIME, NumberColumn, TimeColumn, number_code, number_of_code};
use super::page::foreign;
use super::plan::{Node, unprepared};
use super::row::Source;
use super::sort::{Key, OrderKey, SortValue};
use super::table::Projection;
use super::text::Dictionary;
use crate::error::Result;
use crate::id::RunId;

/// Greater than every double rank.
const RANKS_END: u64 = 1 << 34;
const SIGN: u64 = 1 << 63;

/// An order code for a direction: NaN and missing stay above all others in both.
pub(super) fn directed(code: u64, ascending: bool) -> u64 {
    if ascending || code >= NAN { code } else { !code }
}

/// The order code of a time for a direction. `NO_TIME` is the least i64, so all other times fit below [`MISSING`].
fn time_code(time: i64, ascending: bool) -> u64 {
    match time {
        NO_TIME => MISSING,
        time if ascending => (time as u64 ^ SIGN) - 1,
        time => !(time as u64 ^ SIGN),
    }
}

fn time_of_code(code: u64, ascending: bool) -> i64 {
    (if ascending { code + 1 } else { !code } ^ SIGN) as i64
}

fn rank_code(double_rank: u64, ascending: bool) -> u64 {
    if ascending { double_rank } else { RANKS_END - double_rank }
}

/// One sort key over the rows of a projection.
pub(super) struct SortColumn<'p> {
    pub(super) ascending: bool,
    /// Index of the value in a [`Place`]; `None` is the start time that ends each order.
    pub(super) value: Option<usize>,
    pub(super) values: SortValues<'p>,
}

pub(super) enum SortValues<'p> {
    Number(&'p NumberColumn),
    Time(&'p TimeColumn),
    /// A text by its rank. `best`: the least code of any text that a row has.
    Rank {
        codes: &'p CodeColumn,
        dictionary: &'p Dictionary,
        best: u64,
    },
    CodeNumber {
        codes: &'p CodeColumn,
        dictionary: &'p Dictionary,
    },
    /// Half of the run id: 0 the first, 1 the second.
    Run {
        half: usize,
        ids: &'p [RunId],
    },
    /// Texts rendered for this search: ranks by row, and the texts, sorted.
    Rendered {
        ranks: Vec<u32>,
        sorted: Vec<String>,
    },
    /// No row has a value.
    Nothing,
}

pub(super) fn run_half(run: RunId, half: usize) -> u64 {
    let number = u128::from_be_bytes(run.0);
    (if half == 0 { number >> 64 } else { number }) as u64
}

impl SortColumn<'_> {
    pub(super) fn code(&self, row: u32) -> u64 {
        let ascending = self.ascending;
        match &self.values {
            SortValues::Number(column) => directed(column.code(row), ascending),
            SortValues::Time(column) => time_code(column.get(row), ascending),
            SortValues::Rank { codes, dictionary, .. } => match codes.get(row) {
                0 => MISSING,
                code => {
                    debug_assert!((code as usize) < dictionary.ranks().len(), "code {code} has no rank");
                    let rank = dictionary.ranks().get(code as usize).copied().unwrap_or(0);
                    rank_code(u64::from(rank) * 2 + 1, ascending)
                }
            },
            SortValues::CodeNumber { codes, dictionary } => {
                dictionary.number(codes.get(row)).map_or(MISSING, |number| directed(number_code(number), ascending))
            }
            SortValues::Run { half, ids } => {
                let half = run_half(ids[row as usize], *half);
                if ascending { half } else { !half }
            }
            SortValues::Rendered { ranks, .. } => rank_code(u64::from(ranks[row as usize]) * 2 + 1, ascending),
            SortValues::Nothing => MISSING,
        }
    }

    /// A lower bound for the codes of all rows of the chunk.
    pub(super) fn bound(&self, chunk: usize) -> u64 {
        match &self.values {
            SortValues::Number(column) => {
                column.chunk(chunk).map_or(MISSING, |numbers| match numbers.min <= numbers.max {
                    true if self.ascending => numbers.min,
                    true => !numbers.max,
                    false => NAN,
                })
            }
            SortValues::Time(column) => match column.chunks.get(chunk) {
                Some(times) if times.min <= times.max => {
                    time_code(if self.ascending { times.min } else { times.max }, self.ascending)
                }
                _ => MISSING,
            },
            SortValues::Rank { codes, best, .. } => codes.chunk(chunk).map_or(MISSING, |_| *best),
            SortValues::CodeNumber { codes, .. } => codes.chunk(chunk).map_or(MISSING, |_| 0),
            SortValues::Run { .. } | SortValues::Rendered { .. } => 0,
            SortValues::Nothing => MISSING,
        }
    }

    /// The code that a token's value has in this projection.
    pub(super) fn code_of(&self, value: &SortValue) -> Result<u64> {
        let ascending = self.ascending;
        Ok(match (&self.values, value) {
            (SortValues::Run { half, .. }, SortValue::Text(text)) => {
                let half = run_half(text.parse().map_err(|_| foreign())?, *half);
                if ascending { half } else { !half }
            }
            (_, SortValue::Missing) => MISSING,
            // No row has a value here, so all come after any value.
            (SortValues::Nothing, _) => 0,
            (SortValues::Number(_) | SortValues::CodeNumber { .. }, SortValue::Number(number)) => {
                directed(number_code(*number), ascending)
            }
            (SortValues::Time(_), SortValue::Time(time)) => time_code(*time, ascending),
            (SortValues::Rank { dictionary, .. }, SortValue::Text(text)) => {
                rank_code(dictionary.double_rank(text), ascending)
            }
            (SortValues::Rendered { sorted, .. }, SortValue::Text(text)) => {
                let double = match sorted.binary_search(text) {
                    Ok(rank) => rank as u64 * 2 + 1,
                    Err(rank) => rank as u64 * 2,
                };
                rank_code(double, ascending)
            }
            _ => return Err(foreign()),
        })
    }

    pub(super) fn value(&self, row: u32) -> SortValue {
        match &self.values {
            SortValues::Number(column) => column.get(row).map_or(SortValue::Missing, SortValue::Number),
            SortValues::Time(column) => match column.get(row) {
                NO_TIME => SortValue::Missing,
                time => SortValue::Time(time),
            },
            SortValues::Rank { codes, dictionary, .. } => match codes.get(row) {
                0 => SortValue::Missing,
                code => SortValue::Text(dictionary.text(code).to_owned()),
            },
            SortValues::CodeNumber { codes, dictionary } => {
                dictionary.number(codes.get(row)).map_or(SortValue::Missing, SortValue::number)
            }
            SortValues::Run { ids, .. } => SortValue::Text(ids[row as usize].to_string()),
            SortValues::Rendered { ranks, sorted } => SortValue::Text(sorted[ranks[row as usize] as usize].clone()),
            SortValues::Nothing => SortValue::Missing,
        }
    }
}

impl<'p> SortColumn<'p> {
    /// A test passed by all rows with a code of at most `code`; `None` if a test would not be faster.
    pub(super) fn at_most(&self, code: u64) -> Option<Node<'p>> {
        let comparison = if self.ascending { Comparison::Le } else { Comparison::Ge };
        match (&self.values, code) {
            (_, MISSING) => None,
            (SortValues::Number(column), NAN) => Some(Node::Number { column, test: NumberTest::IsNotNull }),
            (SortValues::Number(column), code) => {
                let value = number_of_code(directed(code, self.ascending));
                Some(Node::Number { column, test: NumberTest::Compare(comparison, value) })
            }
            (SortValues::Time(column), code) => {
                let time = time_of_code(code, self.ascending);
                let test = match self.ascending {
                    true => TimeTest::Within(NO_TIME + 1, time),
                    false => TimeTest::Within(time, i64::MAX),
                };
                Some(Node::Time { column, test })
            }
            (SortValues::Rank { codes, dictionary, .. }, code) => {
                let (from, until) = if self.ascending { (0, code + 1) } else { (RANKS_END - code, RANKS_END) };
                Some(Node::Code { column: codes, test: CodeTest::rank_within(dictionary.ranks(), from, until) })
            }
            (SortValues::Run { half: 0, ids }, code) => {
                let (from, to) = if self.ascending { (0, code) } else { (!code, u64::MAX) };
                Some(Node::Run { ids, from, to })
            }
            (SortValues::CodeNumber { codes, dictionary }, code) if code != NAN => {
                let (numbers, is_number) = dictionary.numbers();
                let value = number_of_code(directed(code, self.ascending));
                Some(Node::Code { column: codes, test: CodeTest::Number { numbers, is_number, comparison, value } })
            }
            _ => None,
        }
    }

    /// A test passed by exactly the rows with a code below `code`; `None` if a test would not be faster.
    pub(super) fn below(&self, code: u64) -> Option<Node<'p>> {
        let comparison = if self.ascending { Comparison::Lt } else { Comparison::Gt };
        match (&self.values, code) {
            (SortValues::Number(column), MISSING) => Some(Node::Number { column, test: NumberTest::IsNotNull }),
            (SortValues::Number(column), NAN) => {
                Some(Node::Number { column, test: NumberTest::Compare(Comparison::Le, f64::INFINITY) })
            }
            (SortValues::Number(column), code) => {
                let value = number_of_code(directed(code, self.ascending));
                Some(Node::Number { column, test: NumberTest::Compare(comparison, value) })
            }
            (SortValues::Time(column), MISSING) => {
                Some(Node::Time { column, test: TimeTest::Within(NO_TIME + 1, i64::MAX) })
            }
            (SortValues::Time(column), code) => {
                let time = time_of_code(code, self.ascending);
                let test = match self.ascending {
                    true => TimeTest::Within(NO_TIME + 1, time.saturating_sub(1)),
                    false if time == i64::MAX => return None,
                    false => TimeTest::Within(time + 1, i64::MAX),
                };
                Some(Node::Time { column, test })
            }
            (SortValues::Run { half: 0, ids }, code) if code != 0 => {
                let (from, to) = if self.ascending { (0, code - 1) } else { (!code + 1, u64::MAX) };
                Some(Node::Run { ids, from, to })
            }
            (SortValues::Rank { codes, .. }, MISSING) => Some(Node::Code { column: codes, test: CodeTest::Present }),
            (SortValues::Rank { codes, dictionary, .. }, code) => {
                let (from, until) = if self.ascending { (0, code) } else { (RANKS_END - code + 1, RANKS_END) };
                Some(Node::Code { column: codes, test: CodeTest::rank_within(dictionary.ranks(), from, until) })
            }
            _ => None,
        }
    }
}

pub(super) fn sort_values<'p>(
    order: &OrderKey,
    projection: &'p Projection,
    source: &dyn Source,
) -> Result<SortValues<'p>> {
    Ok(match &order.key {
        Key::Number(NumberKey::StartTime) => SortValues::Time(&projection.start),
        Key::Number(NumberKey::EndTime) => SortValues::Time(&projection.end),
        Key::Number(number @ NumberKey::Metric { name, aggregate }) => {
            match source.metric_key(name)?.and_then(|key| projection.metrics.get(&key)) {
                Some(columns) => {
                    SortValues::Number(columns.column(*aggregate).ok_or_else(|| unprepared(&number.to_string()))?)
                }
                None => SortValues::Nothing,
            }
        }
        Key::Number(number @ (NumberKey::Param(name) | NumberKey::Tag(name))) => {
            let columns = if matches!(number, NumberKey::Param(_)) { &projection.params } else { &projection.tags };
            match columns.get(name.as_str()) {
                Some(column) if column.dictionary.is_parsed() => {
                    SortValues::CodeNumber { codes: &column.codes, dictionary: &column.dictionary }
                }
                Some(_) => return Err(unprepared(&number.to_string())),
                None => SortValues::Nothing,
            }
        }
        Key::Text(TextKey::RunId) => SortValues::Run { half: 0, ids: &projection.rows.ids },
        Key::Text(TextKey::ArtifactUri) => rendered(projection, source),
        Key::Text(text) => match projection.text_column(text) {
            Some(column) if column.dictionary.is_ranked() => {
                let rank = column.dictionary.best_rank(order.ascending);
                let best = rank.map_or(MISSING, |rank| rank_code(u64::from(rank) * 2 + 1, order.ascending));
                SortValues::Rank { codes: &column.codes, dictionary: &column.dictionary, best }
            }
            Some(_) => return Err(unprepared(&text.to_string())),
            None => SortValues::Nothing,
        },
    })
}

/// Artifact locations of all rows, sorted. Slow: they are rendered for this search.
fn rendered<'p>(projection: &Projection, source: &dyn Source) -> SortValues<'p> {
    let texts = projection.rows.ids.iter().enumerate().map(|(row, run)| {
        let explicit = projection.artifact_location.get(row as u32);
        source.artifact_uri(projection.experiment, *run, explicit)
    });
    let mut pairs: Vec<(String, u32)> = texts.zip(0..).collect();
    pairs.sort_unstable();
    let mut ranks = vec![0; pairs.len()];
    let mut sorted: Vec<String> = Vec::new();
    for (text, row) in pairs {
        if sorted.last() != Some(&text) {
            sorted.push(text);
        }
        ranks[row as usize] = sorted.len() as u32 - 1;
    }
    SortValues::Rendered { ranks, sorted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_order_as_the_answer_does() {
        let numbers =
            [f64::NEG_INFINITY, f64::MIN, -1.0, -f64::MIN_POSITIVE, 0.0, 5e-324, 1.0, f64::MAX, f64::INFINITY];
        for ascending in [true, false] {
            for (i, a) in numbers.iter().enumerate() {
                let code = |value: f64| directed(number_code(value), ascending);
                assert_eq!(number_of_code(directed(code(*a), ascending)), *a);
                assert!(code(*a) < NAN);
                for (j, b) in numbers.iter().enumerate() {
                    let order = code(*a).cmp(&code(*b));
                    assert_eq!(order, if ascending { i.cmp(&j) } else { j.cmp(&i) });
                }
            }
            assert_eq!(number_code(-0.0), number_code(0.0));
            let times = [NO_TIME + 1, -1, 0, 1, i64::MAX];
            for (i, a) in times.iter().enumerate() {
                assert_eq!(time_of_code(time_code(*a, ascending), ascending), *a);
                assert!(time_code(*a, ascending) < time_code(NO_TIME, ascending));
                for (j, b) in times.iter().enumerate() {
                    let order = time_code(*a, ascending).cmp(&time_code(*b, ascending));
                    assert_eq!(order, if ascending { i.cmp(&j) } else { j.cmp(&i) });
                }
            }
        }
    }
}
