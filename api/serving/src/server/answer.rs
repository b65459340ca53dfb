//! What clients are answered: predictions and errors, byte for byte as MLflow's scoring server writes them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};
use runlode_models::json::{write, write_text};
use runlode_models::{Cells, Frame, Input, Label, Tensor, Value};

use crate::engine::{Output, PredictError};

/// When a client that was turned away should try again.
const RETRY_AFTER_S: &str = "1";
/// The body of an answer that did not come in time.
const TIMED_OUT: &str = "Request processing time exceeded limit";

/// An answer as a whole.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request has no predictions.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) status: u16,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Json(Bytes),
    Text(String),
    /// JSON by its content type, and not by its content: so MLflow has it.
    BareText(&'static str),
}

impl Fault {
    /// The request is wrong.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::coded(400, "BAD_REQUEST", &message.into(), None)
    }

    /// An error with a code of MLflow. The class is the code's own unless one is given.
    pub(super) fn coded(status: u16, code: &str, message: &str, class: Option<&str>) -> Self {
        Self { status, body: Body::Json(error_body(code, message, class, None)) }
    }

    /// The type of the body is none that can be read.
    pub(super) fn unsupported(text: String) -> Self {
        Self { status: 415, body: Body::Text(text) }
    }

    pub(super) fn timed_out() -> Self {
        Self { status: 504, body: Body::BareText(TIMED_OUT) }
    }

    /// Too much is being done already.
    pub(super) fn busy(message: &str) -> Self {
        Self::coded(429, "REQUEST_LIMIT_EXCEEDED", message, None)
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("The request is larger than {} MiB; send fewer rows at a time.", bytes_max >> 20);
        Self::coded(413, "BAD_REQUEST", &message, None)
    }

    /// The engine itself failed, which is no fault of the request.
    pub(super) fn internal(message: &str) -> Self {
        Self::coded(500, "INTERNAL_ERROR", message, None)
    }

    /// What is wrong, as the client reads it.
    pub(super) fn text(&self) -> String {
        match &self.body {
            Body::Json(json) => String::from_utf8_lossy(json).into_owned(),
            Body::Text(text) => text.clone(),
            Body::BareText(text) => (*text).to_owned(),
        }
    }

    pub(super) fn answer(self) -> Answer {
        let (content_type, body) = match self.body {
            Body::Json(json) => ("application/json", json),
            Body::Text(text) => ("text/plain; charset=utf-8", text.into()),
            Body::BareText(text) => ("application/json", Bytes::from_static(text.as_bytes())),
        };
        let mut answer = whole(self.status, content_type, body);
        if matches!(self.status, 429 | 503) {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        answer
    }
}

impl From<PredictError> for Fault {
    fn from(error: PredictError) -> Self {
        let message = error.to_string();
        match error {
            PredictError::Answered { status, body } => Self { status, body: Body::Json(body) },
            PredictError::Raised { status, code, message, stack_trace } => {
                let trace = (!stack_trace.is_empty()).then_some(stack_trace.as_str());
                Self { status, body: Body::Json(error_body(&code, &message, None, trace)) }
            }
            PredictError::Lost { .. } | PredictError::NotReady { .. } => {
                Self::coded(503, "TEMPORARILY_UNAVAILABLE", &message, None)
            }
            PredictError::Unencodable { .. } => Self::coded(500, "INTERNAL_ERROR", &message, None),
            PredictError::Refused(_) => Self::bad_request(message),
        }
    }
}

/// An error's body. A client can tell errors apart by `sqlstate` and `error_class` as well as by the code.
fn error_body(code: &str, message: &str, class: Option<&str>, trace: Option<&str>) -> Bytes {
    let (sqlstate, own_class) = match (code, class) {
        (_, Some("SCHEMA_ENFORCEMENT_FAILED")) => (Some("KAM01"), None),
        ("BAD_REQUEST" | "INVALID_PARAMETER_VALUE", _) => (Some("KAM00"), Some("INVALID_PARAMETER_VALUE")),
        ("INTERNAL_ERROR" | "TEMPORARILY_UNAVAILABLE", _) => (Some("XXM00"), Some("CLIENT_INTERNAL_ERROR")),
        // MLflow has none for the other codes.
        _ => (None, None),
    };
    let fields = [
        ("error_code", Some(code)),
        ("message", Some(message)),
        ("sqlstate", sqlstate),
        ("error_class", class.or(own_class)),
        ("stack_trace", trace),
    ];
    let mut out = String::from("{");
    for (name, text) in fields.iter().filter_map(|(name, text)| text.map(|text| (name, text))) {
        if out.len() > 1 {
            out.push_str(", ");
        }
        write_text(&mut out, name);
        out.push_str(": ");
        write_text(&mut out, text);
    }
    out.push('}');
    out.into()
}

pub(super) fn whole(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The answer to what is no request of HTTP; the connection ends with it.
pub(super) fn malformed() -> Answer {
    let mut answer = whole(400, "text/plain; charset=utf-8", "Invalid HTTP request received.");
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

pub(super) fn not_found() -> Answer {
    whole(404, "application/json", "{\"detail\":\"Not Found\"}")
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = whole(405, "application/json", "{\"detail\":\"Method Not Allowed\"}");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

pub(super) fn redirect(place: &str) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if let Ok(place) = HeaderValue::from_str(place) {
        answer.headers_mut().insert(LOCATION, place);
    }
    answer
}

/// The answer to a request that the model answered. `is_unwrapped`: without the key `predictions` around.
pub(super) fn predictions(output: &Output, is_unwrapped: bool) -> Bytes {
    let mut out = String::new();
    if !is_unwrapped {
        out.push_str("{\"predictions\": ");
    }
    match output {
        Output::Data(data) => write_input(&mut out, data),
        Output::Encoded(json) if is_unwrapped => return json.clone(),
        // The worker writes ASCII.
        Output::Encoded(json) => out.push_str(&String::from_utf8_lossy(json)),
    }
    if !is_unwrapped {
        out.push('}');
    }
    out.into()
}

fn write_input(out: &mut String, data: &Input) {
    match data {
        Input::Frame(frame) => write_records(out, frame),
        Input::Tensor(tensor) => write_tensor(out, tensor),
        Input::Tensors(tensors) => {
            out.push('{');
            for (place, (name, tensor)) in tensors.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { ", " });
                write_text(out, name);
                out.push_str(": ");
                write_tensor(out, tensor);
            }
            out.push('}');
        }
        Input::Value(value) => write(out, value),
    }
}

/// A frame as a list of records. Of columns with one name the last one counts, at the place of the first.
fn write_records(out: &mut String, frame: &Frame) {
    let mut names: Vec<(String, &Cells)> = Vec::with_capacity(frame.columns.len());
    for column in &frame.columns {
        let mut name = String::new();
        match &column.name {
            Label::Text(text) => write_text(&mut name, text),
            Label::Position(place) => write_text(&mut name, &place.to_string()),
        }
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = &column.cells,
            None => names.push((name, &column.cells)),
        }
    }
    out.push('[');
    for row in 0..frame.rows_count {
        out.push_str(if row == 0 { "{" } else { ", {" });
        for (place, (name, cells)) in names.iter().enumerate() {
            out.push_str(if place == 0 { "" } else { ", " });
            out.push_str(name);
            out.push_str(": ");
            write(out, &cells.value(row));
        }
        out.push('}');
    }
    out.push(']');
}

/// An array as nested lists. Times are nanoseconds, as numpy's `tolist` gives them.
fn write_tensor(out: &mut String, tensor: &Tensor) {
    fn level(out: &mut String, tensor: &Tensor, depth: usize, at: &mut usize) {
        let Some(length) = tensor.shape.get(depth) else {
            match tensor.elements.value(*at) {
                Value::Datetime(nanoseconds) => write(out, &Value::Int(nanoseconds.unwrap_or(i64::MIN))),
                value => write(out, &value),
            }
            *at += 1;
            return;
        };
        out.push('[');
        for place in 0..*length {
            out.push_str(if place == 0 { "" } else { ", " });
            level(out, tensor, depth + 1, at);
        }
        out.push(']');
    }
    level(out, tensor, 0, &mut 0);
}
