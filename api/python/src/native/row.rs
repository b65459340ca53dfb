//! The hot path: a dict of scalars as a row of (key number, value), without an allocation and without looking a key up.
//!
//! Training loops log the same keys in the same order, and their texts are the same objects each time. So the row keeps
//! the key objects of the last call, in order, and a key that is the very object that stood at this place has the
//! number that it had. Another object of the same text costs a comparison, another text a look into the store.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};
use runlode::KeyId;
use runlode::mlflow::ApiResult;
use runlode::shared::Logger;

use super::items::{Item, Items, Value};

/// A key of the last row.
struct Known {
    /// Kept alive, so that nothing else can have its address.
    object: Py<PyAny>,
    text: String,
    id: KeyId,
}

/// Scratch of one run.
#[derive(Default)]
pub(super) struct Row {
    known: Vec<Known>,
    values: Vec<(KeyId, f64)>,
    /// Types that are a float by code of NumPy's own: nothing of Python runs for it.
    scalars: Vec<Py<PyType>>,
}

/// Types of NumPy's scalars that are remembered; there are about a dozen.
const SCALARS_MAX: usize = 16;

/// What became of filling a row.
pub(super) enum Filled {
    /// Every value is in the row.
    Whole,
    /// A value or key needs Python code to be read.
    NeedsPython,
}

impl Row {
    /// The row of a dict. Runs no Python code.
    ///
    /// # Errors
    /// Of a key that cannot be.
    #[inline]
    pub(super) fn fill(&mut self, logger: &Logger, metrics: &Bound<'_, PyDict>) -> ApiResult<Filled> {
        self.values.clear();
        let mut items = Items::of(metrics);
        for at in 0.. {
            let known = self.known.get(at);
            let Some(Item { key, value }) = items.next(known.map(|known| &known.object)) else { break };
            let value = match value {
                Value::Float(value) => value,
                Value::Other(value) => match self.other_number(&value) {
                    Some(value) => value,
                    None => return Ok(Filled::NeedsPython),
                },
            };
            let id = match (known, key) {
                (Some(known), None) => known.id,
                (_, Some(key)) => match self.learn(logger, at, &key)? {
                    Some(id) => id,
                    None => return Ok(Filled::NeedsPython),
                },
                (None, None) => return Ok(Filled::NeedsPython),
            };
            self.values.push((id, value));
        }
        Ok(Filled::Whole)
    }

    pub(super) fn values(&self) -> &[(KeyId, f64)] {
        &self.values
    }

    /// The number of a key that was not the same object at this place the last time.
    #[cold]
    fn learn(&mut self, logger: &Logger, at: usize, key: &Bound<'_, PyAny>) -> ApiResult<Option<KeyId>> {
        // A subclass could run code of its own when it goes.
        let Ok(key) = key.cast_exact::<PyString>() else { return Ok(None) };
        let Ok(text) = key.to_str() else { return Ok(None) };
        let object = key.as_any().clone().unbind();
        if let Some(known) = self.known.get_mut(at) {
            if known.text != text {
                known.id = logger.key(text)?;
                text.clone_into(&mut known.text);
            }
            known.object = object;
            return Ok(Some(known.id));
        }
        let id = logger.key(text)?;
        // Keys are met in order: this is the next place.
        self.known.push(Known { object, text: text.to_owned(), id });
        Ok(Some(id))
    }

    /// Numbers that are no exact floats and need no Python code: subclasses of float (NumPy's float64), ints, and
    /// scalars that were met before.
    #[inline]
    fn other_number(&self, value: &Bound<'_, PyAny>) -> Option<f64> {
        if let Ok(float) = value.cast::<PyFloat>() {
            return Some(float.value());
        }
        let class = value.get_type();
        let plain = value.is_exact_instance_of::<PyInt>() || value.is_exact_instance_of::<PyBool>();
        if plain || self.scalars.iter().any(|known| known.is(&class)) {
            // What fails here fails again where Python may run, which raises.
            return value.extract().ok();
        }
        None
    }

    /// Remembers the type of a scalar, so that the next row need not ask.
    pub(super) fn note_scalar(&mut self, class: Bound<'_, PyType>) {
        if self.scalars.len() < SCALARS_MAX && !self.scalars.iter().any(|known| known.is(&class)) {
            self.scalars.push(class.unbind());
        }
    }
}

/// The type of a value, if it is a scalar of NumPy: one of which `float` runs no Python code.
pub(super) fn scalar_class<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyType>>> {
    let class = value.get_type();
    if class.module()?.to_str()? != "numpy" {
        return Ok(None);
    }
    let numpy = value.py().import("numpy")?;
    for kind in ["floating", "integer", "bool_"] {
        if class.is_subclass(&numpy.getattr(kind)?)? {
            return Ok(Some(class));
        }
    }
    Ok(None)
}
