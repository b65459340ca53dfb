//! Tests of one column, chunk by chunk; a filter's terms are compiled to these.

use super::column::{CHUNK_BLOCKS, CodeColumn, Mask, NONE, each_bit, scan};
use super::datasets::each_dataset_field;
use super::filter::{Comparison, NumberTest, TextMatcher};
use super::number::{NAN, NO_TIME, NumberColumn, TimeColumn, number_code};
use super::text::{Dictionary, PAGE_TEXTS, Page};

/// A test of a time that is present or not.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TimeTest {
    /// Within the range, both ends included.
    Within(i64, i64),
    /// Present, and not this time.
    Other(i64),
    Absent,
}

/// A test of a code.
pub(crate) enum CodeTest<'p> {
    Equal(u32),
    /// Present, and not this code.
    Other(u32),
    Present,
    Absent,
    /// Bit c: whether code c passes.
    Table(Vec<u64>),
    /// At most 255 codes: 1 for a code that passes.
    SmallTable(Box<[u8; 256]>),
    /// The text as a number.
    Number {
        numbers: &'p [f64],
        is_number: &'p [u64],
        comparison: Comparison,
        value: f64,
    },
    /// Tests a page of the dictionary when one of its texts is first met.
    Pages(Box<Pages<'p>>),
    /// Double rank in a range that excludes its end, or missing; for [`super::scan`].
    RankWithin {
        ranks: &'p [u32],
        from: u64,
        until: u64,
    },
}

/// Test results for a large dictionary, page by page.
pub(crate) struct Pages<'p> {
    pub(super) dictionary: &'p Dictionary,
    pub(super) matcher: TextTestOf,
    /// Whether each page was tested.
    pub(super) tested: Vec<bool>,
    /// Bit c: whether code c passed.
    pub(super) passed: Vec<u64>,
}

/// A test of a dictionary's text: of the text itself, or of a field of packed data sets.
pub(crate) struct TextTestOf {
    pub(super) matcher: TextMatcher,
    pub(super) field: Option<usize>,
}

impl TextTestOf {
    /// Sets the bits of the codes of a page whose texts match.
    pub(super) fn test_page(&self, dictionary: &Dictionary, page: usize, passed: &mut [u64]) {
        let first = (page * PAGE_TEXTS + 1) as u32;
        debug_assert!(page < dictionary.pages.len(), "no text lies on page {page}");
        let Some(Page { texts, ends }) = dictionary.pages.get(page) else { return };
        if let (TextMatcher::Like(pattern), None) = (&self.matcher, self.field) {
            return pattern.each_match(texts, ends, |i| set_bit(passed, first + i as u32));
        }
        for code in (first..).take(ends.len()).filter(|code| self.matches(dictionary.text(*code))) {
            set_bit(passed, code);
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self.field {
            None => self.matcher.matches(text),
            Some(field) => {
                let mut any = false;
                each_dataset_field(text, field, |text| any |= self.matcher.matches(text));
                any
            }
        }
    }
}

pub(super) fn bit(words: &[u64], at: u32) -> bool {
    words.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

pub(super) fn set_bit(words: &mut [u64], at: u32) {
    words[at as usize / 64] |= 1 << (at % 64);
}

impl CodeTest<'_> {
    /// A test by a table of codes; bit 0 is ignored.
    pub(super) fn table(mut table: Vec<u64>) -> Self {
        if let Some(word) = table.first_mut() {
            *word &= !1;
        }
        if table.len() <= 4 {
            let mut small = Box::new([0; 256]);
            for (code, flag) in small.iter_mut().enumerate() {
                *flag = u8::from(bit(&table, code as u32));
            }
            Self::SmallTable(small)
        } else {
            Self::Table(table)
        }
    }
}

impl<'p> CodeTest<'p> {
    /// Codes whose double rank lies from `from` to below `until`.
    pub(crate) fn rank_within(ranks: &'p [u32], from: u64, until: u64) -> Self {
        if ranks.len() > 256 {
            return Self::RankWithin { ranks, from, until };
        }
        let mut small = Box::new([0; 256]);
        for (flag, rank) in small.iter_mut().zip(ranks).skip(1) {
            *flag = u8::from((from..until).contains(&(u64::from(*rank) * 2 + 1)));
        }
        Self::SmallTable(small)
    }
}

pub(super) fn eval_number(column: &NumberColumn, test: NumberTest, chunk: usize, candidates: &Mask, out: &mut Mask) {
    let Some(numbers) = column.chunk(chunk) else {
        if test == NumberTest::IsNull {
            *out = *candidates;
        }
        return;
    };
    let greatest = number_code(f64::INFINITY);
    let (from, to) = match test {
        NumberTest::IsNotNull => (0, NAN),
        NumberTest::IsNull => {
            let mut present = NONE;
            numbers.scan(0, NAN, candidates, &mut present);
            for i in 0..CHUNK_BLOCKS {
                out[i] = candidates[i] & !present[i];
            }
            return;
        }
        NumberTest::Compare(Comparison::Ne, value) => {
            let mut equal = NONE;
            if !value.is_nan() {
                numbers.scan(number_code(value), number_code(value), candidates, &mut equal);
            }
            numbers.scan(0, NAN, candidates, out);
            out.iter_mut().zip(&equal).for_each(|(out, equal)| *out &= !equal);
            return;
        }
        NumberTest::Compare(_, value) if value.is_nan() => return,
        NumberTest::Compare(comparison, value) => {
            let code = number_code(value);
            match comparison {
                Comparison::Eq | Comparison::Ne => (code, code),
                Comparison::Lt => (0, code - 1),
                Comparison::Le => (0, code),
                Comparison::Gt => (code + 1, greatest),
                Comparison::Ge => (code, greatest),
            }
        }
    };
    numbers.scan(from, to, candidates, out);
}

pub(super) fn eval_time(column: &TimeColumn, test: TimeTest, chunk: usize, candidates: &Mask, out: &mut Mask) {
    let Some(times) = column.chunks.get(chunk) else {
        if matches!(test, TimeTest::Absent) {
            *out = *candidates;
        }
        return;
    };
    match test {
        TimeTest::Within(from, to) => {
            if times.min <= to && times.max >= from {
                scan(&times.values, candidates, out, |time| from <= time && time <= to);
            }
        }
        TimeTest::Other(other) => {
            scan(&times.values, candidates, out, |time| time != other && time != NO_TIME);
        }
        TimeTest::Absent => {
            let mut present = NONE;
            scan(&times.values, candidates, &mut present, |time| time != NO_TIME);
            for i in 0..CHUNK_BLOCKS {
                out[i] = candidates[i] & !present[i];
            }
        }
    }
}

pub(super) fn eval_code(column: &CodeColumn, test: &mut CodeTest<'_>, chunk: usize, candidates: &Mask, out: &mut Mask) {
    let Some(codes) = column.chunk(chunk) else {
        if matches!(test, CodeTest::Absent) {
            *out = *candidates;
        }
        return;
    };
    match test {
        CodeTest::Equal(wanted) => codes.scan_equal(*wanted, candidates, out),
        CodeTest::Other(other) => codes.scan(candidates, out, |code| code != *other),
        CodeTest::Present => codes.scan(candidates, out, |_| true),
        CodeTest::Absent => {
            let mut present = NONE;
            codes.scan(candidates, &mut present, |_| true);
            for i in 0..CHUNK_BLOCKS {
                out[i] = candidates[i] & !present[i];
            }
        }
        CodeTest::Table(table) => codes.scan(candidates, out, |code| bit(table, code)),
        CodeTest::SmallTable(table) => codes.scan(candidates, out, |code| table[code as usize & 255] != 0),
        CodeTest::Number { numbers, is_number, comparison: Comparison::Ne, value } => {
            let test = |code: u32| bit(is_number, code) && numbers.get(code as usize).is_some_and(|n| n != value);
            codes.scan(candidates, out, test);
        }
        CodeTest::Number { numbers, comparison, value, .. } => {
            // A text that is not a number is NaN, which passes no test here.
            let number = |code: u32| numbers.get(code as usize).copied().unwrap_or(f64::NAN);
            let value = *value;
            match comparison {
                Comparison::Eq | Comparison::Ne => codes.scan(candidates, out, |code| number(code) == value),
                Comparison::Lt => codes.scan(candidates, out, |code| number(code) < value),
                Comparison::Le => codes.scan(candidates, out, |code| number(code) <= value),
                Comparison::Gt => codes.scan(candidates, out, |code| number(code) > value),
                Comparison::Ge => codes.scan(candidates, out, |code| number(code) >= value),
            }
        }
        CodeTest::RankWithin { ranks, from, until } => {
            let (from, until) = (*from, *until);
            let rank = |code: u32| ranks.get(code as usize).map_or(u64::MAX, |rank| u64::from(*rank) * 2 + 1);
            codes.scan(candidates, out, |code| (from..until).contains(&rank(code)));
        }
        CodeTest::Pages(pages) => {
            let Pages { dictionary, matcher, tested, passed } = &mut **pages;
            // Rows that came together have their texts in one page, so most chunks need one or two pages.
            let mut last = usize::MAX;
            for (block, candidates) in candidates.iter().enumerate() {
                each_bit(*candidates, |i| {
                    let page = (codes.get(block * 64 + i) as usize).wrapping_sub(1) / PAGE_TEXTS;
                    if page != last
                        && let Some(tested @ false) = tested.get_mut(page)
                    {
                        *tested = true;
                        matcher.test_page(dictionary, page, passed);
                    }
                    last = page;
                });
            }
            codes.scan(candidates, out, |code| bit(passed, code));
        }
    }
}
