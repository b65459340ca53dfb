//! A filter compiled for one projection, and its evaluation chunk by chunk.
//!
//! - `eval(chunk, candidates)` returns the candidates that match, as a mask. `AND` gives each child the candidates that
//!   passed the ones before, `OR` those that no child matched yet; blocks of 64 rows without candidates are skipped.
//! - Children run in the order of cost / share refused: guessed at first, then measured, and reordered every 16 chunks.
//!   The order changes the time, never the answer.
//! - A test of a text runs once per distinct text, into a table by code. If there are many distinct texts, 4,096 are
//!   tested at once when the first of them is met.

use super::column::{CHUNK_BLOCKS, CHUNK_ROWS, CodeColumn, Mask, NONE, each_bit};
use super::filter::{Comparison, Filter, NumberKey, NumberTest, Term, TextKey, TextMatcher, TextTest};
use super::leaf::{CodeTest, Pages, TextTestOf, TimeTest, bit, eval_code, eval_number, eval_time, set_bit};
use super::number::{NO_TIME, NumberColumn, TimeColumn};
use super::row::{Source, lifecycle_text};
use super::table::{Projection, bit_of};
use super::text::TextColumn;
use crate::entity::Lifecycle;
use crate::error::{Error, Result};
use crate::id::RunId;

/// Up to this many distinct texts, all are tested beforehand.
const TABLE_TEXTS_MAX: usize = 8192;

/// Children are reordered after this many chunks.
const REORDER_CHUNKS: u32 = 16;

/// A test of a row whose value is not in a column.
type RowTest<'p> = Box<dyn Fn(u32) -> bool + 'p>;

/// A compiled filter.
pub(crate) enum Node<'p> {
    All,
    Nothing,
    And(Vec<Child<'p>>, u32),
    Or(Vec<Child<'p>>, u32),
    Not(Box<Node<'p>>),
    Number {
        column: &'p NumberColumn,
        test: NumberTest,
    },
    Time {
        column: &'p TimeColumn,
        test: TimeTest,
    },
    Code {
        column: &'p CodeColumn,
        test: CodeTest<'p>,
    },
    /// Matches these rows, sorted.
    Rows(Vec<u32>),
    /// Matches rows whose id begins with eight bytes in this range, both ends included.
    Run {
        ids: &'p [RunId],
        from: u64,
        to: u64,
    },
    /// Matches rows of one lifecycle, given as bits.
    Words(&'p [u64]),
    Row(RowTest<'p>),
}

/// A child of `AND` or `OR`, with its measured results.
pub(crate) struct Child<'p> {
    node: Node<'p>,
    cost: f64,
    /// Number of candidates tested, and of those that matched; both begin with a guess.
    seen: f64,
    matched: f64,
}

/// The error of a search without [`Projection::prepare`].
pub(crate) fn unprepared(what: &str) -> Error {
    Error::Internal(format!("search was called before the projection was prepared for {what}"))
}

impl<'p> Node<'p> {
    /// Compiles a filter.
    ///
    /// # Errors
    /// `Internal` if the projection was not prepared for it; those of `source`.
    pub(crate) fn new(filter: &Filter, projection: &'p Projection, source: &'p dyn Source) -> Result<Self> {
        let children = |inner: &[Filter]| -> Result<Vec<Child<'p>>> {
            let nodes = inner.iter().map(|filter| Node::new(filter, projection, source));
            nodes.map(|node| node.map(|node| Child::new(node, projection))).collect()
        };
        Ok(match filter {
            Filter::And(inner) => {
                let mut children = children(inner)?;
                children.retain(|child| !matches!(child.node, Node::All));
                if children.iter().any(|child| matches!(child.node, Node::Nothing)) {
                    return Ok(Node::Nothing);
                }
                children.sort_by(|a, b| a.and_rank().total_cmp(&b.and_rank()));
                match children.len() {
                    0 => Node::All,
                    1 => children.remove(0).node,
                    _ => Node::And(children, 0),
                }
            }
            Filter::Or(inner) => {
                let mut children = children(inner)?;
                children.retain(|child| !matches!(child.node, Node::Nothing));
                if children.iter().any(|child| matches!(child.node, Node::All)) {
                    return Ok(Node::All);
                }
                children.sort_by(|a, b| a.or_rank().total_cmp(&b.or_rank()));
                match children.len() {
                    0 => Node::Nothing,
                    1 => children.remove(0).node,
                    _ => Node::Or(children, 0),
                }
            }
            Filter::Not(inner) => match Node::new(inner, projection, source)? {
                Node::All => Node::Nothing,
                Node::Nothing => Node::All,
                Node::Not(node) => *node,
                node => Node::Not(Box::new(node)),
            },
            Filter::Term(Term::Number { key, test }) => Self::number(key, *test, projection, source)?,
            Filter::Term(Term::Text { key, test }) => Self::text(key, test, projection, source),
        })
    }

    fn number(key: &NumberKey, test: NumberTest, projection: &'p Projection, source: &dyn Source) -> Result<Self> {
        let absent = match test {
            NumberTest::IsNull => Node::All,
            _ => Node::Nothing,
        };
        Ok(match key {
            NumberKey::StartTime => Self::time(&projection.start, test),
            NumberKey::EndTime => Self::time(&projection.end, test),
            NumberKey::Param(name) => match projection.params.get(name.as_str()) {
                Some(column) => Self::number_of_text(column, test, key)?,
                None => absent,
            },
            NumberKey::Tag(name) => match projection.tags.get(name.as_str()) {
                Some(column) => Self::number_of_text(column, test, key)?,
                None => absent,
            },
            NumberKey::Metric { name, aggregate } => {
                match source.metric_key(name)?.and_then(|key| projection.metrics.get(&key)) {
                    Some(columns) => match columns.column(*aggregate) {
                        Some(column) => Node::Number { column, test },
                        None => return Err(unprepared(&key.to_string())),
                    },
                    None => absent,
                }
            }
        })
    }

    fn number_of_text(column: &'p TextColumn, test: NumberTest, key: &NumberKey) -> Result<Self> {
        if !column.dictionary.is_parsed() {
            return Err(unprepared(&key.to_string()));
        }
        let (numbers, is_number) = column.dictionary.numbers();
        let code = |test| Node::Code { column: &column.codes, test };
        Ok(match test {
            NumberTest::IsNotNull => code(CodeTest::table(is_number.to_vec())),
            NumberTest::IsNull => Node::Not(Box::new(code(CodeTest::table(is_number.to_vec())))),
            NumberTest::Compare(comparison, value) if numbers.len() <= TABLE_TEXTS_MAX => {
                let mut table = vec![0; is_number.len()];
                for (at, number) in numbers.iter().enumerate() {
                    if bit(is_number, at as u32) && comparison.holds(*number, value) {
                        set_bit(&mut table, at as u32);
                    }
                }
                code(CodeTest::table(table))
            }
            NumberTest::Compare(comparison, value) => code(CodeTest::Number { numbers, is_number, comparison, value }),
        })
    }

    pub(crate) fn time(column: &'p TimeColumn, test: NumberTest) -> Self {
        let (comparison, value) = match test {
            NumberTest::IsNull => return Node::Time { column, test: TimeTest::Absent },
            NumberTest::IsNotNull => return Node::Time { column, test: TimeTest::Within(NO_TIME + 1, i64::MAX) },
            NumberTest::Compare(comparison, value) => (comparison, value),
        };
        let within = |from: i64, to: i64| match from <= to {
            true => Node::Time { column, test: TimeTest::Within(from, to) },
            false => Node::Nothing,
        };
        let (first, last) = (NO_TIME + 1, i64::MAX);
        if value.is_nan() {
            return if comparison == Comparison::Ne { within(first, last) } else { Node::Nothing };
        }
        // The least time at or above the number, and the greatest at or below it; `None` if there is no such i64.
        let at_least =
            (value <= i64::MAX as f64 && value.ceil() < -(i64::MIN as f64)).then(|| (value.ceil() as i64).max(first));
        let at_most = (value >= i64::MIN as f64).then_some(value.floor() as i64);
        let whole = at_least == at_most;
        match comparison {
            Comparison::Eq => match at_least {
                Some(time) if whole => within(time, time),
                _ => Node::Nothing,
            },
            Comparison::Ne => match at_least {
                Some(time) if whole => Node::Time { column, test: TimeTest::Other(time) },
                _ => within(first, last),
            },
            Comparison::Ge => at_least.map_or(Node::Nothing, |from| within(from, last)),
            Comparison::Lt => match at_least {
                Some(from) => from.checked_sub(1).map_or(Node::Nothing, |to| within(first, to)),
                None => within(first, last),
            },
            Comparison::Le => at_most.map_or(Node::Nothing, |to| within(first, to)),
            Comparison::Gt => match at_most {
                Some(to) => to.checked_add(1).map_or(Node::Nothing, |from| within(from.max(first), last)),
                None => within(first, last),
            },
        }
    }

    fn text(key: &TextKey, test: &TextTest, projection: &'p Projection, source: &'p dyn Source) -> Self {
        let constant = |holds: bool| if holds { Node::All } else { Node::Nothing };
        match key {
            TextKey::RunId => Self::run_id(test, projection),
            TextKey::Experiment => {
                let matches = TextMatcher::new(test).matches(&projection.experiment.to_string());
                constant(*test != TextTest::IsNull && matches)
            }
            TextKey::Lifecycle => {
                let matcher = TextMatcher::new(test);
                let holds = |lifecycle| *test != TextTest::IsNull && matcher.matches(lifecycle_text(lifecycle));
                match (holds(Lifecycle::Active), holds(Lifecycle::Deleted)) {
                    (true, false) => Node::Words(&projection.active),
                    (false, true) => Node::Words(&projection.deleted),
                    // No view shows purged runs.
                    (both, _) => constant(both),
                }
            }
            TextKey::ArtifactUri => match test {
                TextTest::IsNull => Node::Nothing,
                TextTest::IsNotNull => Node::All,
                test => {
                    let matcher = TextMatcher::new(test);
                    Node::Row(Box::new(move |row| {
                        let run = projection.rows.ids[row as usize];
                        let explicit = projection.artifact_location.get(row);
                        matcher.matches(&source.artifact_uri(projection.experiment, run, explicit))
                    }))
                }
            },
            TextKey::DatasetName => Self::code(&projection.datasets, test, Some(0)),
            TextKey::DatasetDigest => Self::code(&projection.datasets, test, Some(1)),
            TextKey::DatasetContext => Self::code(&projection.datasets, test, Some(2)),
            key => match projection.text_column(key) {
                Some(column) => Self::code(column, test, None),
                None => constant(*test == TextTest::IsNull),
            },
        }
    }

    fn run_id(test: &TextTest, projection: &'p Projection) -> Self {
        let rows = |texts: &[String]| {
            let runs = texts.iter().filter_map(|text| text.parse::<RunId>().ok());
            let mut rows: Vec<u32> = runs.filter_map(|run| projection.rows.row(run)).collect();
            rows.sort_unstable();
            rows.dedup();
            Node::Rows(rows)
        };
        let one = std::slice::from_ref;
        match test {
            TextTest::Eq(text) => rows(one(text)),
            TextTest::Ne(text) => Node::Not(Box::new(rows(one(text)))),
            TextTest::In(list) => rows(list),
            TextTest::NotIn(list) => Node::Not(Box::new(rows(list))),
            TextTest::IsNull => Node::Nothing,
            TextTest::IsNotNull => Node::All,
            TextTest::Like(_) | TextTest::ILike(_) => {
                let matcher = TextMatcher::new(test);
                Node::Row(Box::new(move |row| matcher.matches(&projection.rows.ids[row as usize].to_string())))
            }
        }
    }

    fn code(column: &'p TextColumn, test: &TextTest, field: Option<usize>) -> Self {
        let dictionary = &column.dictionary;
        let code = |test| Node::Code { column: &column.codes, test };
        let find = |text: &str| dictionary.code(text);
        match (test, field) {
            (TextTest::IsNull, None) => return code(CodeTest::Absent),
            (TextTest::IsNotNull, None) => return code(CodeTest::Present),
            (TextTest::Eq(text), None) => return find(text).map_or(Node::Nothing, |c| code(CodeTest::Equal(c))),
            (TextTest::Ne(text), None) => return code(find(text).map_or(CodeTest::Present, CodeTest::Other)),
            (TextTest::In(list), None) => {
                let mut table = vec![0; dictionary.len() / 64 + 1];
                list.iter().filter_map(|text| find(text)).for_each(|c| set_bit(&mut table, c));
                return code(CodeTest::table(table));
            }
            (TextTest::NotIn(list), None) => {
                let mut table = vec![u64::MAX; dictionary.len() / 64 + 1];
                list.iter().filter_map(|text| find(text)).for_each(|c| table[c as usize / 64] &= !(1 << (c % 64)));
                return code(CodeTest::table(table));
            }
            _ => {}
        }
        let matcher = TextTestOf { matcher: TextMatcher::new(test), field };
        let words = dictionary.len() / 64 + 1;
        let tested = if dictionary.len() <= TABLE_TEXTS_MAX {
            let mut table = vec![0; words];
            (0..dictionary.pages.len()).for_each(|page| matcher.test_page(dictionary, page, &mut table));
            code(CodeTest::table(table))
        } else {
            let tested = vec![false; dictionary.pages.len()];
            code(CodeTest::Pages(Box::new(Pages { dictionary, matcher, tested, passed: vec![0; words] })))
        };
        // A data set without a context has no text to test, and neither has a run without data sets.
        if *test == TextTest::IsNull { Node::Not(Box::new(tested)) } else { tested }
    }

    /// Sets the candidates that match in `out`, which must be empty.
    pub(crate) fn eval(&mut self, chunk: usize, candidates: &Mask, out: &mut Mask) {
        match self {
            Node::All => *out = *candidates,
            Node::Nothing => {}
            Node::And(children, chunks) => {
                *out = *candidates;
                for child in children.iter_mut() {
                    let left = *out;
                    *out = NONE;
                    child.eval(chunk, &left, out);
                    if *out == NONE {
                        break;
                    }
                }
                reorder(children, chunks, |child| child.and_rank());
            }
            Node::Or(children, chunks) => {
                let mut left = *candidates;
                for child in children.iter_mut() {
                    let mut found = NONE;
                    child.eval(chunk, &left, &mut found);
                    for i in 0..CHUNK_BLOCKS {
                        out[i] |= found[i];
                        left[i] &= !found[i];
                    }
                    if left == NONE {
                        break;
                    }
                }
                reorder(children, chunks, |child| child.or_rank());
            }
            Node::Not(node) => {
                let mut found = NONE;
                node.eval(chunk, candidates, &mut found);
                for i in 0..CHUNK_BLOCKS {
                    out[i] = candidates[i] & !found[i];
                }
            }
            Node::Number { column, test } => eval_number(column, *test, chunk, candidates, out),
            Node::Time { column, test } => eval_time(column, *test, chunk, candidates, out),
            Node::Code { column, test } => eval_code(column, test, chunk, candidates, out),
            Node::Rows(rows) => {
                let first = rows.partition_point(|row| bit_of(*row).0 < chunk);
                for row in rows[first..].iter().take_while(|row| bit_of(**row).0 == chunk) {
                    let (_, block, bit) = bit_of(*row);
                    out[block] |= candidates[block] & bit;
                }
            }
            Node::Run { ids, from, to } => {
                let first = chunk * CHUNK_ROWS;
                let ids = ids.get(first..ids.len().min(first + CHUNK_ROWS)).unwrap_or_default();
                let head = |run: RunId| (u128::from_be_bytes(run.0) >> 64) as u64;
                super::column::scan(ids, candidates, out, |run| (*from..=*to).contains(&head(run)));
            }
            Node::Words(words) => {
                let words = words.get(chunk * CHUNK_BLOCKS..).unwrap_or_default();
                for ((out, candidates), word) in out.iter_mut().zip(candidates).zip(words) {
                    *out = candidates & word;
                }
            }
            Node::Row(test) => {
                for (block, (out, candidates)) in out.iter_mut().zip(candidates).enumerate() {
                    let first = ((chunk * CHUNK_BLOCKS + block) * 64) as u32;
                    each_bit(*candidates, |i| *out |= u64::from(test(first + i as u32)) << i);
                }
            }
        }
    }

    /// A guess of the nanoseconds per row, and of the share of rows that match.
    pub(crate) fn guess(&self, projection: &Projection) -> (f64, f64) {
        let rows = projection.len().max(1) as f64;
        match self {
            Node::All => (0.01, 1.0),
            Node::Nothing => (0.01, 0.0),
            Node::And(children, _) => (children.iter().map(|c| c.cost).sum(), 0.1),
            Node::Or(children, _) => (children.iter().map(|c| c.cost).sum(), 0.7),
            Node::Not(node) => {
                let (cost, share) = node.guess(projection);
                (cost, 1.0 - share)
            }
            Node::Number { test: NumberTest::Compare(Comparison::Eq, _), .. } => (0.4, 0.05),
            Node::Number { .. } => (0.4, 0.4),
            Node::Time { .. } => (0.5, 0.3),
            Node::Code { test, .. } => match test {
                CodeTest::Equal(_) => (0.1, 0.1),
                CodeTest::Other(_) | CodeTest::Present => (0.1, 0.9),
                CodeTest::Absent => (0.1, 0.1),
                CodeTest::Table(_) | CodeTest::SmallTable(_) => (0.8, 0.3),
                CodeTest::Number { .. } | CodeTest::RankWithin { .. } => (2.0, 0.4),
                CodeTest::Pages(_) => (15.0, 0.1),
            },
            Node::Rows(list) => (0.01, list.len() as f64 / rows),
            Node::Run { .. } => (1.0, 0.5),
            Node::Words(_) => (0.02, 0.5),
            Node::Row(_) => (150.0, 0.1),
        }
    }
}

fn reorder(children: &mut [Child<'_>], chunks: &mut u32, rank: impl Fn(&Child<'_>) -> f64) {
    *chunks += 1;
    if *chunks % REORDER_CHUNKS == 1 {
        children.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    }
}

pub(crate) fn ones(mask: &Mask) -> f64 {
    f64::from(mask.iter().map(|word| word.count_ones()).sum::<u32>())
}

impl<'p> Child<'p> {
    fn new(node: Node<'p>, projection: &Projection) -> Self {
        let (cost, share) = node.guess(projection);
        // The guess weighs as much as a sixteenth of a chunk.
        Self { node, cost, seen: 256.0, matched: 256.0 * share }
    }

    fn eval(&mut self, chunk: usize, candidates: &Mask, out: &mut Mask) {
        self.node.eval(chunk, candidates, out);
        self.seen += ones(candidates);
        self.matched += ones(out);
    }

    fn and_rank(&self) -> f64 {
        self.cost / (1.001 - self.matched / self.seen)
    }

    fn or_rank(&self) -> f64 {
        self.cost / (0.001 + self.matched / self.seen)
    }
}
