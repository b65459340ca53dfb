//! One page of numbers by pco: the wrapped format's header, chunk meta and a single page, one behind the other.
//!
//! A crate of its own because pco's code is generic: here it is compiled for the three types that series use, once,
//! and not again with every change of the engine (it was two thirds of the engine's compile time).

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::errors::{ErrorKind, PcoError, PcoResult};
use pco::metadata::ChunkMeta;
use pco::wrapped::{FileCompressor, FileDecompressor};

/// A type that pages are compiled for.
pub trait Page: Number {
    /// Appends the numbers as one page; gives back what pco decided.
    ///
    /// # Errors
    /// What pco refuses, and numbers too many for one page.
    fn encode(numbers: &[Self], config: &ChunkConfig, out: &mut Vec<u8>) -> PcoResult<ChunkMeta>;

    /// Fills `out` from the bytes of one page. `None`: the bytes are not exactly that page.
    fn decode(bytes: &[u8], out: &mut [Self]) -> Option<()>;
}

fn encode<T: Number>(numbers: &[T], config: &ChunkConfig, out: &mut Vec<u8>) -> PcoResult<ChunkMeta> {
    let file = FileCompressor::default();
    file.write_header(&mut *out)?;
    let mut chunk = file.chunk_compressor(numbers, config)?;
    chunk.write_meta(&mut *out)?;
    if chunk.n_per_page().len() != 1 {
        let message = format!("{} numbers need several pages", numbers.len());
        return Err(PcoError { kind: ErrorKind::InvalidArgument, message });
    }
    chunk.write_page(0, &mut *out)?;
    Ok(chunk.meta().clone())
}

fn decode<T: Number>(bytes: &[u8], out: &mut [T]) -> Option<()> {
    let (file, rest) = FileDecompressor::new(bytes).ok()?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest).ok()?;
    let mut page = chunk.page_decompressor(rest, out.len()).ok()?;
    let progress = page.read(out).ok()?;
    (progress.finished && progress.n_processed == out.len() && page.into_src().is_empty()).then_some(())
}

macro_rules! pages {
    ($($type:ty),*) => {
        $(
            impl Page for $type {
                #[inline(never)]
                fn encode(numbers: &[Self], config: &ChunkConfig, out: &mut Vec<u8>) -> PcoResult<ChunkMeta> {
                    encode(numbers, config, out)
                }

                #[inline(never)]
                fn decode(bytes: &[u8], out: &mut [Self]) -> Option<()> {
                    decode(bytes, out)
                }
            }
        )*
    };
}

pages!(i64, f32, f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_and_a_cut_one_does_not() {
        let numbers: Vec<f64> = (0..300).map(|i| f64::from(i) * 0.5).collect();
        let mut bytes = Vec::new();
        f64::encode(&numbers, &ChunkConfig::default(), &mut bytes).unwrap();
        let mut back = vec![0.0; 300];
        f64::decode(&bytes, &mut back).unwrap();
        assert_eq!(back, numbers);
        assert!(f64::decode(&bytes[..bytes.len() - 1], &mut back).is_none());
    }
}
