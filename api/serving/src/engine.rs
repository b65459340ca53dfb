//! What predicts: one trait for models of every kind.

use std::fmt::Debug;

use bytes::Bytes;
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

    /// Predicts on the rows of several requests at once. `rows_each` has the rows of each request, in order.
    ///
    /// # Errors
    /// As [`Engine::predict`]; the model may then have seen the rows already.
    fn predict_together(
        &self,
        input: Input,
        rows_each: &[usize],
        params: Option<&[(String, Value)]>,
    ) -> Result<Together, PredictError> {
        let _ = rows_each;
        self.predict(input, params).map(Together::Whole)
    }

    /// How many processes of the model were started in the place of one that ended.
    fn restarts_count(&self) -> usize {
        0
    }

    /// Whether the engine itself gives types to requests to models without a schema of their inputs, as pandas and
    /// numpy do ([`Engine::predict_untyped`]).
    fn reads_untyped(&self) -> bool {
        false
    }

    /// Predicts on a request as the client sent it.
    ///
    /// # Errors
    /// As [`Engine::predict`]; [`PredictError::Answered`] if the request cannot be read.
    fn predict_untyped(&self, request: &Untyped, params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        let _ = (request, params);
        Err(PredictError::Refused("this model's inputs need a schema".to_owned()))
    }
}

/// A request that no schema has given types to.
#[derive(Debug, Clone, PartialEq)]
pub struct Untyped {
    /// What the body is.
    pub form: UntypedForm,
    /// The client's bytes. JSON was parsed once, so it is an object that holds what its form says.
    pub body: Bytes,
    /// Whether the request is refused for another reason than its input, which goes first: the input is only read, and
    /// the answer of the model is `null`.
    pub is_only_read: bool,
}

/// What the body of an [`Untyped`] request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UntypedForm {
    /// JSON with exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`.
    Json,
    /// JSON whose `inputs` go to the model as they are: a model with type hints checks them itself.
    JsonByTypeHint,
    /// JSON that goes to the model whole, but for the keys that are parameters of the model.
    JsonUnwrapped {
        /// Names of the model's parameters.
        params_names: Vec<String>,
    },
    /// CSV; pandas' dtype by name of column, where the schema says one.
    Csv {
        /// None where there is no schema.
        dtypes: Option<Vec<(String, String)>>,
    },
    /// A Parquet file.
    Parquet,
}

/// What a model answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Columns, arrays or values; the server writes them as MLflow does.
    Data(Input),
    /// JSON text that a worker has already made of the answer: the value of the key `predictions`.
    Encoded(Bytes),
}

/// What a model answers to several requests at once.
#[derive(Debug)]
pub enum Together {
    /// One answer with the rows of all requests.
    Whole(Output),
    /// The answer to each request, in order.
    Parts(Vec<Result<Output, PredictError>>),
    /// The answer does not have a row for each row given, so it cannot be cut.
    Unsplit,
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
    /// The model raised an exception, and its process has written the answer's body.
    #[error("the model's answer is an error (status {status}): {}", String::from_utf8_lossy(body))]
    Answered {
        /// Status of the answer.
        status: u16,
        /// An object of JSON with `error_code` and `message`.
        body: Bytes,
    },
    /// The worker died or left in the middle of the request. It is not tried again: it may have had effects.
    #[error("the model left the request without an answer ({reason}); it was not repeated")]
    Lost {
        /// How it ended.
        reason: String,
    },
    /// No process of the model is ready. The request did not reach the model, so it may be sent again.
    #[error("no process of the model is ready ({reason}); send the request again later")]
    NotReady {
        /// What is known of it.
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
