//! A target for tests that ends like a killed process: after so many calls every call fails, and the last one may have
//! done half.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::Target;
use crate::error::{Error, Result};

/// What lies in a target: values, and those of them that are not durable yet.
pub(crate) type Values = BTreeMap<String, Vec<u8>>;

/// A name, and what it had before.
type Loose = (String, Option<Vec<u8>>);

/// A target in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unreliable {
    pub(crate) values: Arc<Mutex<Values>>,
    /// Names that a power cut may take back.
    loose: Arc<Mutex<Vec<Loose>>>,
    calls: Arc<Mutex<u64>>,
    fails_from: Option<u64>,
}

impl Unreliable {
    /// The values of another one; fails from the n-th call on.
    pub(crate) fn with(values: &Values, fails_from: Option<u64>) -> Self {
        Self { values: Arc::new(Mutex::new(values.clone())), fails_from, ..Self::default() }
    }

    pub(crate) fn calls(&self) -> u64 {
        *self.calls.lock().unwrap()
    }

    /// What a power cut leaves: of what was not settled all, nothing, or every other one.
    pub(crate) fn after_power_cut(&self, keeps: impl Fn(usize) -> bool) -> Values {
        let mut values = self.values.lock().unwrap().clone();
        for (at, (name, before)) in self.loose.lock().unwrap().iter().enumerate().rev() {
            if !keeps(at) {
                match before {
                    Some(bytes) => values.insert(name.clone(), bytes.clone()),
                    None => values.remove(name),
                };
            }
        }
        values
    }

    fn call(&self) -> Result<()> {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        match self.fails_from {
            Some(from) if *calls >= from => Err(Error::Target { place: self.place(), why: "it died".into() }),
            _ => Ok(()),
        }
    }
}

impl Target for Unreliable {
    fn place(&self) -> String {
        "memory".into()
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.call()?;
        Ok(self.values.lock().unwrap().get(name).cloned())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.call()?;
        let before = self.values.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
        self.loose.lock().unwrap().push((name.to_owned(), before));
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.call()?;
        self.loose.lock().unwrap().clear();
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        self.call()?;
        let values = self.values.lock().unwrap();
        Ok(values
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(n, b)| (n.clone(), b.len() as u64))
            .collect())
    }
}
