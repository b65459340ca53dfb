//! One request without a server: what a body would be answered.

use bytes::Bytes;
use runlode_models::signature::Signature;
use runlode_models::{Input, enforce};

use super::answer::{Fault, predictions};
use super::content_type::Format;
use super::input::prepare;
use super::model::Model;
use super::queue::Work;

/// The answer's body to one body, of JSON or CSV, as `mlflow models predict` gives it. CSV is not cast to the signature's
/// types there, other than by the server.
///
/// # Errors
/// The body that the server would answer the error with.
pub fn answer_once(model: &Model, body: Bytes, is_csv: bool) -> Result<Bytes, String> {
    let text = |fault: Fault| fault.text();
    if is_csv && let (Some(signature), false) = (&model.signature, model.is_by_type_hint) {
        let input = untyped_csv(&body, signature).map_err(text)?;
        let output = model.engine.predict(input, None).map_err(|error| text(error.into()))?;
        return Ok(predictions(&output, false));
    }
    let format = if is_csv { Format::Csv } else { Format::Json };
    let prepared = prepare(model, format, &body).map_err(text)?;
    let params = prepared.params.as_deref();
    let output = match prepared.work {
        Work::Typed(input) => model.engine.predict(input, params),
        Work::Untyped(request) => model.engine.predict_untyped(&request, params),
    };
    let output = output.map_err(|error| text(error.into()))?;
    match prepared.fault {
        Some(fault) => Err(text(fault)),
        None => Ok(predictions(&output, prepared.is_unwrapped)),
    }
}

fn untyped_csv(body: &Bytes, signature: &Signature) -> Result<Input, Fault> {
    let text =
        std::str::from_utf8(body).map_err(|error| Fault::bad_request(format!("the input is no UTF-8: {error}")))?;
    let input = enforce::csv(text, None)?;
    if signature.inputs.is_none() { Ok(input) } else { Ok(enforce::enforce(input, signature)?) }
}
