//! Fuzz targets of models: the file `MLmodel`, the JSON of signatures, the bodies of scoring requests. Each takes bytes
//! and panics if something is wrong.

use runlode_models::enforce::{csv, enforce, json_request, params};
use runlode_models::file::ModelFile;
use runlode_models::signature::{ParamSchema, Schema, Signature};
use runlode_models::{Input, json};

/// A file is refused, or what is written of it is read as the same.
pub fn model_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(file) = ModelFile::from_yaml(text) else { return };
    let written = file.to_yaml();
    let again =
        ModelFile::from_yaml(&written).unwrap_or_else(|error| panic!("{error} in what was written:\n{written}"));
    assert_eq!(again.to_yaml(), written);
}

/// A signature is refused, or is written and read as the same.
pub fn signature(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(schema) = Schema::from_json(text) {
        let written = schema.to_json();
        assert_eq!(Schema::from_json(&written).expect("it was written here"), schema);
    }
    if let Ok(schema) = ParamSchema::from_json(text) {
        let written = schema.to_json();
        let again = ParamSchema::from_json(&written).expect("it was written here");
        assert_eq!(again.to_json(), written);
    }
}

/// A body is refused, or becomes columns of one length; the first byte chooses the signature.
pub fn scoring_body(bytes: &[u8]) {
    const INPUTS: [&str; 6] = [
        r#"[{"type": "integer", "name": "a"}, {"type": "datetime", "name": "b", "required": false}]"#,
        r#"[{"type": "string"}, {"type": "double"}]"#,
        r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]"#,
        r#"[{"type": "tensor", "name": "a", "tensor-spec": {"dtype": "uint8", "shape": [-1, 2, 2]}}]"#,
        r#"[{"type": "array", "items": {"type": "map", "values": {"type": "binary"}}, "name": "a", "required": true}]"#,
        r#"[{"type": "object", "properties": {"x": {"type": "long"}, "y": {"type": "any", "required": false}}, "name": "a"}]"#,
    ];
    let Some((choice, body)) = bytes.split_first() else { return };
    let inputs = INPUTS.get(usize::from(*choice) % (INPUTS.len() + 1));
    let inputs = inputs.map(|text| Schema::from_json(text).expect("it is a literal"));
    let param = r#"[{"name": "t", "type": "double", "default": 0.5}, {"name": "d", "type": "datetime", "default": "2024-01-01", "shape": null}]"#;
    let signature =
        Signature { inputs, outputs: None, params: Some(ParamSchema::from_json(param).expect("it is a literal")) };
    let check = |input: Input| {
        let Ok(Input::Frame(frame)) = enforce(input, &signature) else { return };
        assert!(frame.columns.iter().all(|column| column.cells.len() == frame.rows_count));
    };
    if let Ok(value) = json::from_slice(body)
        && let Ok(request) = json_request(value, &signature, false)
    {
        let _ = params(request.params, signature.params.as_ref());
        check(request.data);
    }
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(input) = csv(text, signature.inputs.as_ref())
    {
        check(input);
    }
}
