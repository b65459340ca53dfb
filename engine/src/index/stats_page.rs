//! A row of `stats`: what is known of up to 16 series of one run whose keys are neighbours.
//!
//! Series of a run are mostly logged together: counts, steps and times are those of the series before, and only values
//! are their own.
//!
//! ```text
//! page  = present u16 le (bit i: the page's key i) | entry of each that is present, ascending
//! entry = how u8 | unless SAME: 6 svarints | values
//!   how     1 SAME: the numbers are those of the entry before       2 F32: values are f32, else f64
//!           4 maybe repeats   8 unordered
//!          16 * where the first value is: 0 stored, 1 it is the least, 2 the greatest, 3 all four are one, stored once
//!          64 * where the last value is: 0 stored, 1 it is the least, 2 the greatest
//!   numbers points logged | first step | first time | latest step - first | latest time - first | greatest time - latest,
//!           each minus that of the entry before; before the first one all are 0
//!   values  least | greatest | first, if stored | latest, if stored
//! ```

use crate::id::KeyId;
use crate::point::Stats;
use crate::varint::{Bytes, put_i64};

/// Keys of a page.
pub(crate) const KEYS_OF_PAGE: u32 = 16;

const SAME: u8 = 1;
const F32: u8 = 2;
const REPEATS: u8 = 4;
const UNORDERED: u8 = 8;
const FIRST_SHIFT: u8 = 4;
const LAST_SHIFT: u8 = 6;

const STORED: u8 = 0;
const LEAST: u8 = 1;
const GREATEST: u8 = 2;
const ALL_ONE: u8 = 3;

fn numbers(stats: &Stats) -> [i64; 6] {
    [
        stats.count_raw as i64,
        stats.first_step,
        stats.first_time_ms,
        stats.last_step.wrapping_sub(stats.first_step),
        stats.last_time_ms.wrapping_sub(stats.first_time_ms),
        stats.time_max_ms.wrapping_sub(stats.last_time_ms),
    ]
}

/// Which of the two extremes a value equals, if any.
fn place(value: f64, min: f64, max: f64) -> u8 {
    if value.to_bits() == min.to_bits() {
        LEAST
    } else if value.to_bits() == max.to_bits() {
        GREATEST
    } else {
        STORED
    }
}

/// Appends a page; keys ascend strictly, and all belong to one page.
pub(super) fn encode(list: &[(KeyId, Stats)], out: &mut Vec<u8>) {
    let present = list.iter().fold(0u16, |bits, (key, _)| bits | 1 << (key.0 % KEYS_OF_PAGE));
    out.extend_from_slice(&present.to_le_bytes());
    let mut before = [0; 6];
    for (_, stats) in list {
        let numbers = numbers(stats);
        let all = [stats.min, stats.max, stats.first_value, stats.last_value];
        let (mut first, mut last) =
            (place(stats.first_value, stats.min, stats.max), place(stats.last_value, stats.min, stats.max));
        if all.iter().all(|value| value.to_bits() == stats.min.to_bits()) {
            (first, last) = (ALL_ONE, STORED);
        }
        let stored = [true, first != ALL_ONE, first == STORED, last == STORED && first != ALL_ONE];
        // Store NaN unchanged: a conversion may change its bits.
        let narrow = |value: &f64| f64::from(*value as f32).to_bits() == value.to_bits() && !value.is_nan();
        let f32_fits = all.iter().all(narrow);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            flag(numbers == before, SAME)
                | flag(f32_fits, F32)
                | flag(stats.maybe_repeats, REPEATS)
                | flag(stats.unordered, UNORDERED)
                | first << FIRST_SHIFT
                | last << LAST_SHIFT,
        );
        if numbers != before {
            numbers.iter().zip(before).for_each(|(number, before)| put_i64(out, number.wrapping_sub(before)));
        }
        before = numbers;
        for (value, _) in all.iter().zip(stored).filter(|(_, stored)| *stored) {
            if f32_fits {
                out.extend_from_slice(&(*value as f32).to_bits().to_le_bytes());
            } else {
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
        }
    }
}

/// Calls `each` for the series of a page, ascending, until it answers `false`; `None` if the bytes cannot be a page.
pub(super) fn for_each(first: KeyId, page: &[u8], mut each: impl FnMut(KeyId, Stats) -> bool) -> Option<()> {
    let mut bytes = Bytes::new(page);
    let mut present = bytes.u16()?;
    let mut numbers = [0i64; 6];
    while present != 0 {
        let key = KeyId(first.0.checked_add(present.trailing_zeros())?);
        present &= present - 1;
        let how = bytes.u8()?;
        if how & SAME == 0 {
            for number in &mut numbers {
                *number = number.wrapping_add(bytes.varint_signed()?);
            }
        }
        let value = |bytes: &mut Bytes<'_>| match how & F32 {
            0 => bytes.f64(),
            _ => bytes.u32().map(|bits| f64::from(f32::from_bits(bits))),
        };
        let (first_place, last_place) = (how >> FIRST_SHIFT & 3, how >> LAST_SHIFT);
        let min = value(&mut bytes)?;
        let (mut max, mut first_value, mut last_value) = (min, min, min);
        if first_place != ALL_ONE {
            max = value(&mut bytes)?;
            let mut end = |place: u8| match place {
                STORED => value(&mut bytes),
                LEAST => Some(min),
                GREATEST => Some(max),
                _ => None,
            };
            (first_value, last_value) = (end(first_place)?, end(last_place)?);
        }
        let [count, first_step, first_time_ms, steps, time, late] = numbers;
        let last_time_ms = first_time_ms.wrapping_add(time);
        let stats = Stats {
            count_raw: count as u64,
            maybe_repeats: how & REPEATS != 0,
            unordered: how & UNORDERED != 0,
            min,
            max,
            first_step,
            first_time_ms,
            first_value,
            last_step: first_step.wrapping_add(steps),
            last_time_ms,
            last_value,
            time_max_ms: last_time_ms.wrapping_add(late),
        };
        if !each(key, stats) {
            return Some(());
        }
    }
    bytes.is_empty().then_some(())
}

/// Merges the series of an old page into `new`, whose own series win. `None` if the bytes cannot be pages.
pub(super) fn merge(old: &[u8], new: &mut Vec<u8>) -> Option<()> {
    let (mut old_list, mut list) = (Vec::new(), Vec::new());
    let push = |list: &mut Vec<(KeyId, Stats)>, key, stats| {
        list.push((key, stats));
        true
    };
    for_each(KeyId(0), old, |key, stats| push(&mut old_list, key, stats))?;
    for_each(KeyId(0), new, |key, stats| push(&mut list, key, stats))?;
    old_list.retain(|(key, _)| list.iter().all(|(other, _)| other != key));
    if !old_list.is_empty() {
        list.append(&mut old_list);
        list.sort_unstable_by_key(|(key, _)| *key);
        new.clear();
        encode(&list, new);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bits(stats: &Stats) -> ([i64; 6], [u64; 4], bool, bool) {
        let values = [stats.min, stats.max, stats.first_value, stats.last_value].map(f64::to_bits);
        (numbers(stats), values, stats.maybe_repeats, stats.unordered)
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![any::<u64>().prop_map(f64::from_bits), (0u8..3).prop_map(f64::from), Just(-0.0), Just(f64::NAN)]
    }

    prop_compose! {
        fn any_stats()(numbers in prop_oneof![any::<[i64; 6]>(), Just([20, 0, 7, 19, 40, 0])],
            values in [any_value(), any_value(), any_value(), any_value()], flags: (bool, bool)) -> Stats {
            let [count, first_step, first_time_ms, last_step, last_time_ms, time_max_ms] = numbers;
            let [min, max, first_value, last_value] = values;
            Stats { count_raw: count as u64, maybe_repeats: flags.0, unordered: flags.1, min, max, first_step,
                first_time_ms, first_value, last_step, last_time_ms, last_value, time_max_ms }
        }
    }

    fn page_of(list: &[(KeyId, Stats)]) -> Vec<u8> {
        let mut page = Vec::new();
        encode(list, &mut page);
        page
    }

    fn read(page: &[u8]) -> Vec<(KeyId, Stats)> {
        let mut list = Vec::new();
        for_each(KeyId(32), page, |key, stats| {
            list.push((key, stats));
            true
        })
        .unwrap();
        list
    }

    proptest! {
        #[test]
        fn pages_come_back_and_merge(old in prop::collection::btree_map(32u32..48, any_stats(), 1..16),
            new in prop::collection::btree_map(32u32..48, any_stats(), 1..16)) {
            let list = |map: &std::collections::BTreeMap<u32, Stats>| -> Vec<_> {
                map.iter().map(|(key, stats)| (KeyId(*key), *stats)).collect()
            };
            let show = |list: &[(KeyId, Stats)]| -> Vec<_> { list.iter().map(|(key, s)| (*key, bits(s))).collect() };
            prop_assert_eq!(show(&read(&page_of(&list(&old)))), show(&list(&old)));
            let mut page = page_of(&list(&new));
            merge(&page_of(&list(&old)), &mut page).unwrap();
            let mut all = old.clone();
            all.extend(new.clone());
            prop_assert_eq!(show(&read(&page)), show(&list(&all)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, first: u32) {
            let _ = for_each(KeyId(first), &bytes, |_, _| true);
            let _ = merge(&bytes, &mut bytes.clone());
        }
    }

    #[test]
    fn series_that_were_logged_together_take_little_more_than_their_values() {
        let stats = |n: u32| Stats {
            count_raw: 20,
            maybe_repeats: false,
            unordered: false,
            min: 0.1 + f64::from(n),
            max: 0.9 + f64::from(n),
            first_step: 0,
            first_time_ms: 1_700_000_000_000,
            first_value: 0.3 + f64::from(n),
            last_step: 19,
            last_time_ms: 1_700_000_002_000,
            last_value: 0.7 + f64::from(n),
            time_max_ms: 1_700_000_002_000,
        };
        let list: Vec<_> = (0..16).map(|n| (KeyId(n), stats(n))).collect();
        assert!(page_of(&list).len() <= 16 * (4 * 8 + 1) + 20);
    }
}
