//! Signatures: read from and written as MLflow's JSON, letter for letter.
//!
//! Three texts of JSON stand in an MLmodel file, or `null`: a list of columns or tensors for `inputs` and `outputs`, a list
//! of parameters for `params`. [`crate::schema`] has the types, and says what always holds.
//!
//! ```text
//! column   {"type": T, "name"?, "required"?}                        scalars are required unless they say otherwise
//! tensor   {"type": "tensor", "name"?, "tensor-spec": {"dtype", "shape"}}
//! nested   {"type": "array", "items": {..}}  {"type": "map", "values": {..}}  {"type": "object", "properties": {..}}
//! param    {"name", "type" (once: "dtype"), "default", "shape": null or [-1]}
//! ```

use std::sync::Arc;

use crate::data::{DType, Label, Value};
use crate::enforce::{EnforceError, check_param};
use crate::json::{self, JsonError};
pub use crate::schema::{
    ColumnSpec, DataType, ParamSchema, ParamSpec, ParamType, Property, Scalar, Schema, TensorSpec, TensorType,
};

/// What a model takes and gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signature {
    /// The input; none lets everything in.
    pub inputs: Option<Schema>,
    /// The output, which nobody checks.
    pub outputs: Option<Schema>,
    /// The parameters.
    pub params: Option<ParamSchema>,
}

/// A signature that MLflow could not load.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// The text is no JSON.
    #[error("no JSON: {0}")]
    Json(#[from] JsonError),
    /// It is JSON of another kind.
    #[error("{place}: {reason}")]
    Wrong {
        /// Which element: `column 3`, `column "x", items`.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The default of a parameter is not of its type.
    #[error("param {name:?}: {source}")]
    Default {
        /// The parameter.
        name: String,
        /// Why it is refused.
        source: Box<EnforceError>,
    },
}

type Result<T, E = SignatureError> = std::result::Result<T, E>;

impl Schema {
    /// Reads the text of `inputs` or `outputs`.
    ///
    /// ```
    /// use runlode_models::signature::Schema;
    ///
    /// let text = r#"[{"type": "double", "name": "x", "required": true}]"#;
    /// let schema = Schema::from_json(text)?;
    /// assert_eq!(schema.to_json(), text);
    /// assert!(Schema::from_json(r#"[{"type": "decimal"}]"#).unwrap_err().to_string().contains("decimal"));
    /// # Ok::<(), runlode_models::signature::SignatureError>(())
    /// ```
    ///
    /// # Errors
    /// [`SignatureError`] names the element that MLflow would refuse too.
    pub fn from_json(text: &str) -> Result<Self> {
        let Value::List(items) = json::from_str(text)? else {
            return Err(wrong("schema", "it is no list"));
        };
        if items.is_empty() {
            return Err(wrong("schema", "it is empty; leave out a schema without columns"));
        }
        let kind_of = |item: &Value| get(item, "type").cloned();
        let is_tensor = |item: &Value| kind_of(item) == Some(Value::Text("tensor".into()));
        let schema = if items.iter().all(is_tensor) {
            Self::Tensors(items.iter().enumerate().map(|(at, item)| tensor(item, at)).collect::<Result<_>>()?)
        } else if items.iter().any(is_tensor) {
            return Err(wrong("schema", "it mixes columns and tensors"));
        } else {
            Self::Columns(items.iter().enumerate().map(|(at, item)| column(item, at)).collect::<Result<_>>()?)
        };
        schema.check()?;
        Ok(schema)
    }

    fn check(&self) -> Result<()> {
        let names: Vec<Option<&Label>> = match self {
            Self::Columns(columns) => columns.iter().map(|column| column.name.as_ref()).collect(),
            Self::Tensors(tensors) => tensors.iter().map(|tensor| tensor.name.as_ref()).collect(),
        };
        let named = names.iter().flatten().count();
        if named != 0 && named != names.len() {
            return Err(wrong("schema", "some inputs have names and some have none"));
        }
        match self {
            Self::Tensors(tensors) if named == 0 && tensors.len() > 1 => {
                Err(wrong("schema", "several tensors without names"))
            }
            // A nested type that leaves it unsaid is neither.
            Self::Columns(columns) if named == 0 && columns.iter().any(|column| column.required == Some(false)) => {
                Err(wrong("schema", "an optional column without a name"))
            }
            _ => Ok(()),
        }
    }

    /// The text that MLflow writes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let items = match self {
            Self::Columns(columns) => columns.iter().map(column_value).collect(),
            Self::Tensors(tensors) => tensors.iter().map(tensor_value).collect(),
        };
        json::to_string(&Value::List(items))
    }
}

impl ParamSchema {
    /// Reads the text of `params`.
    ///
    /// # Errors
    /// [`SignatureError`] names the parameter that MLflow would refuse too.
    pub fn from_json(text: &str) -> Result<Self> {
        let Value::List(items) = json::from_str(text)? else { return Err(wrong("params", "it is no list")) };
        let mut params: Vec<ParamSpec> = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let param = param(item, at)?;
            if params.iter().any(|other| other.name == param.name) {
                return Err(wrong(format!("param {:?}", param.name), "it stands there twice"));
            }
            params.push(param);
        }
        Ok(Self(params))
    }

    /// The text that MLflow writes.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::to_string(&Value::List(self.0.iter().map(param_value).collect()))
    }
}

fn wrong(place: impl Into<String>, reason: impl Into<String>) -> SignatureError {
    SignatureError::Wrong { place: place.into(), reason: reason.into() }
}

fn get<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    let Value::Dict(entries) = value else { return None };
    entries.iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
}

fn name_of(item: &Value, place: &str) -> Result<Option<Label>> {
    match get(item, "name") {
        None | Some(Value::None) => Ok(None),
        Some(Value::Text(name)) => Ok(Some(Label::Text(Arc::clone(name)))),
        Some(Value::Int(position)) => Ok(Some(Label::Position(*position))),
        Some(_) => Err(wrong(place, "its name is no text")),
    }
}

fn place_of(what: &str, item: &Value, at: usize) -> String {
    match get(item, "name") {
        Some(Value::Text(name)) => format!("{what} {name:?}"),
        _ => format!("{what} {}", at + 1),
    }
}

fn required_of(item: &Value, place: &str) -> Result<Option<bool>> {
    match get(item, "required") {
        None | Some(Value::None) => Ok(None),
        Some(Value::Bool(is)) => Ok(Some(*is)),
        Some(_) => Err(wrong(place, "`required` is neither true nor false")),
    }
}

fn column(item: &Value, at: usize) -> Result<ColumnSpec> {
    let place = place_of("column", item, at);
    let kind = data_type(item, &place)?;
    let mut required = required_of(item, &place)?;
    if let DataType::Scalar(_) = kind {
        required = required.or(Some(true));
        let Value::Dict(entries) = item else { return Err(wrong(place, "it is no map")) };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !matches!(&**key, "type" | "name" | "required")) {
            return Err(wrong(place, format!("a scalar column has no key {key:?}")));
        }
    }
    Ok(ColumnSpec { name: name_of(item, &place)?, kind, required })
}

fn data_type(item: &Value, place: &str) -> Result<DataType> {
    let Value::Dict(_) = item else { return Err(wrong(place, "it is no map")) };
    let name = match get(item, "type") {
        Some(Value::Text(name)) => name,
        Some(_) => return Err(wrong(place, "its type is no text")),
        None => return Err(wrong(place, "its type is missing")),
    };
    let inner = |key: &str| {
        let place = format!("{place}, {key}");
        let item = get(item, key).ok_or_else(|| wrong(place.as_str(), "this key is missing"))?;
        data_type(item, &place).map(Box::new)
    };
    match &**name {
        "array" => inner("items").map(DataType::Array),
        "map" => inner("values").map(DataType::Map),
        "object" => properties(item, place).map(DataType::Object),
        "any" => Ok(DataType::Any),
        "sparkml_vector" => Ok(DataType::SparkVector),
        other => Scalar::of_name(other).map(DataType::Scalar).ok_or_else(|| {
            let known = Scalar::ALL.map(Scalar::name).join(", ");
            wrong(place, format!("the type {other:?} is not known; there are {known}, array, object, map, any"))
        }),
    }
}

fn properties(item: &Value, place: &str) -> Result<Vec<Property>> {
    let Some(Value::Dict(entries)) = get(item, "properties") else {
        return Err(wrong(place, "an object has `properties`, a map of types by name"));
    };
    if entries.is_empty() {
        return Err(wrong(place, "an object without properties"));
    }
    let mut properties = Vec::with_capacity(entries.len());
    for (name, item) in entries {
        let place = format!("{place}, property {name:?}");
        let kind = data_type(item, &place)?;
        if kind == DataType::SparkVector {
            return Err(wrong(place, "a vector of Spark cannot be a property"));
        }
        let required = required_of(item, &place)?.unwrap_or(get(item, "required").is_none());
        properties.push(Property { name: Arc::clone(name), kind, required });
    }
    properties.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(properties)
}

fn tensor(item: &Value, at: usize) -> Result<TensorSpec> {
    let place = place_of("tensor", item, at);
    let Some(spec) = get(item, "tensor-spec") else { return Err(wrong(place, "`tensor-spec` is missing")) };
    let kind = match get(spec, "dtype") {
        Some(Value::Text(name)) => tensor_type(name).map_err(|reason| wrong(place.as_str(), reason))?,
        _ => return Err(wrong(place, "its dtype is missing or no text")),
    };
    let Some(Value::List(dimensions)) = get(spec, "shape") else {
        return Err(wrong(place, "its shape is missing or no list"));
    };
    let shape = dimensions.iter().map(|dimension| match dimension {
        Value::Int(length @ -1..) => Ok(*length),
        _ => Err(wrong(place.as_str(), "a dimension of its shape is no length and not -1")),
    });
    Ok(TensorSpec { shape: shape.collect::<Result<_>>()?, kind, name: name_of(item, &place)? })
}

/// The type of a name or code that `numpy.dtype` takes.
fn tensor_type(name: &str) -> Result<TensorType, String> {
    let code = name.trim_start_matches(['<', '=', '|']);
    let known = match code {
        "object" | "object_" | "O" => return Ok(TensorType::Object),
        "bool_" | "?" | "b1" => DType::Bool,
        "i1" | "byte" => DType::Int8,
        "i2" | "short" => DType::Int16,
        "i4" | "intc" => DType::Int32,
        "i8" | "int" | "int_" | "intp" | "longlong" => DType::Int64,
        "u1" | "ubyte" => DType::UInt8,
        "u2" | "ushort" => DType::UInt16,
        "u4" | "uintc" => DType::UInt32,
        "u8" | "uint" | "uintp" | "ulonglong" => DType::UInt64,
        "f2" | "half" => DType::Float16,
        "f4" | "single" => DType::Float32,
        "f8" | "float" | "double" => DType::Float64,
        "str_" | "U" | "U0" => DType::Str,
        "bytes_" | "S" | "S0" => DType::Bytes,
        "M8[ns]" => DType::Datetime,
        _ => match DType::of_name(code) {
            Some(dtype) => dtype,
            None if code.strip_prefix(['U', 'S']).is_some_and(|size| size.parse::<u32>().is_ok()) => {
                return Err(format!("the dtype {name:?} has a size; MLflow takes `str` and `bytes`"));
            }
            None if is_other_type(code) => return Ok(TensorType::Other(name.into())),
            None => return Err(format!("numpy knows no dtype {name:?}")),
        },
    };
    Ok(TensorType::Known(known))
}

/// Whether numpy has the type, though no array here can.
fn is_other_type(code: &str) -> bool {
    let unit = |text: &str| {
        let unit = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        text.is_empty() || unit.is_some_and(|unit| unit.trim_start_matches(|c: char| c.is_ascii_digit()).len() <= 2)
    };
    matches!(
        code,
        "complex64" | "complex128" | "complex256" | "complex" | "c8" | "c16" | "float128" | "longdouble" | "void"
    ) || ["datetime64", "timedelta64", "M8", "m8"].iter().any(|name| code.strip_prefix(name).is_some_and(unit))
}

fn param(item: &Value, at: usize) -> Result<ParamSpec> {
    let place = place_of("param", item, at);
    let name = match get(item, "name") {
        Some(Value::Text(name)) => Arc::clone(name),
        Some(other) => crate::text::python_str(other).into(),
        None => return Err(wrong(place, "its name is missing")),
    };
    let kind = match get(item, "type").or_else(|| get(item, "dtype")) {
        Some(Value::Text(kind)) if &**kind == "object" => ParamType::Object(properties(item, &place)?),
        Some(Value::Text(kind)) => match Scalar::of_name(kind) {
            Some(Scalar::Binary) => return Err(wrong(place, "a parameter cannot be binary")),
            Some(scalar) => ParamType::Scalar(scalar),
            None => return Err(wrong(place, format!("the type {kind:?} is not known"))),
        },
        _ => return Err(wrong(place, "its type is missing or no text")),
    };
    let is_list = match get(item, "shape") {
        None | Some(Value::None) => false,
        Some(Value::List(shape)) if shape[..] == [Value::Int(-1)] => true,
        Some(_) => return Err(wrong(place, "its shape is neither null nor [-1]")),
    };
    let default = get(item, "default").ok_or_else(|| wrong(place.as_str(), "its default is missing"))?;
    let mut spec = ParamSpec { name, kind, default: Value::None, is_list };
    spec.default = check_param(default.clone(), &spec)
        .map_err(|source| SignatureError::Default { name: spec.name.to_string(), source: Box::new(source) })?;
    Ok(spec)
}

type Entries = Vec<(Arc<str>, Value)>;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn label_value(label: &Label) -> Value {
    match label {
        Label::Text(text) => Value::Text(Arc::clone(text)),
        Label::Position(position) => Value::Int(*position),
    }
}

fn type_entries(kind: &DataType) -> Entries {
    match kind {
        DataType::Scalar(scalar) => vec![("type".into(), text(scalar.name()))],
        DataType::Array(items) => {
            vec![("type".into(), text("array")), ("items".into(), Value::Dict(type_entries(items)))]
        }
        DataType::Map(values) => {
            vec![("type".into(), text("map")), ("values".into(), Value::Dict(type_entries(values)))]
        }
        DataType::Object(properties) => object_entries(properties),
        DataType::Any => vec![("type".into(), text("any"))],
        DataType::SparkVector => vec![("type".into(), text("sparkml_vector"))],
    }
}

fn object_entries(properties: &[Property]) -> Entries {
    let of_property = |property: &Property| {
        let mut entries = type_entries(&property.kind);
        entries.push(("required".into(), Value::Bool(property.required)));
        (Arc::clone(&property.name), Value::Dict(entries))
    };
    vec![
        ("type".into(), text("object")),
        ("properties".into(), Value::Dict(properties.iter().map(of_property).collect())),
    ]
}

fn column_value(column: &ColumnSpec) -> Value {
    let mut entries = type_entries(&column.kind);
    if let Some(name) = &column.name {
        entries.push(("name".into(), label_value(name)));
    }
    entries.push(("required".into(), column.required.map_or(Value::None, Value::Bool)));
    Value::Dict(entries)
}

fn tensor_value(tensor: &TensorSpec) -> Value {
    let mut entries: Entries = Vec::new();
    if let Some(name) = &tensor.name {
        entries.push(("name".into(), label_value(name)));
    }
    let shape = tensor.shape.iter().map(|length| Value::Int(*length)).collect();
    let spec = vec![("dtype".into(), text(tensor.kind.name())), ("shape".into(), Value::List(shape))];
    entries.push(("type".into(), text("tensor")));
    entries.push(("tensor-spec".into(), Value::Dict(spec)));
    Value::Dict(entries)
}

fn param_value(param: &ParamSpec) -> Value {
    let mut entries: Entries = vec![
        ("name".into(), Value::Text(Arc::clone(&param.name))),
        ("default".into(), param.default.clone()),
        ("shape".into(), if param.is_list { Value::List(vec![Value::Int(-1)]) } else { Value::None }),
    ];
    match &param.kind {
        ParamType::Scalar(scalar) => entries.push(("type".into(), text(scalar.name()))),
        ParamType::Object(properties) => entries.extend(object_entries(properties)),
    }
    Value::Dict(entries)
}
