//! Chunks of 4,096 rows, the loops that test them, and the columns of codes. Columns of numbers: [`super::number`].
//!
//! - A chunk of 4,096 rows is 64 blocks of 64; a [`Mask`] has one bit per row.
//! - A chunk without values costs 8 bytes. With few values it is a sorted list of (row, value); with many it is dense,
//!   up to the last row that has one. Each insert picks the form that takes fewer bytes.
//! - Dense codes take 1, 2 or 4 bytes; dense numbers take 4 bytes if all of the chunk are exact as f32, else 8.
//! - Code 0 is "none".

/// Rows of a chunk.
pub(crate) const CHUNK_ROWS: usize = 4096;
/// Blocks of a chunk.
pub(crate) const CHUNK_BLOCKS: usize = CHUNK_ROWS / 64;

/// One bit per row of a chunk.
pub(crate) type Mask = [u64; CHUNK_BLOCKS];

/// A mask with no row set.
pub(crate) const NONE: Mask = [0; CHUNK_BLOCKS];

/// With at most this many candidates in a block, they are tested one by one.
pub(crate) const ONE_BY_ONE_MAX: u32 = 6;

/// The chunk of a row, and the row's place in it.
pub(crate) fn split(row: u32) -> (usize, usize) {
    (row as usize / CHUNK_ROWS, row as usize % CHUNK_ROWS)
}

/// Calls `visit` with the place of every set bit.
#[inline]
pub(crate) fn each_bit(mut bits: u64, mut visit: impl FnMut(usize)) {
    while bits != 0 {
        visit(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}

/// Packs 64 flags, each 0 or 1, into bits.
#[inline(always)]
pub(crate) fn pack(flags: &[u8; 64]) -> u64 {
    let mut bits = 0u64;
    for (i, group) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Each flag is the lowest bit of its byte; the product gathers eight of them in the top byte.
        let gathered = u64::from_le_bytes(*group).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= gathered << (8 * i);
    }
    bits
}

/// Tests all 64 values of a block.
#[inline(always)]
pub(crate) fn test_block<T: Copy>(values: &[T; 64], test: impl Fn(T) -> bool) -> u64 {
    let mut flags = [0u8; 64];
    for (flag, value) in flags.iter_mut().zip(values) {
        *flag = u8::from(test(*value));
    }
    pack(&flags)
}

/// Sets in `out` the candidates whose value passes. Rows after the end of `values` do not pass.
#[inline(always)]
pub(crate) fn scan<T: Copy>(values: &[T], candidates: &Mask, out: &mut Mask, test: impl Fn(T) -> bool + Copy) {
    for ((block, candidates), out) in values.chunks(64).zip(candidates).zip(out) {
        if *candidates == 0 {
            continue;
        }
        *out = match <&[T; 64]>::try_from(block) {
            Ok(block) if candidates.count_ones() > ONE_BY_ONE_MAX => test_block(block, test) & candidates,
            _ => {
                let mut bits = 0;
                each_bit(*candidates, |i| bits |= u64::from(block.get(i).is_some_and(|v| test(*v))) << i);
                bits
            }
        };
    }
}

/// As [`scan`], over a sorted list of (row, value).
#[inline(always)]
pub(crate) fn scan_sparse<T: Copy>(
    rows: &[u16],
    values: &[T],
    candidates: &Mask,
    out: &mut Mask,
    test: impl Fn(T) -> bool,
) {
    for (row, value) in rows.iter().zip(values) {
        let (block, bit) = (usize::from(*row) / 64, *row % 64);
        out[block] |= (u64::from(test(*value)) << bit) & candidates[block];
    }
}

/// Codes of a chunk, sparse or dense with a width.
#[derive(Debug, Clone)]
pub(crate) enum Codes {
    /// Sorted by row; no code is 0.
    Sparse { rows: Vec<u16>, codes: Vec<u32> },
    /// Codes up to 255.
    Narrow(Vec<u8>),
    /// Codes up to 65,535.
    Middle(Vec<u16>),
    /// Any codes.
    Wide(Vec<u32>),
}

/// Bytes of a sparse code.
const SPARSE_CODE_BYTES: usize = 6;

fn code_bytes(code: u32) -> usize {
    match code {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

impl Codes {
    fn new() -> Self {
        Self::Sparse { rows: Vec::new(), codes: Vec::new() }
    }

    pub(crate) fn get(&self, at: usize) -> u32 {
        match self {
            Self::Sparse { rows, codes } => {
                rows.binary_search(&(at as u16)).ok().and_then(|i| codes.get(i)).copied().unwrap_or(0)
            }
            Self::Narrow(codes) => codes.get(at).map_or(0, |code| u32::from(*code)),
            Self::Middle(codes) => codes.get(at).map_or(0, |code| u32::from(*code)),
            Self::Wide(codes) => codes.get(at).copied().unwrap_or(0),
        }
    }

    fn bytes_per_row(&self) -> usize {
        match self {
            Self::Sparse { .. } => SPARSE_CODE_BYTES,
            Self::Narrow(_) => 1,
            Self::Middle(_) => 2,
            Self::Wide(_) => 4,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Sparse { rows, .. } => rows.len(),
            Self::Narrow(codes) => codes.len(),
            Self::Middle(codes) => codes.len(),
            Self::Wide(codes) => codes.len(),
        }
    }

    /// Calls `visit` with (place, code) of all codes other than 0, by place.
    pub(crate) fn each(&self, mut visit: impl FnMut(usize, u32)) {
        match self {
            Self::Sparse { rows, codes } => {
                rows.iter().zip(codes).for_each(|(row, code)| visit(usize::from(*row), *code));
            }
            dense => {
                (0..dense.len()).map(|at| (at, dense.get(at))).filter(|(_, c)| *c != 0).for_each(|(a, c)| visit(a, c))
            }
        }
    }

    fn set(&mut self, at: usize, code: u32) {
        match self {
            Self::Sparse { rows, codes } => {
                match rows.binary_search(&(at as u16)) {
                    Ok(i) if code == 0 => {
                        rows.remove(i);
                        codes.remove(i);
                        return;
                    }
                    Ok(i) => codes[i] = code,
                    Err(_) if code == 0 => return,
                    Err(i) => {
                        rows.insert(i, at as u16);
                        codes.insert(i, code);
                    }
                }
                // Compare with the smallest possible size first, then with the true one.
                let rows_dense = rows.last().map_or(0, |last| usize::from(*last) + 1);
                let sparse_bytes = rows.len() * SPARSE_CODE_BYTES;
                if rows_dense <= sparse_bytes {
                    let bytes = code_bytes(codes.iter().copied().max().unwrap_or(0));
                    if rows_dense * bytes <= sparse_bytes {
                        self.rebuild(bytes);
                    }
                }
            }
            dense => {
                if code == 0 && at >= dense.len() {
                    return;
                }
                let bytes = code_bytes(code).max(dense.bytes_per_row());
                if at > dense.len() + 64 {
                    let mut count = 0;
                    dense.each(|_, _| count += 1);
                    if (at + 1) * bytes > 2 * (count + 1) * SPARSE_CODE_BYTES {
                        dense.rebuild(SPARSE_CODE_BYTES);
                        return dense.set(at, code);
                    }
                }
                if bytes != dense.bytes_per_row() {
                    dense.rebuild(bytes);
                }
                match dense {
                    Self::Sparse { .. } => {}
                    Self::Narrow(codes) => put(codes, at, code as u8),
                    Self::Middle(codes) => put(codes, at, code as u16),
                    Self::Wide(codes) => put(codes, at, code),
                }
            }
        }
    }

    fn rebuild(&mut self, bytes_per_row: usize) {
        let old = std::mem::replace(self, Self::new());
        let mut new = match bytes_per_row {
            1 => Self::Narrow(Vec::with_capacity(old.len())),
            2 => Self::Middle(Vec::with_capacity(old.len())),
            4 => Self::Wide(Vec::with_capacity(old.len())),
            _ => Self::new(),
        };
        old.each(|at, code| match &mut new {
            Self::Sparse { rows, codes } => {
                rows.push(at as u16);
                codes.push(code);
            }
            Self::Narrow(codes) => put(codes, at, code as u8),
            Self::Middle(codes) => put(codes, at, code as u16),
            Self::Wide(codes) => put(codes, at, code),
        });
        *self = new;
    }

    /// Sets in `out` the candidates whose code passes; `test` is never asked about 0.
    #[inline(always)]
    pub(crate) fn scan(&self, candidates: &Mask, out: &mut Mask, test: impl Fn(u32) -> bool + Copy) {
        match self {
            Self::Sparse { rows, codes } => scan_sparse(rows, codes, candidates, out, test),
            Self::Narrow(codes) => scan(codes, candidates, out, |code| code != 0 && test(u32::from(code))),
            Self::Middle(codes) => scan(codes, candidates, out, |code| code != 0 && test(u32::from(code))),
            Self::Wide(codes) => scan(codes, candidates, out, |code| code != 0 && test(code)),
        }
    }

    /// Sets in `out` the candidates with this code.
    pub(crate) fn scan_equal(&self, wanted: u32, candidates: &Mask, out: &mut Mask) {
        match self {
            Self::Sparse { rows, codes } => scan_sparse(rows, codes, candidates, out, |code| code == wanted),
            Self::Narrow(codes) => {
                if let Ok(wanted) = u8::try_from(wanted) {
                    scan(codes, candidates, out, |code| code == wanted);
                }
            }
            Self::Middle(codes) => {
                if let Ok(wanted) = u16::try_from(wanted) {
                    scan(codes, candidates, out, |code| code == wanted);
                }
            }
            Self::Wide(codes) => scan(codes, candidates, out, |code| code == wanted),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Sparse { rows, codes } => rows.capacity() * 2 + codes.capacity() * 4,
                Self::Narrow(codes) => codes.capacity(),
                Self::Middle(codes) => codes.capacity() * 2,
                Self::Wide(codes) => codes.capacity() * 4,
            }
    }
}

/// Sets a place, growing the list with zeros.
fn put<T: Copy + Default>(list: &mut Vec<T>, at: usize, value: T) {
    if at >= list.len() {
        list.resize(at + 1, T::default());
    }
    list[at] = value;
}

/// One code per row; 0 is "none".
#[derive(Debug, Clone, Default)]
pub(crate) struct CodeColumn {
    pub(crate) chunks: Vec<Option<Box<Codes>>>,
}

impl CodeColumn {
    /// The code of a row.
    pub(crate) fn get(&self, row: u32) -> u32 {
        let (chunk, at) = split(row);
        self.chunk(chunk).map_or(0, |codes| codes.get(at))
    }

    /// Sets the code of a row; 0 clears it.
    pub(crate) fn set(&mut self, row: u32, code: u32) {
        let (chunk, at) = split(row);
        if chunk >= self.chunks.len() {
            if code == 0 {
                return;
            }
            self.chunks.resize_with(chunk + 1, || None);
        }
        match &mut self.chunks[chunk] {
            Some(codes) => codes.set(at, code),
            None if code == 0 => {}
            empty => {
                let mut codes = Box::new(Codes::new());
                codes.set(at, code);
                *empty = Some(codes);
            }
        }
    }

    /// The codes of a chunk; `None` if it has none.
    pub(crate) fn chunk(&self, chunk: usize) -> Option<&Codes> {
        self.chunks.get(chunk).and_then(Option::as_deref)
    }

    /// Replaces every code `c` by `new[c]`.
    pub(crate) fn recode(&mut self, new: &[u32]) {
        for chunk in self.chunks.iter_mut().flatten() {
            let mut recoded = Codes::new();
            chunk.each(|at, code| {
                debug_assert!((code as usize) < new.len(), "code {code} gets no new one");
                recoded.set(at, new.get(code as usize).copied().unwrap_or(0));
            });
            **chunk = recoded;
        }
    }

    /// Bytes in memory, as allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.capacity() * 8 + self.chunks.iter().flatten().map(|codes| codes.memory_bytes()).sum::<usize>()
    }
}
