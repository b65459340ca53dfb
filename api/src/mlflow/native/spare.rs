//! Memory of columns that are no longer used, kept for the next ones: a new page of memory from the system costs more
//! than decoding the points that fill it (docs/decisions/columns-are-used-again.md).

use parking_lot::Mutex;

/// Number of columns kept. A read of points needs three.
const KEPT_MAX: usize = 6;
/// The allocator keeps shorter columns itself.
const BYTES_MIN: usize = 64 << 10;
/// Longer columns are rare, and much to keep.
const BYTES_MAX: usize = 32 << 20;

/// Unused columns of one type.
#[derive(Debug)]
pub struct Spare<T> {
    columns: Mutex<Vec<Vec<T>>>,
}

impl<T> Spare<T> {
    const fn new() -> Self {
        Self { columns: Mutex::new(Vec::new()) }
    }

    /// An empty column, with the capacity of a column given back if there is one.
    ///
    /// ```
    /// use runlode::mlflow::spare::NUMBERS;
    ///
    /// let mut column = NUMBERS.take();
    /// column.push(0.5);
    /// NUMBERS.give(column);
    /// ```
    pub fn take(&self) -> Vec<T> {
        self.columns.lock().pop().unwrap_or_default()
    }

    /// Keeps the memory of an unused column, if that is worth it.
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

/// Columns of steps and times.
pub static INTS: Spare<i64> = Spare::new();
/// Columns of positions, which a read of points decodes too.
pub static POSITIONS: Spare<u64> = Spare::new();
/// Columns of values.
pub static NUMBERS: Spare<f64> = Spare::new();
/// Columns of indexes into lists of names.
pub static INDEXES: Spare<i32> = Spare::new();
