//! Columns of numbers and of times: one or none per row.
//!
//! Numbers are kept as integers of the same order (`number_code`), with NaN and "none" above all others: every
//! comparison is a range of integers, and a sort key is the code itself. Zones (least and greatest code or time of a
//! chunk) only widen: they are bounds, not exact values.

use super::column::{Mask, ONE_BY_ONE_MAX, each_bit, scan, scan_sparse, split, test_block};

/// Order code of a missing number; above all others.
pub(crate) const MISSING: u64 = u64::MAX;
/// Order code of NaN; above all numbers.
pub(crate) const NAN: u64 = u64::MAX - 1;
const SIGN: u64 = 1 << 63;

/// A number as a u64 with the same order; NaN, then [`MISSING`], are above all others. -0.0 becomes 0.0.
pub(crate) fn number_code(value: f64) -> u64 {
    if value.is_nan() { NAN } else { raw_code(value + 0.0) }
}

fn raw_code(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits & SIGN != 0 { !bits } else { bits | SIGN }
}

/// The inverse of [`number_code`]; NaN for a code that is not a number's.
pub(crate) fn number_of_code(code: u64) -> f64 {
    if code >= NAN { f64::NAN } else { f64::from_bits(if code & SIGN != 0 { code & !SIGN } else { !code }) }
}

/// [`number_code`] of an f32, in 32 bits; here too the two greatest codes mean NaN and missing.
fn narrow_code(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 != 0 { !bits } else { bits | 1 << 31 }
}

fn narrow_of_wide(code: u64) -> u32 {
    match code {
        MISSING => u32::MAX,
        NAN => u32::MAX - 1,
        code => narrow_code(number_of_code(code) as f32),
    }
}

fn wide_of_narrow(code: u32) -> u64 {
    match code {
        u32::MAX => MISSING,
        0xffff_fffe => NAN,
        code => raw_code(f64::from(f32::from_bits(if code >> 31 != 0 { code & !(1 << 31) } else { !code }))),
    }
}

/// Whether the number of a code is exact as f32.
fn is_narrow(code: u64) -> bool {
    wide_of_narrow(narrow_of_wide(code)) == code
}

/// The range of narrow codes within a range of wide ones; both ends are included.
fn narrow_range(from: u64, to: u64) -> Option<(u32, u32)> {
    let (least, greatest) = (raw_code(f64::NEG_INFINITY), raw_code(f64::INFINITY));
    if to < least || from > to {
        return None;
    }
    let from = match from {
        MISSING => u32::MAX,
        NAN => u32::MAX - 1,
        from if from <= least => 0,
        from if from > greatest => u32::MAX - 1,
        from => {
            let value = number_of_code(from);
            let nearest = value as f32;
            narrow_code(if f64::from(nearest) < value { nearest.next_up() } else { nearest })
        }
    };
    let to = match to {
        MISSING => u32::MAX,
        NAN => u32::MAX - 1,
        to if to >= greatest => narrow_code(f32::INFINITY),
        to => {
            let value = number_of_code(to);
            let nearest = value as f32;
            narrow_code(if f64::from(nearest) > value { nearest.next_down() } else { nearest })
        }
    };
    (from <= to).then_some((from, to))
}

/// The numbers of a chunk, with their bounds.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    pub(crate) values: Values,
    /// Least code ever set in this chunk, without NaN; above `max` if there is none.
    pub(crate) min: u64,
    /// Greatest code ever set in this chunk, without NaN.
    pub(crate) max: u64,
}

/// The codes of a chunk. Wide ones are split in two halves: the high half alone decides nearly every comparison, with
/// half the bytes.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    /// Sorted by row.
    Sparse { rows: Vec<u16>, codes: Vec<u64> },
    /// Numbers that are all exact as f32.
    Narrow(Vec<u32>),
    /// Any numbers; both lists have the same length.
    Wide { high: Vec<u32>, low: Vec<u32> },
}

/// Bytes of a sparse number.
const SPARSE_NUMBER_BYTES: usize = 10;

fn halves(code: u64) -> (u32, u32) {
    ((code >> 32) as u32, code as u32)
}

fn whole(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn put_or_missing(list: &mut Vec<u32>, at: usize, value: u32) {
    if at >= list.len() {
        list.resize(at + 1, u32::MAX);
    }
    list[at] = value;
}

/// Sets in `out` the candidates with `from <= code <= to`.
fn scan_wide(high: &[u32], low: &[u32], from: u64, to: u64, candidates: &Mask, out: &mut Mask) {
    let (first, last) = (halves(from).0, halves(to).0);
    let span = last - first;
    let exact = |at: usize| {
        let (Some(high), Some(low)) = (high.get(at), low.get(at)) else { return false };
        (from..=to).contains(&whole(*high, *low))
    };
    for (block, (values, (candidates, out))) in high.chunks(64).zip(candidates.iter().zip(out)).enumerate() {
        if *candidates == 0 {
            continue;
        }
        let mut open = *candidates;
        let mut bits = 0;
        if let Ok(values) = <&[u32; 64]>::try_from(values)
            && candidates.count_ones() > ONE_BY_ONE_MAX
        {
            // Halves strictly between the ends need no second test; those at the ends do.
            open &= test_block(values, |half| half.wrapping_sub(first) <= span);
            if span >= 2 && open.count_ones() > ONE_BY_ONE_MAX {
                bits = open & test_block(values, |half| half.wrapping_sub(first + 1) <= span - 2);
                open &= !bits;
            }
        }
        each_bit(open, |i| bits |= u64::from(exact(block * 64 + i)) << i);
        *out = bits;
    }
}

impl Numbers {
    fn new() -> Self {
        let values = Values::Sparse { rows: Vec::new(), codes: Vec::new() };
        Self { values, min: MISSING, max: 0 }
    }

    fn set(&mut self, at: usize, code: u64) {
        if code < NAN {
            self.min = self.min.min(code);
            self.max = self.max.max(code);
        }
        self.values.set(at, code);
    }

    /// Sets in `out` the candidates with `from <= code <= to`.
    pub(crate) fn scan(&self, from: u64, to: u64, candidates: &Mask, out: &mut Mask) {
        if from > to || (to < NAN && (from > self.max || to < self.min)) {
            return;
        }
        match &self.values {
            Values::Sparse { rows, codes } => {
                scan_sparse(rows, codes, candidates, out, |code| (from..=to).contains(&code))
            }
            Values::Narrow(codes) => {
                if let Some((from, to)) = narrow_range(from, to) {
                    let span = to - from;
                    scan(codes, candidates, out, |code| code.wrapping_sub(from) <= span);
                }
            }
            Values::Wide { high, low } => scan_wide(high, low, from, to, candidates, out),
        }
    }
}

impl Values {
    /// The code at a place.
    pub(crate) fn get(&self, at: usize) -> u64 {
        let found = match self {
            Self::Sparse { rows, codes } => rows.binary_search(&(at as u16)).ok().and_then(|i| codes.get(i)).copied(),
            Self::Narrow(codes) => codes.get(at).map(|code| wide_of_narrow(*code)),
            Self::Wide { high, low } => high.get(at).zip(low.get(at)).map(|(high, low)| whole(*high, *low)),
        };
        found.unwrap_or(MISSING)
    }

    fn len(&self) -> usize {
        match self {
            Self::Sparse { rows, .. } => rows.len(),
            Self::Narrow(codes) => codes.len(),
            Self::Wide { high, .. } => high.len(),
        }
    }

    /// Calls `visit` with (place, code) of all numbers present, by place.
    pub(crate) fn each(&self, mut visit: impl FnMut(usize, u64)) {
        match self {
            Self::Sparse { rows, codes } => {
                rows.iter().zip(codes).for_each(|(row, code)| visit(usize::from(*row), *code))
            }
            dense => {
                let all = (0..dense.len()).map(|at| (at, dense.get(at)));
                all.filter(|(_, code)| *code != MISSING).for_each(|(at, code)| visit(at, code));
            }
        }
    }

    fn set(&mut self, at: usize, code: u64) {
        match self {
            Self::Sparse { rows, codes } => {
                match rows.binary_search(&(at as u16)) {
                    Ok(i) if code == MISSING => {
                        rows.remove(i);
                        codes.remove(i);
                        return;
                    }
                    Ok(i) => codes[i] = code,
                    Err(_) if code == MISSING => return,
                    Err(i) => {
                        rows.insert(i, at as u16);
                        codes.insert(i, code);
                    }
                }
                let rows_dense = rows.last().map_or(0, |last| usize::from(*last) + 1);
                let sparse_bytes = rows.len() * SPARSE_NUMBER_BYTES;
                if rows_dense * 4 <= sparse_bytes {
                    let bytes = if codes.iter().all(|code| is_narrow(*code)) { 4 } else { 8 };
                    if rows_dense * bytes <= sparse_bytes {
                        self.rebuild(bytes);
                    }
                }
            }
            dense => {
                if code == MISSING && at >= dense.len() {
                    return;
                }
                if at > dense.len() + 64 {
                    let mut count = 0;
                    dense.each(|_, _| count += 1);
                    if (at + 1) * 8 > 2 * (count + 1) * SPARSE_NUMBER_BYTES {
                        dense.rebuild(SPARSE_NUMBER_BYTES);
                        return dense.set(at, code);
                    }
                }
                if matches!(dense, Self::Narrow(_)) && !is_narrow(code) {
                    dense.rebuild(8);
                }
                dense.put(at, code);
            }
        }
    }

    /// Sets a place of a dense list, or appends to a sparse one.
    fn put(&mut self, at: usize, code: u64) {
        match self {
            Self::Sparse { rows, codes } => {
                rows.push(at as u16);
                codes.push(code);
            }
            Self::Narrow(codes) => put_or_missing(codes, at, narrow_of_wide(code)),
            Self::Wide { high, low } => {
                put_or_missing(high, at, halves(code).0);
                put_or_missing(low, at, halves(code).1);
            }
        }
    }

    fn rebuild(&mut self, bytes_per_row: usize) {
        let mut new = match bytes_per_row {
            4 => Self::Narrow(Vec::new()),
            8 => Self::Wide { high: Vec::new(), low: Vec::new() },
            _ => Self::Sparse { rows: Vec::new(), codes: Vec::new() },
        };
        self.each(|at, code| new.put(at, code));
        *self = new;
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Numbers>()
            + match self {
                Self::Sparse { rows, codes } => rows.capacity() * 2 + codes.capacity() * 8,
                Self::Narrow(codes) => codes.capacity() * 4,
                Self::Wide { high, low } => (high.capacity() + low.capacity()) * 4,
            }
    }
}

/// One number or none per row.
#[derive(Debug, Clone, Default)]
pub(crate) struct NumberColumn {
    pub(crate) chunks: Vec<Option<Box<Numbers>>>,
}

impl NumberColumn {
    /// The number of a row; `None` if it has none. -0.0 is returned as 0.0, and every NaN as the same one.
    pub(crate) fn get(&self, row: u32) -> Option<f64> {
        match self.code(row) {
            MISSING => None,
            code => Some(number_of_code(code)),
        }
    }

    /// The order code of a row's number, or [`MISSING`].
    pub(crate) fn code(&self, row: u32) -> u64 {
        let (chunk, at) = split(row);
        self.chunk(chunk).map_or(MISSING, |numbers| numbers.values.get(at))
    }

    /// Sets or clears the number of a row.
    pub(crate) fn set(&mut self, row: u32, value: Option<f64>) {
        self.set_code(row, value.map_or(MISSING, number_code));
    }

    fn set_code(&mut self, row: u32, code: u64) {
        let (chunk, at) = split(row);
        if chunk >= self.chunks.len() {
            if code == MISSING {
                return;
            }
            self.chunks.resize_with(chunk + 1, || None);
        }
        match &mut self.chunks[chunk] {
            Some(numbers) => numbers.set(at, code),
            None if code == MISSING => {}
            empty => empty.insert(Box::new(Numbers::new())).set(at, code),
        }
    }

    /// The column whose row i is this one's row `order[i]`.
    pub(crate) fn arranged(&self, order: &[u32]) -> Self {
        let mut column = Self::default();
        for (row, old) in (0..).zip(order) {
            match self.code(*old) {
                MISSING => {}
                code => column.set_code(row, code),
            }
        }
        column
    }

    /// The numbers of a chunk; `None` if it has none.
    pub(crate) fn chunk(&self, chunk: usize) -> Option<&Numbers> {
        self.chunks.get(chunk).and_then(Option::as_deref)
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.capacity() * 8 + self.chunks.iter().flatten().map(|n| n.values.memory_bytes()).sum::<usize>()
    }
}

/// "No time" in a [`TimeColumn`].
pub(crate) const NO_TIME: i64 = i64::MIN;

/// Times of a chunk; rows after the end have none.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    pub(crate) values: Vec<i64>,
    /// Least and greatest time ever set; `min > max` if none.
    pub(crate) min: i64,
    /// Greatest time ever set; see `min`.
    pub(crate) max: i64,
}

/// Unix ms, one per row, or `i64::MIN` for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimeColumn {
    pub(crate) chunks: Vec<Times>,
}

impl TimeColumn {
    /// The time of a row; `i64::MIN` if it has none.
    pub(crate) fn get(&self, row: u32) -> i64 {
        let (chunk, at) = split(row);
        self.chunks.get(chunk).and_then(|times| times.values.get(at)).copied().unwrap_or(NO_TIME)
    }

    /// The column whose row i is this one's row `order[i]`.
    pub(crate) fn arranged(&self, order: &[u32]) -> Self {
        let mut column = Self::default();
        (0..).zip(order).for_each(|(row, old)| column.set(row, self.get(*old)));
        column
    }

    /// Sets the time of a row; `i64::MIN` clears it.
    pub(crate) fn set(&mut self, row: u32, time_ms: i64) {
        let (chunk, at) = split(row);
        if self.chunks.len() <= chunk {
            let empty = || Times { values: Vec::new(), min: i64::MAX, max: i64::MIN };
            self.chunks.resize_with(chunk + 1, empty);
        }
        let times = &mut self.chunks[chunk];
        if time_ms != NO_TIME {
            times.min = times.min.min(time_ms);
            times.max = times.max.max(time_ms);
        }
        if at >= times.values.len() {
            times.values.resize(at + 1, NO_TIME);
        }
        times.values[at] = time_ms;
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(|times| size_of::<Times>() + times.values.capacity() * 8).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::column::{CHUNK_ROWS, CodeColumn, NONE};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn rows() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let row = prop_oneof![0u32..200, 0u32..9000, 4000u32..4200];
        let code = prop_oneof![Just(0u32), 1u32..4, 200u32..300, 65_000u32..70_000];
        prop::collection::vec((row, code), 0..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn columns_keep_what_was_set(sets in rows()) {
            let (mut codes, mut numbers, mut model) = (CodeColumn::default(), NumberColumn::default(), BTreeMap::new());
            for (row, code) in sets {
                // Quarters are exact as f32; a third of a large number is not.
                let number = if code > 65_000 { f64::from(code) / 3.0 } else { f64::from(code) / 4.0 };
                codes.set(row, code);
                numbers.set(row, (code != 0).then_some(number));
                model.insert(row, (code, number));
            }
            for (row, (code, number)) in &model {
                prop_assert_eq!(codes.get(*row), *code);
                prop_assert_eq!(numbers.get(*row), (*code != 0).then_some(*number));
            }
            for chunk in 0..3 {
                let candidates = std::array::from_fn(|i| if i % 3 == 0 { 0x0101_0000_0000_1001 } else { u64::MAX });
                let (mut equal, mut less, mut present) = (NONE, NONE, NONE);
                if let Some(codes) = codes.chunk(chunk) {
                    codes.scan_equal(2, &candidates, &mut equal);
                }
                if let Some(numbers) = numbers.chunk(chunk) {
                    numbers.scan(0, number_code(60.0) - 1, &candidates, &mut less);
                    numbers.scan(0, NAN, &candidates, &mut present);
                }
                for at in 0..CHUNK_ROWS {
                    let row = (chunk * CHUNK_ROWS + at) as u32;
                    let (code, number) = model.get(&row).copied().unwrap_or((0, 0.0));
                    let candidate = bit(&candidates, at);
                    prop_assert_eq!(bit(&equal, at), candidate && code == 2);
                    prop_assert_eq!(bit(&less, at), candidate && code != 0 && number < 60.0);
                    prop_assert_eq!(bit(&present, at), candidate && code != 0);
                }
            }
        }
    }

    fn bit(mask: &Mask, at: usize) -> bool {
        mask[at / 64] >> (at % 64) & 1 == 1
    }

    #[test]
    fn ranges_of_narrow_codes_hold_what_the_wide_ones_hold() {
        let f32s =
            [f32::NEG_INFINITY, f32::MIN, -1.5, -1e-45, 0.0, 1e-45, 0.1, 1.0, 16777216.0, f32::MAX, f32::INFINITY];
        let ends = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -5e-324,
            0.0,
            5e-324,
            0.1,
            0.1f32.into(),
            16777217.0,
            1e39,
            f64::INFINITY,
        ];
        let codes =
            || ends.iter().flat_map(|v| [number_code(*v) - 1, number_code(*v), number_code(*v) + 1]).chain([0, NAN]);
        for from in codes() {
            for to in codes() {
                for value in f32s.into_iter().chain([f32::NAN]) {
                    let wide = number_code(value.into());
                    let narrow = narrow_of_wide(wide);
                    assert_eq!(wide_of_narrow(narrow), wide);
                    let in_narrow = narrow_range(from, to).is_some_and(|(from, to)| from <= narrow && narrow <= to);
                    assert_eq!(in_narrow, from <= wide && wide <= to, "{value} {from:x} {to:x}");
                }
            }
        }
    }

    #[test]
    fn a_rare_key_costs_little() {
        let mut column = NumberColumn::default();
        for i in 0..10 {
            column.set(i * 100_000, Some(1.0));
        }
        assert!(column.memory_bytes() < 8192, "{}", column.memory_bytes());
    }
}
