//! The items of a dict of floats by expected keys, without taking references: of what is as expected only the number
//! comes out. An iterator of references asks for the dict's size, and counts two references up and down, at every item.
#![expect(unsafe_code, reason = "borrowed references of the dict; the proofs stand beside their uses")]

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Goes through a dict.
pub(super) struct Items<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    at: ffi::Py_ssize_t,
}

/// One item.
pub(super) struct Item<'py> {
    /// `None`: the very object that was expected.
    pub(super) key: Option<Bound<'py, PyAny>>,
    pub(super) value: Value<'py>,
}

/// The value of an item.
pub(super) enum Value<'py> {
    /// Of exactly the type `float`.
    Float(f64),
    Other(Bound<'py, PyAny>),
}

impl<'a, 'py> Items<'a, 'py> {
    pub(super) fn of(dict: &'a Bound<'py, PyDict>) -> Self {
        Self { dict, at: 0 }
    }

    /// The next item, whose key may be this object. Runs no Python code; where a dict was changed since the last item,
    /// it gives any items that the dict has.
    #[inline]
    pub(super) fn next(&mut self, expected: Option<&Py<PyAny>>) -> Option<Item<'py>> {
        let py = self.dict.py();
        let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: `self.dict` is a dict that is kept alive, and this thread has the GIL (`py`). `at` is 0 or what the
        // call left there, the call checks it against the dict as it is now; the two others are valid to write to.
        if unsafe { ffi::PyDict_Next(self.dict.as_ptr(), &raw mut self.at, &raw mut key, &raw mut value) } == 0 {
            return None;
        }
        // SAFETY: the call gave a key and a value that the dict holds a reference to. Nothing runs until the end of
        // this function that could change the dict: a type is read and compared, and the number of an exact float. So
        // both are alive where they are looked at, and where a reference of its own is taken. Neither is null.
        unsafe {
            let is_expected = expected.is_some_and(|expected| expected.as_ptr() == key);
            let key = if is_expected { None } else { Some(Bound::from_borrowed_ptr(py, key)) };
            let value = if ffi::PyFloat_CheckExact(value) != 0 {
                Value::Float(ffi::PyFloat_AsDouble(value))
            } else {
                Value::Other(Bound::from_borrowed_ptr(py, value))
            };
            Some(Item { key, value })
        }
    }
}
