//! For whom a call is made: its author and idempotency key, and the client that waits for its answer.
//!
//! A server makes calls for others. Whatever seat its process has, the holder learns in whose name a call is made, and
//! a read ends when nobody waits for it.

use std::sync::Arc;

use super::protocol::{FOR_ANOTHER, new_request};
use super::wire::Put;
use crate::mlflow::{Call, Mlflow, Waiting};

/// For whom calls are made; by default for this process itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    pub(super) call: Option<Arc<Call>>,
    pub(super) waiting: Option<Arc<dyn Waiting>>,
}

/// Calls of this process itself.
pub(super) static OWN: Caller = Caller { call: None, waiting: None };

impl Caller {
    /// The calls of the holder in this caller's name. Whether the call was made before is found out by its append.
    #[inline]
    pub(super) fn on(&self, mut mlflow: Mlflow) -> Mlflow {
        if let Some(call) = &self.call {
            mlflow = mlflow.in_call(call.clone());
        }
        if let Some(waiting) = &self.waiting {
            mlflow = mlflow.for_waiting(waiting.clone());
        }
        mlflow
    }

    /// A request in this caller's name, without arguments yet.
    pub(super) fn request(&self, count: u64, call: u16) -> Vec<u8> {
        let Some(of) = &self.call else { return new_request(count, call) };
        let mut request = new_request(count, FOR_ANOTHER);
        of.actor.put(&mut request);
        of.idempotency_key.put(&mut request);
        of.request_hash.put(&mut request);
        request.extend_from_slice(&call.to_le_bytes());
        request
    }

    /// Whether somebody still waits for the answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.is_waiting())
    }
}
