//! A holder knows a request that comes again by its key, and refuses a call that no table has.

use super::protocol::{ClientId, Request};
use crate::engine::checksum::fnv;
use crate::mlflow::{ApiError, Call, ErrorCode};

/// The refusal of a call that no table has.
pub(super) fn unknown(call: u16) -> ApiError {
    let pid = std::process::id();
    let message = format!(
        "process {pid}, which holds the store, does not know call {call}: it runs an older version of Runlode; end it, \
         or use its version"
    );
    ApiError::new(ErrorCode::NotImplemented, message)
}

/// The request as an idempotent call: its client and number are the key, unless it is made for somebody who gave one.
pub(super) fn call_of(client: ClientId, request: &Request<'_>) -> Call {
    if let Some(call) = &request.made_for
        && request.has_key()
    {
        return call.clone();
    }
    let mut key = client.0.to_vec();
    key.extend_from_slice(&request.count.to_le_bytes());
    // The same in every version, whoever holds the store when the request comes again.
    let bytes = request.call.to_le_bytes().into_iter().chain(request.arguments.rest().iter().copied());
    let actor = request.made_for.as_ref().map(|call| call.actor.clone()).unwrap_or_default();
    Call { actor, idempotency_key: key, request_hash: fnv(bytes) }
}
