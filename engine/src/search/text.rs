//! The distinct texts of a text column, each with a code, and data derived from them on demand.
//!
//! - Codes count from 1; 0 is "none". A code keeps its text until [`TextColumn`] recodes.
//! - Texts are stored without gaps in pages of 4,096, in the order of their codes.
//! - `refs` counts the rows of each code. Texts without rows are dropped when they outnumber the others (a tag that is
//!   set again and again would otherwise grow for ever).
//! - The hash index is built at the first lookup after a load. `prepare_ranks` makes ranks (places in sorted order) and
//!   `prepare_numbers` makes parsed numbers; both only add what is new.

use std::hash::Hasher;

use super::column::CodeColumn;
use super::row::number_of_text;
use crate::error::{Error, Result};

/// Number of texts of a page.
pub(crate) const PAGE_TEXTS: usize = 4096;

/// Up to 4,096 texts, stored without gaps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) ends: Vec<u32>,
    pub(crate) texts: String,
}

/// All texts of a column, with their codes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    pub(crate) pages: Vec<Page>,
    /// Number of rows with code i + 1.
    pub(crate) refs: Vec<u32>,
    /// Number of texts that have rows.
    pub(crate) used: usize,
    /// Open addressing by hash; 0 is a free slot. Empty until it is built.
    index: Vec<u32>,
    /// Eight bits of the hash for each slot of `index`, so that few texts are compared in vain.
    tags: Vec<u8>,
    /// Codes in the order of their texts.
    sorted: Vec<u32>,
    /// For each code, its place in `sorted`; `u32::MAX` for code 0.
    ranks: Vec<u32>,
    /// For each code, its text as a number; NaN if it is not one.
    numbers: Vec<f64>,
    /// Bit c: whether the text of code c is a number.
    is_number: Vec<u64>,
}

/// The first slot of a text, before masking, and its tag.
fn hash(text: &str) -> (usize, u8) {
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(text.as_bytes());
    let hash = hasher.finish();
    (hash as usize, (hash >> 56) as u8)
}

impl Dictionary {
    /// Number of texts, which is also the greatest code.
    pub(crate) fn len(&self) -> usize {
        self.refs.len()
    }

    /// Whether there are no texts.
    pub(crate) fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// The text of a code; empty for a code that was never assigned.
    pub(crate) fn text(&self, code: u32) -> &str {
        let Some(index) = (code as usize).checked_sub(1) else { return "" };
        let (page, at) = (index / PAGE_TEXTS, index % PAGE_TEXTS);
        let Some(page) = self.pages.get(page) else { return "" };
        let start = at.checked_sub(1).and_then(|before| page.ends.get(before)).copied().unwrap_or(0);
        let end = page.ends.get(at).copied().unwrap_or(start);
        page.texts.get(start as usize..end as usize).unwrap_or("")
    }

    /// Number of rows with the code.
    pub(crate) fn rows(&self, code: u32) -> usize {
        (code as usize).checked_sub(1).and_then(|i| self.refs.get(i)).copied().unwrap_or(0) as usize
    }

    /// Whether the index is built, so that lookups are fast.
    pub(crate) fn is_indexed(&self) -> bool {
        !self.index.is_empty() || self.is_empty()
    }

    /// Builds the index if there is none.
    pub(crate) fn prepare_index(&mut self) {
        if !self.is_indexed() {
            self.rehash(self.len());
        }
    }

    /// The code of a text, by the index or, if that is not built, by reading all texts.
    pub(crate) fn code(&self, text: &str) -> Option<u32> {
        if self.index.is_empty() {
            return (1..=self.len() as u32).find(|code| self.text(*code) == text);
        }
        let mask = self.index.len() - 1;
        let (home, tag) = hash(text);
        let mut slot = home & mask;
        loop {
            match self.index[slot] {
                0 => return None,
                code if self.tags[slot] == tag && self.text(code) == text => return Some(code),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn rehash(&mut self, texts: usize) {
        let slots = (texts * 4 / 3 + 1).next_power_of_two().max(8);
        self.index = vec![0; slots];
        self.tags = vec![0; slots];
        for code in 1..=self.len() as u32 {
            let hash = hash(self.text(code));
            self.put_slot(hash, code);
        }
    }

    /// Puts a code that is not in the index into its first free slot.
    fn put_slot(&mut self, (home, tag): (usize, u8), code: u32) {
        let mask = self.index.len() - 1;
        let mut slot = home & mask;
        while self.index[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.index[slot] = code;
        self.tags[slot] = tag;
    }

    /// The code of a text; a new one if it has none.
    fn intern(&mut self, text: &str) -> Result<u32> {
        self.prepare_index();
        if let Some(code) = self.code(text) {
            return Ok(code);
        }
        if (self.len() + 1) * 4 > self.index.len() * 3 {
            self.rehash((self.len() + 1) * 2);
        }
        let code = self.push(text)?;
        self.put_slot(hash(text), code);
        Ok(code)
    }

    /// Appends a text without rows, and without adding it to the index.
    fn push(&mut self, text: &str) -> Result<u32> {
        let too_large =
            || Error::invalid("text", "4,096 texts under one key are larger than 4 GiB; search cannot hold them");
        if self.len().is_multiple_of(PAGE_TEXTS) {
            if let Some(full) = self.pages.last_mut() {
                full.texts.shrink_to_fit();
                full.ends.shrink_to_fit();
            }
            self.pages.push(Page::default());
        }
        let Some(page) = self.pages.last_mut() else { return Err(too_large()) };
        let end = u32::try_from(page.texts.len() + text.len()).map_err(|_| too_large())?;
        page.texts.push_str(text);
        page.ends.push(end);
        self.refs.push(0);
        u32::try_from(self.len()).map_err(|_| too_large())
    }

    fn retain(&mut self, code: u32) {
        let refs = &mut self.refs[code as usize - 1];
        self.used += usize::from(*refs == 0);
        *refs += 1;
    }

    fn release(&mut self, code: u32) {
        let refs = &mut self.refs[code as usize - 1];
        // Counts loaded from disk may be wrong: they only affect the time of a search.
        *refs = refs.saturating_sub(1);
        self.used = self.used.saturating_sub(usize::from(*refs == 0));
    }

    /// Places in sorted order by code, as far as prepared; `u32::MAX` for code 0.
    pub(crate) fn ranks(&self) -> &[u32] {
        &self.ranks
    }

    /// The place of the first (or last) text in sorted order that has rows.
    pub(crate) fn best_rank(&self, first: bool) -> Option<u32> {
        let used = |code: &u32| self.rows(*code) > 0;
        let at = if first { self.sorted.iter().position(used) } else { self.sorted.iter().rposition(used) };
        at.map(|rank| rank as u32)
    }

    /// Twice the place of a text, plus one; if the text is unknown, twice the place where it would be inserted.
    pub(crate) fn double_rank(&self, text: &str) -> u64 {
        match self.sorted.binary_search_by(|code| self.text(*code).cmp(text)) {
            Ok(rank) => rank as u64 * 2 + 1,
            Err(rank) => rank as u64 * 2,
        }
    }

    pub(crate) fn is_ranked(&self) -> bool {
        self.ranks.len() == self.len() + 1
    }

    /// For each code its text as a number (NaN if it is not one), and the bits that say which texts are numbers.
    pub(crate) fn numbers(&self) -> (&[f64], &[u64]) {
        (&self.numbers, &self.is_number)
    }

    /// The text of a code as a number, if it is one.
    pub(crate) fn number(&self, code: u32) -> Option<f64> {
        let is_number = self.is_number.get(code as usize / 64).is_some_and(|word| word >> (code % 64) & 1 == 1);
        self.numbers.get(code as usize).copied().filter(|_| is_number)
    }

    pub(crate) fn is_parsed(&self) -> bool {
        self.numbers.len() == self.len() + 1
    }

    fn prepare_numbers(&mut self) {
        let mut numbers = std::mem::take(&mut self.numbers);
        self.is_number.resize(self.len() / 64 + 1, 0);
        for code in numbers.len()..=self.len() {
            let number = number_of_text(self.text(code as u32)).filter(|_| code > 0);
            numbers.push(number.unwrap_or(f64::NAN));
            self.is_number[code / 64] |= u64::from(number.is_some()) << (code % 64);
        }
        self.numbers = numbers;
    }

    /// The eight bytes after the first `skip`, big endian: ordered like the texts themselves, except for ties.
    fn prefix(&self, code: u32, skip: usize) -> u64 {
        let bytes = self.text(code).as_bytes().get(skip..).unwrap_or_default();
        let mut prefix = [0; 8];
        let count = bytes.len().min(8);
        prefix[..count].copy_from_slice(&bytes[..count]);
        u64::from_be_bytes(prefix)
    }

    fn prepare_ranks(&mut self) {
        let first_new = self.sorted.len() as u32 + 1;
        let new = first_new..=self.len() as u32;
        if self.is_ranked() {
            return;
        }
        // The common prefix of all new texts decides nothing; the eight bytes after it distinguish nearly all of them.
        let model = self.text(first_new).as_bytes();
        let common = new.clone().fold(model.len(), |common, code| {
            let text = self.text(code).as_bytes();
            model[..common].iter().zip(text).take_while(|(a, b)| a == b).count()
        });
        let mut fresh: Vec<(u64, u32)> = new.map(|code| (self.prefix(code, common), code)).collect();
        fresh.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.text(a.1).cmp(self.text(b.1))));
        let old = std::mem::take(&mut self.sorted);
        let mut sorted = Vec::with_capacity(self.len());
        let mut rest = old.as_slice();
        for (_, code) in fresh {
            let text = self.text(code);
            let before = rest.partition_point(|other| self.text(*other) < text);
            let (head, tail) = rest.split_at(before);
            sorted.extend_from_slice(head);
            sorted.push(code);
            rest = tail;
        }
        sorted.extend_from_slice(rest);
        self.sorted = sorted;
        self.ranks.clear();
        self.ranks.resize(self.len() + 1, u32::MAX);
        for (rank, code) in self.sorted.iter().enumerate() {
            self.ranks[*code as usize] = rank as u32;
        }
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pages = self.pages.iter().map(|p| size_of::<Page>() + p.texts.capacity() + p.ends.capacity() * 4);
        pages.sum::<usize>()
            + self.tags.capacity()
            + (self.refs.capacity() + self.index.capacity() + self.sorted.capacity() + self.ranks.capacity()) * 4
            + (self.numbers.capacity() + self.is_number.capacity()) * 8
    }
}

/// One text or none per row.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextColumn {
    pub(crate) dictionary: Dictionary,
    pub(crate) codes: CodeColumn,
    /// Number of the last upsert that set it; see [`super::table`].
    pub(crate) stamp: u64,
}

impl TextColumn {
    /// The text of a row.
    pub(crate) fn get(&self, row: u32) -> Option<&str> {
        match self.codes.get(row) {
            0 => None,
            code => Some(self.dictionary.text(code)),
        }
    }

    /// Sets or clears the text of a row.
    ///
    /// # Errors
    /// `Invalid` if 4,096 texts of the column would take more than 4 GiB.
    pub(crate) fn set(&mut self, row: u32, text: Option<&str>) -> Result<()> {
        let old = self.codes.get(row);
        let new = match text {
            Some(text) if old != 0 && self.dictionary.text(old) == text => return Ok(()),
            Some(text) => self.dictionary.intern(text)?,
            None => 0,
        };
        if new == old {
            return Ok(());
        }
        if new != 0 {
            self.dictionary.retain(new);
        }
        self.codes.set(row, new);
        if old != 0 {
            self.dictionary.release(old);
            let unused = self.dictionary.len() - self.dictionary.used;
            if unused > 1024.max(self.dictionary.used) {
                self.drop_unused()?;
            }
        }
        Ok(())
    }

    /// The column whose row i is this one's row `order[i]`. Codes are assigned by row, so that the texts of
    /// neighbouring rows are neighbours too.
    /// their texts together.
    ///
    /// # Errors
    /// As [`TextColumn::set`].
    pub(crate) fn arranged(&self, order: &[u32]) -> Result<Self> {
        let mut dictionary = Dictionary { used: self.dictionary.used, ..Dictionary::default() };
        let mut codes = CodeColumn::default();
        let mut new = vec![0; self.dictionary.len() + 1];
        for (row, old) in (0..).zip(order) {
            let code = self.codes.get(*old);
            if code == 0 {
                continue;
            }
            if new[code as usize] == 0 {
                let fresh = dictionary.push(self.dictionary.text(code))?;
                dictionary.refs[fresh as usize - 1] = self.dictionary.refs[code as usize - 1];
                new[code as usize] = fresh;
            }
            codes.set(row, new[code as usize]);
        }
        Ok(Self { dictionary, codes, stamp: 0 })
    }

    /// Gives new codes to the texts that have rows, and drops the others.
    fn drop_unused(&mut self) -> Result<()> {
        let mut dictionary = Dictionary { used: self.dictionary.used, ..Dictionary::default() };
        let mut new = vec![0; self.dictionary.len() + 1];
        for code in 1..=self.dictionary.len() as u32 {
            let refs = self.dictionary.refs[code as usize - 1];
            if refs > 0 {
                let fresh = dictionary.push(self.dictionary.text(code))?;
                dictionary.refs[fresh as usize - 1] = refs;
                new[code as usize] = fresh;
            }
        }
        self.codes.recode(&new);
        self.dictionary = dictionary;
        Ok(())
    }

    /// Computes the ranks of all texts.
    pub(crate) fn prepare_ranks(&mut self) {
        self.dictionary.prepare_ranks();
    }

    /// Parses all texts as numbers.
    pub(crate) fn prepare_numbers(&mut self) {
        if !self.dictionary.is_parsed() {
            self.dictionary.prepare_numbers();
        }
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.dictionary.memory_bytes() + self.codes.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn ranks_and_numbers_follow_the_texts(rounds in prop::collection::vec(prop::collection::vec(("[a-c]{0,3}|run-[0-9]{1,9}|-?[0-9]{1,2}", 0u32..50), 1..40), 1..4)) {
            let mut column = TextColumn::default();
            for sets in rounds {
                for (text, row) in sets {
                    column.set(row, Some(&text)).unwrap();
                }
                column.prepare_ranks();
                column.prepare_numbers();
                let dictionary = &column.dictionary;
                for a in 1..=dictionary.len() as u32 {
                    let number = number_of_text(dictionary.text(a));
                    prop_assert_eq!(dictionary.numbers[a as usize].to_bits(), number.unwrap_or(f64::NAN).to_bits());
                    prop_assert_eq!(dictionary.code(dictionary.text(a)), Some(a));
                    for b in 1..=dictionary.len() as u32 {
                        let order = dictionary.ranks[a as usize].cmp(&dictionary.ranks[b as usize]);
                        prop_assert_eq!(order, dictionary.text(a).cmp(dictionary.text(b)));
                    }
                }
            }
        }
    }

    #[test]
    fn a_tag_that_changes_for_ever_does_not_grow() {
        let mut column = TextColumn::default();
        column.set(1, Some("constant")).unwrap();
        for i in 0..20_000 {
            column.set(0, Some(&format!("step {i}"))).unwrap();
        }
        assert!(column.dictionary.len() < 3000);
        assert_eq!((column.get(0), column.get(1), column.get(2)), (Some("step 19999"), Some("constant"), None));
        assert_eq!(column.dictionary.code("step 19999"), Some(column.codes.get(0)));
    }
}
