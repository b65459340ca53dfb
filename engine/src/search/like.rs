//! `LIKE` and `ILIKE`: `%` matches any text, `_` one code point, every other character itself; there is no escape
//! character.
//!
//! `LIKE` is case sensitive, `ILIKE` folds ASCII letters only. The whole text must match. Time is linear in the text
//! for pieces without `_`, and text times (piece / 64) for pieces with it: no backtracking, whatever the pattern.
//!
//! A pattern is cut at its `%` into pieces. The first is a prefix, the last a suffix; the others are found from left to
//! right, each at its leftmost place (a later one is never better, as `%` matches any rest).

use std::collections::BTreeMap;

use super::column::pack;

/// A parsed pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    first: Piece,
    /// `None`: the pattern has no `%`, and `first` is all of it.
    rest: Option<(Vec<Piece>, Piece)>,
    fold_case: bool,
}

/// Text between two `%`.
#[derive(Debug, Clone)]
enum Piece {
    Literal(String),
    Wild(Wild),
}

/// A piece with `_` in it, searched by shift-and: bit i of the state says that the piece's first i + 1 code points
/// match the text up to this point.
#[derive(Debug, Clone)]
struct Wild {
    /// `None` is `_`.
    points: Vec<Option<char>>,
    /// For each code point, bits of the places where it fits, including those of `_`.
    places: BTreeMap<char, Vec<u64>>,
    /// Bits of the places of `_`.
    any: Vec<u64>,
}

impl Pattern {
    /// Parses a pattern of `LIKE`.
    pub fn like(pattern: &str) -> Self {
        let mut pieces = pattern.split('%').map(Piece::new);
        let first = pieces.next().unwrap_or_else(|| Piece::Literal(String::new()));
        let mut middle: Vec<Piece> = pieces.collect();
        let rest = middle.pop().map(|last| {
            middle.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
            (middle, last)
        });
        Self { first, rest, fold_case: false }
    }

    /// Parses a pattern of `ILIKE`.
    pub fn ilike(pattern: &str) -> Self {
        Self { fold_case: true, ..Self::like(&pattern.to_ascii_lowercase()) }
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        if self.fold_case && text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.matches_folded(&text.to_ascii_lowercase())
        } else {
            self.matches_folded(text)
        }
    }

    fn matches_folded(&self, text: &str) -> bool {
        let Some(text) = self.first.strip_from_start(text) else { return false };
        let Some((middle, last)) = &self.rest else { return text.is_empty() };
        let Some(text) = last.strip_from_end(text) else { return false };
        middle.iter().try_fold(text, |text, piece| piece.find(text)).is_some()
    }
}

/// Matching of many texts at once, stored without gaps.
impl Pattern {
    /// Calls `hit` with the number of every text that matches. Text i ends at `ends[i]` of `texts`.
    ///
    /// # Complexity
    /// Searches all texts at once for the longest piece without `_`, 64 bytes per step. If that gives too many false
    /// matches, or the pattern has no `%`, each text is tested alone.
    pub(crate) fn each_match(&self, texts: &str, ends: &[u32], mut hit: impl FnMut(usize)) {
        let folded;
        let texts = if self.fold_case {
            folded = texts.to_ascii_lowercase();
            &folded
        } else {
            texts
        };
        let start_of = |i: usize| i.checked_sub(1).and_then(|i| ends.get(i)).map_or(0, |end| *end as usize);
        let matches = |i: usize| {
            let end = ends.get(i).map_or(0, |end| *end as usize);
            texts.get(start_of(i)..end).is_some_and(|text| self.matches_folded(text))
        };
        let pieces = self.rest.iter().flat_map(|(middle, last)| middle.iter().chain([&self.first, last]));
        let pieces = pieces.filter_map(|piece| match piece {
            Piece::Literal(text) if !text.is_empty() => Some(text.as_bytes()),
            _ => None,
        });
        let Some(needle) = pieces.max_by_key(|piece| piece.len()) else {
            return (0..ends.len()).filter(|i| matches(*i)).for_each(hit);
        };
        let mut next = 0;
        let mut text = 0;
        // Bytes that may be compared in vain before testing each text alone is faster.
        let mut budget = texts.len() * 4;
        each_place(texts.as_bytes(), needle, |at| {
            if at < next {
                return true;
            }
            budget = budget.saturating_sub(needle.len());
            if texts.as_bytes().get(at..at + needle.len()) == Some(needle) {
                while ends.get(text).is_some_and(|end| *end as usize <= at) {
                    text += 1;
                }
                let end = ends.get(text).map_or(0, |end| *end as usize);
                if at + needle.len() <= end {
                    // The leftmost place of the piece in this text: test the whole pattern once.
                    if matches(text) {
                        hit(text);
                    }
                    text += 1;
                    next = end;
                }
            }
            budget > 0
        });
        if budget == 0 {
            (text..ends.len()).filter(|i| matches(*i)).for_each(hit);
        }
    }
}

/// Calls `visit` with the ascending places where the needle's first and last byte match, until it returns false.
fn each_place(bytes: &[u8], needle: &[u8], mut visit: impl FnMut(usize) -> bool) {
    let (Some(first), Some(last)) = (needle.first().copied(), needle.last().copied()) else { return };
    let Some(ends) = bytes.get(needle.len() - 1..) else { return };
    let starts = &bytes[..ends.len()];
    let (start_blocks, start_rest) = starts.as_chunks::<64>();
    let (end_blocks, end_rest) = ends.as_chunks::<64>();
    for (block, (starts, ends)) in start_blocks.iter().zip(end_blocks).enumerate() {
        let flags: [u8; 64] = std::array::from_fn(|i| u8::from(starts[i] == first) & u8::from(ends[i] == last));
        let mut bits = pack(&flags);
        while bits != 0 {
            if !visit(block * 64 + bits.trailing_zeros() as usize) {
                return;
            }
            bits &= bits - 1;
        }
    }
    let before = start_blocks.len() * 64;
    for (i, (start, end)) in start_rest.iter().zip(end_rest).enumerate() {
        if *start == first && *end == last && !visit(before + i) {
            return;
        }
    }
}

impl Piece {
    fn new(piece: &str) -> Self {
        if !piece.contains('_') {
            return Self::Literal(piece.to_owned());
        }
        let points: Vec<Option<char>> = piece.chars().map(|c| (c != '_').then_some(c)).collect();
        let mut any = vec![0u64; points.len().div_ceil(64)];
        for (i, _) in points.iter().enumerate().filter(|(_, point)| point.is_none()) {
            any[i / 64] |= 1 << (i % 64);
        }
        let mut places: BTreeMap<char, Vec<u64>> = BTreeMap::new();
        for (i, c) in points.iter().enumerate().filter_map(|(i, point)| point.map(|c| (i, c))) {
            places.entry(c).or_insert_with(|| any.clone())[i / 64] |= 1 << (i % 64);
        }
        Self::Wild(Wild { points, places, any })
    }

    /// The rest of the text after the piece, if the text begins with it.
    fn strip_from_start<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Literal(piece) => text.strip_prefix(piece.as_str()),
            Self::Wild(wild) => {
                let mut chars = text.chars();
                let all = wild.points.iter().all(|point| chars.next().is_some_and(|c| point.is_none_or(|p| p == c)));
                all.then_some(chars.as_str())
            }
        }
    }

    /// The text before the piece, if the text ends with it.
    fn strip_from_end<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Literal(piece) => text.strip_suffix(piece.as_str()),
            Self::Wild(wild) => {
                let mut chars = text.chars();
                let mut points = wild.points.iter().rev();
                let all = points.all(|point| chars.next_back().is_some_and(|c| point.is_none_or(|p| p == c)));
                all.then_some(chars.as_str())
            }
        }
    }

    /// The rest of the text after the leftmost place of the piece.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Literal(piece) => text.find(piece.as_str()).and_then(|at| text.get(at + piece.len()..)),
            Self::Wild(wild) => wild.find(text),
        }
    }
}

impl Wild {
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let last = self.points.len() - 1;
        let mut state = vec![0u64; self.any.len()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let fits = self.places.get(&c).unwrap_or(&self.any);
            let mut carry = 1;
            for (word, fits) in state.iter_mut().zip(fits) {
                let carry_out = *word >> 63;
                *word = ((*word << 1) | carry) & fits;
                carry = carry_out;
            }
            if state[last / 64] >> (last % 64) & 1 == 1 {
                return Some(chars.as_str());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, written recursively.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some(('%', rest)), _) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            (Some(('_', rest)), Some((_, tail))) => slow(rest, tail),
            (Some((p, rest)), Some((c, tail))) => p == c && slow(rest, tail),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn is_what_the_definition_says(pattern in "[ab%_é]{0,8}", text in "[abé]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Pattern::like(&pattern).matches(&text), slow(&p, &t), "{} like {}", text, pattern);
        }
    }

    proptest! {
        #[test]
        fn many_texts_match_as_each_does(
            pattern in "[abA%_]{0,6}",
            texts in prop::collection::vec("[abAé]{0,10}|[ab]{60,90}", 0..60),
        ) {
            let ends: Vec<u32> = texts.iter().scan(0, |end, text| { *end += text.len() as u32; Some(*end) }).collect();
            for pattern in [Pattern::like(&pattern), Pattern::ilike(&pattern)] {
                let mut found = Vec::new();
                pattern.each_match(&texts.concat(), &ends, |i| found.push(i));
                let expected: Vec<usize> = (0..texts.len()).filter(|i| pattern.matches(&texts[*i])).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_hostile_piece_over_many_texts_is_linear() {
        let piece = format!("{}b{}", "a".repeat(500), "a".repeat(500));
        let texts = "a".repeat(4_000_000);
        let ends: Vec<u32> = (1..=4000).map(|i| i * 1000).collect();
        Pattern::like(&format!("%{piece}%")).each_match(&texts, &ends, |_| panic!("nothing matches"));
    }

    #[test]
    fn folds_ascii_only_and_knows_no_escape() {
        assert!(Pattern::ilike("AdAm%").matches("aDaMw"));
        assert!(!Pattern::ilike("É").matches("é"));
        assert!(!Pattern::like("other\\_%").matches("other_%"));
        assert!(Pattern::like("other_%").matches("other_%"));
        assert!(!Pattern::like("adam").matches("Adam"));
    }

    #[test]
    fn long_pieces_with_underscores_cross_words() {
        let piece: String = (0..150).map(|i| if i % 7 == 0 { '_' } else { 'x' }).collect();
        let text = format!("{}y{}", "x".repeat(149), "x".repeat(160));
        assert!(Pattern::like(&format!("%{piece}%y%")).matches(&format!("{text}y")));
        assert!(!Pattern::like(&format!("%{piece}z%")).matches(&text));
    }

    #[test]
    fn a_hostile_pattern_is_linear() {
        let pattern = format!("{}b", "%a".repeat(2000));
        let text = "a".repeat(60_000);
        assert!(!Pattern::like(&pattern).matches(&text));
    }
}
