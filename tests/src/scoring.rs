//! The fuzz target of scoring requests: bodies of JSON and CSV through reading, casting and enforcement.

use runlode_models::enforce;
use runlode_models::signature::{ParamSchema, Schema, Signature};
use runlode_models::{Cells, Input, Tensor, json};

/// Schemas of every kind of input; the first byte of an input chooses one.
const SCHEMAS: [&str; 7] = [
    r#"[{"type": "integer", "name": "i"}, {"type": "long", "name": "l"}, {"type": "float", "name": "f"},
        {"type": "double", "name": "d"}, {"type": "boolean", "name": "b"}, {"type": "string", "name": "s"},
        {"type": "binary", "name": "n", "required": false}, {"type": "datetime", "name": "t", "required": false}]"#,
    r#"[{"type": "double"}, {"type": "string"}]"#,
    r#"[{"type": "array", "items": {"type": "long"}, "name": "a", "required": true},
        {"type": "object", "properties": {"x": {"type": "double", "required": true}}, "name": "o"},
        {"type": "map", "values": {"type": "array", "items": {"type": "string"}}, "name": "m"},
        {"type": "any", "name": "y"}]"#,
    r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]"#,
    r#"[{"type": "tensor", "name": "a", "tensor-spec": {"dtype": "int64", "shape": [-1]}},
        {"type": "tensor", "name": "b", "tensor-spec": {"dtype": "uint8", "shape": [-1, 2, 2]}}]"#,
    r#"[{"type": "string", "name": "only"}]"#,
    "",
];
const PARAMS: &str = r#"[{"name": "t", "type": "double", "default": 0.5, "shape": null},
    {"name": "n", "type": "integer", "default": 3, "shape": null},
    {"name": "stop", "type": "string", "default": ["a"], "shape": [-1]},
    {"name": "at", "type": "datetime", "default": "2024-01-02", "shape": null}]"#;

/// Whatever a body holds, it is refused with a reason, or becomes an input whose parts fit together.
pub fn scoring_body(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let text = SCHEMAS[usize::from(choice % 8).min(SCHEMAS.len() - 1)];
    let inputs = (!text.is_empty()).then(|| Schema::from_json(text).unwrap());
    let signature = Signature { inputs, outputs: None, params: Some(ParamSchema::from_json(PARAMS).unwrap()) };
    if let Ok(read) = json::from_slice(body) {
        // What was read can be written, and reads back as text.
        let written = json::to_string(&read);
        json::from_str(&written).unwrap();
        if let Ok(request) = enforce::json_request(read, &signature, choice & 0x80 != 0) {
            check(&request.data);
            let _ = enforce::params(request.params, signature.params.as_ref());
            if let Ok(input) = enforce::enforce(request.data, &signature) {
                check(&input);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(input) = enforce::csv(text, signature.inputs.as_ref())
    {
        check(&input);
        if let Ok(input) = enforce::enforce(input, &signature) {
            check(&input);
        }
    }
}

fn check(input: &Input) {
    match input {
        Input::Frame(frame) => {
            assert!(frame.columns.iter().all(|column| column.cells.len() == frame.rows_count));
            assert!(frame.index.as_ref().is_none_or(|index| index.len() == frame.rows_count));
            frame.columns.iter().for_each(|column| check_cells(&column.cells));
        }
        Input::Tensor(tensor) => check_tensor(tensor),
        Input::Tensors(tensors) => tensors.iter().for_each(|(_, tensor)| check_tensor(tensor)),
        Input::Value(_) => {}
    }
}

fn check_tensor(tensor: &Tensor) {
    assert_eq!(tensor.shape.iter().product::<usize>(), tensor.elements.len());
    check_cells(&tensor.elements);
}

/// Every cell can be read as what its dtype says.
fn check_cells(cells: &Cells) {
    (0..cells.len()).for_each(|row| drop(cells.value(row)));
}

/// Bodies to start from.
#[must_use]
pub fn scoring_bodies() -> Vec<Vec<u8>> {
    let bodies = [
        (
            0,
            r#"{"dataframe_records": [{"i": 1, "l": 2, "f": 0.5, "d": "1.5", "b": true, "s": "x", "n": "AQID", "t": "2024-01-02"}], "params": {"t": 1, "stop": ["b"]}}"#,
        ),
        (
            0,
            r#"{"dataframe_split": {"columns": ["i", "l", "f", "d", "b", "s"], "index": [7], "data": [[1, 2, 3, 4, 0, "x"]]}}"#,
        ),
        (0, "i,l,f,d,b,s\n1,2,0.5,1e3,true,x\n"),
        (1, r#"{"inputs": [[1.5, "x"], [null, "y"]]}"#),
        (2, r#"{"dataframe_records": [{"a": [1, 2], "o": {"x": 1.5}, "m": {"k": ["v", null]}, "y": [{}]}]}"#),
        (3, r#"{"instances": [[1, 2.5], ["3", 4]]}"#),
        (4, r#"{"inputs": {"a": [1, 2], "b": [[[1, 2], [3, 4]], [[5, 6], [7, 255]]]}}"#),
        (5, r#"{"inputs": ["a", "\ud83d\ude00"]}"#),
        (6, r#"{"instances": [{"a": 1, "b": [1, 2]}, {"a": 18446744073709551616, "b": [NaN, Infinity]}]}"#),
        (6, "a,a,\n1,NA,x\n2,3,4,5\n"),
        (128, r#"{"inputs": [{"deep": [[[]]]}], "messages": []}"#),
    ];
    bodies.iter().map(|(choice, body)| [&[*choice], body.as_bytes()].concat()).collect()
}
