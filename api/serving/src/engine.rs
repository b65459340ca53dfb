//! What predicts: one trait for models of every kind.

use std::fmt::Debug;

use runlode_models::{Input, Value};

/// A loaded model. Many threads may call it at once.
pub trait Engine: Debug + Send + Sync {
    /// Predicts on what the model's signature has let in.
    ///
    /// `params` are none where the model declares none or the request has none.
    ///
    /// # Errors
    /// [`PredictError`] says whose fault it is and what the answer's status is.
    fn predict(&self, input: Input, params: Option<&[(String, Value)]>) -> Result<Output, PredictError>;

    /// Predicts as [`predict`](Self::predict) does, and keeps the rows of an answer that MLflow would take apart or
    /// refuse: for columns, too, each output is an array whose first dimension is the rows. For callers that are not
    /// bound to MLflow's protocol, as scoring files is.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    fn predict_rows(&self, input: Input, params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        self.predict(input, params)
    }
}

/// What a model answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Columns, arrays or values; the server writes them as MLflow does.
    Data(Input),
    /// JSON text that a worker has already made of the answer: the value of the key `predictions`.
    Encoded(bytes::Bytes),
}

/// Why a model did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PredictError {
    /// The model raised an exception; an `MlflowException` brings its own status and code.
    #[error("{message}")]
    Raised {
        /// Status of the answer: 400 unless the exception says otherwise.
        status: u16,
        /// MLflow's error code, such as `BAD_REQUEST`.
        code: String,
        /// The exception's text.
        message: String,
        /// Python's traceback, empty where there is none.
        stack_trace: String,
    },
    /// The worker died or left in the middle of the request. It is not tried again: it may have had effects.
    #[error("the model's process ended while it answered ({reason}); the request was not repeated")]
    Lost {
        /// How it ended.
        reason: String,
    },
    /// The answer cannot be written as JSON.
    #[error("the model's answer cannot be encoded: {reason}")]
    Unencodable {
        /// Which value, and where.
        reason: String,
    },
    /// The input does not fit the model's own inputs.
    #[error("{0}")]
    Refused(String),
}
