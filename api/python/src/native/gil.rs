//! A value that the GIL guards: a mutex that costs a load and a store, where an uncontended one costs two locked
//! instructions.
#![expect(unsafe_code, reason = "a cell that threads share; the proofs stand beside it")]

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use pyo3::prelude::*;

// A Python without GIL has a larger object head: this module is not for it, and does not build there.
const _: () = assert!(size_of::<pyo3::ffi::PyObject>() == 2 * size_of::<usize>());

/// A value for who holds the GIL.
#[derive(Debug, Default)]
pub(crate) struct GilCell<T> {
    taken: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: both fields are touched in `lock` and in a `Guard` only. `lock` runs on a thread that has the GIL, as its
// token says; so does a guard, which cannot leave its thread, where it is made and dropped, and where it is used only
// by who set `taken`. Releasing the GIL in between lets other threads find `taken` set, and the GIL orders what they
// read behind what was written. So no two threads touch `taken` at once, and only one reference to the value exists.
// The value itself is used on several threads, one after the other: `T` is `Send`.
unsafe impl<T: Send> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { taken: Cell::new(false), value: UnsafeCell::new(value) }
    }

    /// The value. Whoever holds it runs no Python code and does not release the GIL: see the parent module.
    ///
    /// # Panics
    /// If somebody did, and it is asked for meanwhile.
    #[inline]
    pub(crate) fn lock<'a, 'py>(&'a self, _py: Python<'py>) -> Guard<'a, 'py, T> {
        assert!(!self.taken.replace(true), "a value that the GIL guards was kept while the GIL was not");
        Guard { cell: self, thread: PhantomData }
    }
}

/// The value, until this is dropped. Bound to its thread, and to the time that the thread has the GIL.
pub(crate) struct Guard<'a, 'py, T> {
    cell: &'a GilCell<T>,
    thread: PhantomData<(*mut (), Python<'py>)>,
}

impl<T> Deref for Guard<'_, '_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one: it was made where `taken` was not set, and no other is until its drop.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, '_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard itself is borrowed for as long as the reference lives.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for Guard<'_, '_, T> {
    #[inline]
    fn drop(&mut self) {
        self.cell.taken.set(false);
    }
}
