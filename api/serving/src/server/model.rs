//! A model as the server holds it.

use std::sync::Arc;

use runlode_models::signature::Signature;

use crate::engine::Engine;

/// A loaded model with what its file says of its inputs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Model {
    /// What it is called in `/metrics`.
    pub name: String,
    /// Its signature.
    pub signature: Option<Signature>,
    /// Whether the model checks its inputs itself, by the type hints of its code.
    pub is_by_type_hint: bool,
    /// What predicts.
    pub engine: Arc<dyn Engine>,
}

impl Model {
    /// A model whose inputs its signature says.
    #[must_use]
    pub fn new(name: impl Into<String>, signature: Option<Signature>, engine: Arc<dyn Engine>) -> Self {
        Self { name: name.into(), signature, is_by_type_hint: false, engine }
    }
}
