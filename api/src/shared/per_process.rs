//! A value of which every process has its own: forked children make theirs when they first need it.
//!
//! A parent's threads, locks and connections do not work in a child, and its locks may be held for ever by threads that
//! the child does not have. So a child never uses or drops the parent's value. Each generation of processes
//! ([`fork::generation`]) has its own place here, so that a fork while a place is being filled blocks nobody.

use std::mem::ManuallyDrop;
use std::sync::OnceLock;

use crate::engine::fork;
use crate::{Error, Result};

/// Maximum number of nested forks for which a value may be inherited.
const DEPTH: usize = 6;

#[derive(Debug)]
pub(super) struct PerProcess<T> {
    generation: u64,
    /// Taken out only in the process that made it; a child leaks its copy.
    own: Option<ManuallyDrop<Box<T>>>,
    later: [OnceLock<Box<T>>; DEPTH],
}

impl<T> PerProcess<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            generation: fork::generation(),
            own: Some(ManuallyDrop::new(Box::new(value))),
            later: [const { OnceLock::new() }; DEPTH],
        }
    }

    /// The value of this process; made if it has none. `make` gets the value of the nearest ancestor process, whose
    /// locks may be held for ever.
    #[inline]
    pub(super) fn get(&self, make: impl FnOnce(&T) -> Result<T>) -> Result<&T> {
        match &self.own {
            Some(own) if self.generation == fork::generation() => Ok(own),
            _ => self.get_later(make),
        }
    }

    #[cold]
    fn get_later(&self, make: impl FnOnce(&T) -> Result<T>) -> Result<&T> {
        let depth = fork::generation().wrapping_sub(self.generation).wrapping_sub(1);
        let place =
            usize::try_from(depth).ok().and_then(|depth| Some((self.later.get(depth)?, self.later.get(..depth)?)));
        let (Some((place, before)), Some(own)) = (place, &self.own) else {
            let why = format!("this handle was made {depth} forks ago; open the store again in this process");
            return Err(Error::Unsupported { why });
        };
        if let Some(value) = place.get() {
            return Ok(value);
        }
        // Make it outside, so that a failure leaves the place empty; of two at once one is dropped.
        let parent = before.iter().rev().find_map(OnceLock::get).map_or(&***own, |later| &**later);
        let value = make(parent)?;
        Ok(place.get_or_init(|| Box::new(value)))
    }

    /// Takes the value of this process out of its place; `None` if it has none.
    pub(super) fn take(&mut self) -> Option<T> {
        if self.generation == fork::generation() {
            return self.own.take().map(|own| *ManuallyDrop::into_inner(own));
        }
        let depth = fork::generation().wrapping_sub(self.generation).wrapping_sub(1);
        self.later.get_mut(usize::try_from(depth).ok()?)?.take().map(|value| *value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let own = self.take();
        // The other values belong to ancestor processes.
        for place in &mut self.later {
            std::mem::forget(place.take());
        }
        drop(own);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_maker_has_its_value_and_drops_it() {
        let value = Arc::new(7);
        let mut place = PerProcess::new(value.clone());
        assert_eq!(**place.get(|_| unreachable!()).unwrap(), 7);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(place.take());
        assert!(place.take().is_none());
        let place = PerProcess::new(value.clone());
        drop(place);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
