//! Fuzz targets of models: the file `MLmodel`, the JSON of signatures. Each takes bytes and panics if something is wrong.

use runlode_models::file::ModelFile;
use runlode_models::signature::{ParamSchema, Schema};

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
