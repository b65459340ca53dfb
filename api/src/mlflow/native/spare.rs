//! Memory of columns that were read and let go, for the next ones: a page of memory that the system must hand out anew
//! costs more than decoding the points that fill it (docs/decisions/columns-are-used-again.md).

use parking_lot::Mutex;

/// Columns kept. A read of points needs three.
const KEPT_MAX: usize = 6;
/// Shorter ones the allocator keeps by itself.
const BYTES_MIN: usize = 64 << 10;
/// Longer ones are rare, and much to hold on to.
const BYTES_MAX: usize = 32 << 20;

/// Columns of one type that nobody uses.
#[derive(Debug)]
pub struct Spare<T> {
    columns: Mutex<Vec<Vec<T>>>,
}

impl<T> Spare<T> {
    const fn new() -> Self {
        Self { columns: Mutex::new(Vec::new()) }
    }

    /// An empty column, with room for what the last ones held.
    pub fn take(&self) -> Vec<T> {
        self.columns.lock().pop().unwrap_or_default()
    }

    /// Keeps the memory of a column that is no longer used, if that is worth it.
    pub fn give(&self, mut column: Vec<T>) {
        let bytes = column.capacity() * size_of::<T>();
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            return;
        }
        column.clear();
        let mut columns = self.columns.lock();
        if columns.len() < KEPT_MAX {
            columns.push(column);
        }
    }
}

/// Steps and times.
pub static INTS: Spare<i64> = Spare::new();
/// Positions, which a read of points meets on its way.
pub static POSITIONS: Spare<u64> = Spare::new();
/// Values.
pub static NUMBERS: Spare<f64> = Spare::new();
/// Numbers of names.
pub static INDEXES: Spare<i32> = Spare::new();
