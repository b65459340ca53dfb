//! Measured vectors: what MLflow 3.17.2 makes of bodies, cell by cell. No Python is needed.
//!
//! A line is `signature | body or CSV | outcome`. The outcome is BR, IP or SE for a refusal, else the columns as
//! `name dtype [cells]`, or arrays as `dtype shape [cells]`.

#![allow(clippy::unwrap_used)]

use runlode_models::enforce::{Refusal, csv, enforce, json_request, params};
use runlode_models::signature::{ParamSchema, Schema, Signature};
use runlode_models::{Input, Value, json};

const K: &str = r#"[{"type": "integer", "name": "i"}, {"type": "long", "name": "l"}, {"type": "float", "name": "f"},
    {"type": "double", "name": "d"}, {"type": "boolean", "name": "b"}, {"type": "string", "name": "s"},
    {"type": "binary", "name": "bin", "required": false}, {"type": "datetime", "name": "t", "required": false}]"#;
const N: &str = r#"[{"type": "string", "name": "s"},
    {"type": "array", "items": {"type": "long"}, "name": "arr", "required": true},
    {"type": "object", "properties": {"x": {"type": "double"}, "y": {"type": "string", "required": false}}, "name": "obj"},
    {"type": "map", "values": {"type": "array", "items": {"type": "string"}}, "name": "mp", "required": false},
    {"type": "any", "name": "any", "required": false}]"#;
const U: &str = r#"[{"type": "double"}, {"type": "double"}]"#;
const T: &str = r#"[{"type": "tensor", "name": "a", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}},
    {"type": "tensor", "name": "b", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]"#;
const B: &str = r#""i":1,"l":2,"f":0.5,"d":1.5,"b":true,"s":"x""#;

fn one(kind: &str) -> String {
    format!(r#"[{{"type": "{kind}", "name": "c"}}]"#)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Value::Text(text) => format!("'{text}'"),
        other => json::to_string(other),
    }
}

/// The outcome as a line of the tables has it.
fn outcome(schema: Option<&str>, input: &str) -> String {
    let signature =
        Signature { inputs: schema.map(|schema| Schema::from_json(schema).unwrap()), ..Signature::default() };
    let data = if input.starts_with('{') {
        json::from_str(input).map_err(|_| "BR".to_owned()).and_then(|body| {
            json_request(body, &signature, false).map(|request| request.data).map_err(|error| code(error.refusal))
        })
    } else {
        csv(input, signature.inputs.as_ref()).map_err(|error| code(error.refusal))
    };
    match data.and_then(|data| enforce(data, &signature).map_err(|error| code(error.refusal))) {
        Err(code) => code,
        Ok(Input::Frame(frame)) => {
            let column = |column: &runlode_models::Column| {
                let cells: Vec<String> = column.cells.values().iter().map(shown).collect();
                format!("{} {} [{}]", column.name, column.cells.dtype_name(), cells.join(", "))
            };
            frame.columns.iter().map(column).collect::<Vec<_>>().join("; ")
        }
        Ok(Input::Tensor(tensor)) => tensor_text(&tensor),
        Ok(Input::Tensors(all)) => {
            all.iter().map(|(name, tensor)| format!("{name} {}", tensor_text(tensor))).collect::<Vec<_>>().join("; ")
        }
        Ok(Input::Value(value)) => shown(&value),
    }
}

fn tensor_text(tensor: &runlode_models::Tensor) -> String {
    let cells: Vec<String> = tensor.elements.values().iter().map(shown).collect();
    format!("{} {:?} [{}]", tensor.elements.dtype_name(), tensor.shape, cells.join(", "))
}

fn code(refusal: Refusal) -> String {
    match refusal {
        Refusal::BadRequest => "BR",
        Refusal::InvalidParameter => "IP",
        Refusal::Enforcement => "SE",
    }
    .to_owned()
}

#[track_caller]
fn check(schema: Option<&str>, input: &str, expected: &str) {
    let found = outcome(schema, input);
    assert_eq!(found, expected, "{input}");
}

#[test]
fn records_are_cast_as_by_pandas() {
    let cases = [
        ("integer", "1.0", "int32 [1]"),
        ("integer", "1.5", "int32 [1]"),
        ("integer", r#""7""#, "int32 [7]"),
        ("integer", "true", "int32 [1]"),
        ("integer", "2147483648", "int32 [-2147483648]"),
        ("integer", "-2147483649", "int32 [2147483647]"),
        ("integer", "9223372036854775807", "int32 [-1]"),
        ("integer", "1e300", "int32 [-2147483648]"),
        ("integer", r#""x""#, "BR"),
        ("integer", r#""1.5""#, "BR"),
        ("integer", "null", "BR"),
        ("integer", "18446744073709551616", "BR"),
        ("long", "1.9", "int64 [1]"),
        ("long", "9007199254740993", "int64 [9007199254740993]"),
        ("long", "9223372036854775808", "int64 [-9223372036854775808]"),
        ("float", "1", "float32 [1.0]"),
        ("float", r#""1.5""#, "float32 [1.5]"),
        ("float", "16777217", "float32 [16777216.0]"),
        ("float", "1e300", "float32 [Infinity]"),
        ("float", "null", "float32 [NaN]"),
        ("double", "3", "float64 [3.0]"),
        ("double", r#""NaN""#, "float64 [NaN]"),
        ("double", "true", "float64 [1.0]"),
        ("double", "9007199254740993", "float64 [9007199254740992.0]"),
        ("double", r#""abc""#, "BR"),
        ("boolean", "1", "bool [true]"),
        ("boolean", "0", "bool [false]"),
        ("boolean", r#""false""#, "bool [true]"),
        ("boolean", r#""""#, "bool [false]"),
        ("boolean", "null", "bool [false]"),
        ("boolean", "2.5", "bool [true]"),
        ("boolean", "NaN", "bool [true]"),
        ("string", "5", "object [5]"),
        ("string", "true", "object [true]"),
        ("string", "null", "object [null]"),
        ("string", "[1]", "object [[1]]"),
        ("string", r#""a""#, "str ['a']"),
        ("binary", r#""AQID""#, "object [010203]"),
        ("binary", r#""!!""#, "object []"),
        ("binary", r#""AQI""#, "BR"),
        ("binary", "5", "BR"),
        ("binary", "null", "BR"),
        ("datetime", r#""2024-01-02""#, r#"datetime64[ns] ["2024-01-02T00:00:00"]"#),
        ("datetime", r#""2024-01-02T03:04:05.678901234""#, r#"datetime64[ns] ["2024-01-02T03:04:05.678901234"]"#),
        ("datetime", "1700000000000", r#"datetime64[ns] ["1970-01-01T00:28:20"]"#),
        ("datetime", "null", r#"datetime64[ns] ["NaT"]"#),
        ("datetime", "1e300", r#"datetime64[ns] ["NaT"]"#),
        ("datetime", r#""nope""#, "BR"),
        ("datetime", r#""1500-01-01""#, "BR"),
        ("datetime", r#""2024-01-02T03:04:05Z""#, "SE"),
        ("datetime", r#""2024-01-02T03:04:05+02:00""#, "SE"),
    ];
    for (kind, value, expected) in cases {
        let expected = if expected.len() == 2 { expected.to_owned() } else { format!("c {expected}") };
        check(Some(&one(kind)), &format!(r#"{{"dataframe_records": [{{"c": {value}}}]}}"#), &expected);
        check(
            Some(&one(kind)),
            &format!(r#"{{"dataframe_split": {{"columns": ["c"], "data": [[{value}]]}}}}"#),
            &expected,
        );
    }
    let two = |kind: &str, values: &str, expected: &str| {
        check(Some(&one(kind)), &format!(r#"{{"dataframe_split": {{"columns": ["c"], "data": {values}}}}}"#), expected);
    };
    two("boolean", "[[true], [null]]", "c bool [true, false]");
    two("boolean", "[[1], [null]]", "c bool [true, true]");
    two("boolean", r#"[["a"], [null]]"#, "c bool [true, true]");
    two("boolean", "[[null], [null]]", "c bool [false, false]");
    two("integer", "[[9223372036854775808], [-1]]", "BR");
    two("datetime", r#"[["2024-01-02"], ["2024-01-02T03:04:05"]]"#, "BR");
    two(
        "datetime",
        "[[1], [2.5]]",
        r#"c datetime64[ns] ["1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000000002"]"#,
    );
    two("datetime", "[[true], [null]]", "BR");
}

#[test]
fn inputs_are_cast_as_by_numpy() {
    let cases = [
        ("integer", "[1.5]", "int32 [1]"),
        ("integer", "[-2147483649]", "BR"),
        ("integer", r#"["a"]"#, "BR"),
        ("string", "[5]", "str ['5']"),
        ("string", "[null, true, NaN, -0.0]", "str ['None', 'True', 'nan', '-0.0']"),
        ("boolean", "[1, null]", "bool [true, false]"),
        ("boolean", r#"["a", null]"#, "bool [true, false]"),
        ("binary", r#"["AQID"]"#, "object [41514944]"),
        ("datetime", r#"["2024-01-02T03:04:05Z"]"#, r#"datetime64[ns] ["2024-01-02T03:04:05"]"#),
        ("datetime", r#"["1"]"#, r#"datetime64[ns] ["1754-08-30T22:43:41.128654848"]"#),
        ("datetime", r#"["01/02/2024"]"#, "BR"),
        ("datetime", r#"["NaN"]"#, "BR"),
        ("datetime", "[1, 2.5]", "BR"),
        ("datetime", "[-0.0]", "BR"),
        ("datetime", "[true, null]", r#"datetime64[ns] ["1970-01-01T00:00:00.000000001", "NaT"]"#),
        ("double", "[]", "float64 []"),
        ("double", "5", "SE"),
        ("double", r#""x""#, "BR"),
    ];
    for (kind, value, expected) in cases {
        let expected = if expected.len() == 2 { expected.to_owned() } else { format!("c {expected}") };
        check(Some(&one(kind)), &format!(r#"{{"inputs": {value}}}"#), &expected);
    }
}

#[test]
fn bodies_of_every_shape() {
    let z = |body: &str, expected: &str| check(None, body, expected);
    z(r#"{"inputs": [1, 2.5]}"#, "float64 [2] [1.0, 2.5]");
    z(r#"{"inputs": [1, null]}"#, "object [2] [1, null]");
    z(r#"{"inputs": []}"#, "[]");
    z(r#"{"inputs": {"a": [1, 2], "b": [3]}}"#, "a int64 [2] [1, 2]; b int64 [1] [3]");
    z(r#"{"inputs": [[1, 2], [3]]}"#, "BR");
    z(r#"{"instances": {"a": [1, 2], "b": [3]}}"#, "BR");
    z(r#"{"inputs": [1], "foo": 2}"#, "int64 [1] [1]");
    for bad in ["{", r#"{}"#, r#"{"foo": 1}"#, r#"{"inputs": [1], "instances": [1]}"#] {
        z(bad, "BR");
    }
    z(r#"{"messages": [1]}"#, r#"{"messages": [1]}"#);
    z(r#"{"dataframe_split": {"columns": ["a"], "data": [[1], [null]]}}"#, "a float64 [1.0, NaN]");
    for bad in [r#"{"columns": ["a"]}"#, "[1]", r#"{"columns": ["a"], "data": [[1, 2]]}"#, r#"{"data": [], "x": 1}"#] {
        z(&format!(r#"{{"dataframe_split": {bad}}}"#), "BR");
    }
    z(r#"{"dataframe_records": {"a": 1}}"#, "BR");
    z(r#"{"dataframe_records": [{"a": 1}, {"b": "x"}]}"#, "a float64 [1.0, NaN]; b str [NaN, 'x']");

    let row = "i int32 [1]; l int64 [2]; f float32 [0.5]; d float64 [1.5]; b bool [true]; s str ['x']";
    let k = |body: String, expected: &str| check(Some(K), &body, expected);
    k(format!(r#"{{"dataframe_records": [{{{B}}}]}}"#), row);
    k(format!(r#"{{"inputs": {{{B}}}}}"#), row);
    k(format!(r#"{{"inputs": [{{{B}}}]}}"#), row);
    k(format!(r#"{{"instances": [{{{B}}}]}}"#), row);
    k(format!(r#"{{"dataframe_records": [{{{B}, "extra": 1}}]}}"#), row);
    k(format!(r#"{{"dataframe_records": [{{{}}}]}}"#, &B[6..]), "SE");
    k(r#"{"inputs": [1, 2]}"#.to_owned(), "SE");
    k(r#"{"inputs": 5}"#.to_owned(), "SE");
    k(r#"{"dataframe_split": {"data": [[1, 2]]}}"#.to_owned(), "SE");

    let u = |body: &str, expected: &str| check(Some(U), body, expected);
    u(r#"{"inputs": [[1, 2]]}"#, "0 float64 [1.0]; 1 float64 [2.0]");
    u(r#"{"inputs": [[1, 2, 3]]}"#, "0 float64 [1.0]; 1 float64 [2.0]");
    for (bad, code) in
        [("[[1]]", "SE"), ("[1, 2]", "SE"), ("5", "SE"), (r#"{"a": [1]}"#, "BR"), (r#"[["1", "x"]]"#, "BR")]
    {
        u(&format!(r#"{{"inputs": {bad}}}"#), code);
    }
}

#[test]
fn nested_types() {
    let n = |row: &str, expected: &str| {
        let outcome = outcome(Some(N), &format!(r#"{{"dataframe_records": [{{"s": "x", {row}}}]}}"#));
        let short = if outcome.len() == 2 { outcome.as_str() } else { "200" };
        assert_eq!(short, expected, "{row}: {outcome}");
    };
    for arr in ["[1, 2]", "[]"] {
        n(&format!(r#""arr": {arr}"#), "200");
    }
    for arr in ["[1.0]", r#"["1"]"#, "null", "5", "[[1]]", "[1, null]"] {
        n(&format!(r#""arr": {arr}"#), "BR");
    }
    for obj in [r#"{"x": 1.5}"#, r#"{"x": 1}"#, r#"{"x": 1.5, "y": null}"#, "null", "{}"] {
        n(&format!(r#""arr": [], "obj": {obj}"#), "200");
    }
    for obj in [r#"{"x": 7}"#, r#"{"y": "q"}"#, r#"{"x": 1.5, "z": 1}"#, r#"{"x": "a"}"#, "[1]"] {
        n(&format!(r#""arr": [], "obj": {obj}"#), "BR");
    }
    for mp in [r#"{"k": ["a"]}"#, "null", "{}"] {
        n(&format!(r#""arr": [], "mp": {mp}"#), "200");
    }
    for mp in [r#"{"k": "a"}"#, r#"{"k": [1]}"#] {
        n(&format!(r#""arr": [], "mp": {mp}"#), "BR");
    }
    check(Some(N), r#"{"instances": [{"s": "x", "arr": [1, 2]}]}"#, "SE");
    let array = |items: &str, value: &str, expected: &str| {
        let schema = format!(r#"[{{"type": "array", "items": {{"type": "{items}"}}, "name": "c", "required": true}}]"#);
        check(Some(&schema), &format!(r#"{{"dataframe_records": [{{"c": {value}}}]}}"#), expected);
    };
    array("double", "[1, 2]", "BR");
    array("double", "[0, 1]", "c object [[0.0, 1.0]]");
    array("boolean", "[true, null]", "c object [[true, false]]");
    array("string", r#"["a", 1]"#, r#"c object [["a", "1"]]"#);
    array("string", "[1]", "BR");
    array("string", "[null]", r#"c object [["None"]]"#);
    // MLflow writes ["a", "n"].
    array("string", r#"["a", null]"#, r#"c object [["a", null]]"#);
    array("string", r#"[{"a": 1}]"#, r#"c object [["{'a': 1}"]]"#);
}

#[test]
fn tensors() {
    let t = |body: &str, expected: &str| check(Some(T), body, expected);
    let both = "a float32 [1, 2] [1.0, 2.0]; b int64 [1] [1]";
    t(r#"{"inputs": {"a": [[1, 2]], "b": [1.7]}}"#, both);
    t(r#"{"inputs": {"a": [["1", "2"]], "b": [1]}}"#, both);
    t(r#"{"inputs": {"a": [[1, 2]], "b": [1], "c": [5]}}"#, both);
    t(r#"{"inputs": {"a": [[1, null]], "b": [1, 2]}}"#, "a float32 [1, 2] [1.0, NaN]; b int64 [2] [1, 2]");
    for bad in [r#"{"a": [["x", "2"]], "b": [1]}"#, r#"{"a": [[1, 2]], "b": [null]}"#] {
        t(&format!(r#"{{"inputs": {bad}}}"#), "BR");
    }
    t(r#"{"instances": {"a": [[1, 2]], "b": [1, 2]}}"#, "BR");
    for bad in
        [r#"{"a": [[1, 2, 3]], "b": [1]}"#, r#"{"a": [1, 2], "b": [1]}"#, r#"{"a": [[1, 2]]}"#, r#"{"a": [], "b": []}"#]
    {
        t(&format!(r#"{{"inputs": {bad}}}"#), "SE");
    }
    t(
        r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[[1, 2], 5], [[3, 4], 6]]}}"#,
        "a float32 [2, 2] [1.0, 2.0, 3.0, 4.0]; b int64 [2] [5, 6]",
    );
    t(r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[[1, 2, 3], 5]]}}"#, "SE");
    let s = r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]"#;
    let three = "float32 [1, 3] [0.0, 0.0, 0.0]";
    for body in [
        r#"{"inputs": [[0, 0, 0]]}"#,
        r#"{"instances": [[0, 0, 0]]}"#,
        r#"{"dataframe_split": {"data": [[0, 0, 0]]}}"#,
        r#"{"dataframe_records": [{"p0": 0, "p1": "0", "p2": 0}]}"#,
    ] {
        check(Some(s), body, three);
    }
    for bad in ["[0, 0, 0]", "[[0, 0]]", "[]"] {
        check(Some(s), &format!(r#"{{"inputs": {bad}}}"#), "SE");
    }
    check(Some(s), r#"{"inputs": {"X": [[0, 0, 0]]}}"#, "BR");
    check(Some(s), "a,b,c\n0,0,0\n", "BR");
    let u8s = r#"[{"type": "tensor", "name": "c", "tensor-spec": {"dtype": "uint8", "shape": [-1]}}]"#;
    for (value, by_inputs, by_split) in
        [("256", "BR", "c uint8 [1] [0]"), ("-1", "BR", "c uint8 [1] [255]"), ("-1.9", "BR", "BR")]
    {
        check(Some(u8s), &format!(r#"{{"inputs": {{"c": [{value}]}}}}"#), by_inputs);
        check(Some(u8s), &format!(r#"{{"dataframe_split": {{"columns": ["c"], "data": [[{value}]]}}}}"#), by_split);
    }
}

#[test]
fn csv_is_read_as_by_pandas() {
    check(None, "", "BR");
    check(None, "a,b\n1,2,3\n4\n", "a float64 [2.0, NaN]; b float64 [3.0, NaN]");
    check(None, "\u{feff}a,a,\n1,2,3\n", "a int64 [1]; a.1 int64 [2]; Unnamed: 2 int64 [3]");
    for (kind, field, expected) in [
        ("integer", "1.0", "int32 [1]"),
        ("integer", "true", "int32 [1]"),
        ("integer", "1e3", "int32 [1000]"),
        ("integer", " 1", "int32 [1]"),
        ("integer", "1.5", "BR"),
        ("integer", "NA", "BR"),
        ("integer", "0x10", "BR"),
        ("integer", "1_000", "BR"),
        ("integer", "2147483648", "BR"),
        ("boolean", "1.0", "bool [true]"),
        ("boolean", "TRUE", "bool [true]"),
        ("boolean", " 1", "bool [true]"),
        ("boolean", "NA", "BR"),
        ("boolean", "yes", "BR"),
        ("boolean", "-3", "BR"),
        ("double", "true", "float64 [1.0]"),
        ("string", "5", "object ['5']"),
        ("string", "null", "object [NaN]"),
        ("binary", "AQID", "object ['AQID']"),
        ("datetime", "2024-01-02", "BR"),
    ] {
        let expected = if expected.len() == 2 { expected.to_owned() } else { format!("c {expected}") };
        check(Some(&one(kind)), &format!("c\n{field}\n"), &expected);
    }
    check(Some(N), "s,arr\nx,1\n", "BR");
}

#[test]
fn parameters() {
    let schema = ParamSchema::from_json(
        r#"[{"name": "temp", "type": "double", "default": 0.5, "shape": null}, {"name": "n", "dtype": "integer", "default": 3},
            {"name": "stop", "type": "string", "default": ["a"], "shape": [-1]},
            {"name": "flag", "type": "boolean", "default": false, "shape": null}]"#,
    )
    .unwrap();
    let given = |text: &str| -> String {
        match params(Some(json::from_str(text).unwrap()), Some(&schema)) {
            Err(error) => code(error.refusal),
            Ok(params) => {
                let params = params.unwrap();
                assert_eq!(params.len(), 4, "{text}");
                json::to_string(&params[0].1)
            }
        }
    };
    for (text, first) in [
        (r#"{"temp": 1}"#, "1.0"),
        (r#"{"stop": []}"#, "[]"),
        (r#"{"stop": [null]}"#, "[null]"),
        (r#"{"temp": null}"#, "null"),
        (r#"{"n": 1099511627776}"#, "1099511627776"),
        (r#"{"n": 1180591620717411303424}"#, "1180591620717411303424"),
        (r#"{"zzz": 1}"#, "0.5"),
        ("null", "0.5"),
    ] {
        assert_eq!(given(text), first, "{text}");
    }
    for text in [
        r#"{"n": 1.0}"#,
        r#"{"n": "1"}"#,
        r#"{"n": true}"#,
        r#"{"temp": "0.1"}"#,
        r#"{"temp": true}"#,
        r#"{"stop": "x"}"#,
        r#"{"stop": [1]}"#,
        r#"{"stop": null}"#,
        r#"{"flag": 1}"#,
        "[1]",
        r#""a""#,
    ] {
        assert_eq!(given(text), "IP", "{text}");
    }
    let dates = ParamSchema::from_json(r#"[{"name": "d", "type": "datetime", "default": "2024-01-01"}]"#).unwrap();
    for (text, value) in [
        (r#"{"d": "2024-05-06"}"#, r#""2024-05-06""#),
        (r#"{"d": "2024-05"}"#, r#""2024-05-01""#),
        (r#"{"d": "2024-05-06T01:02:03+02:00"}"#, r#""2024-05-05T23:02:03""#),
        (r#"{"d": ""}"#, "null"),
    ] {
        let params = params(Some(json::from_str(text).unwrap()), Some(&dates)).unwrap().unwrap();
        assert_eq!(json::to_string(&params[0].1), value, "{text}");
    }
    assert!(params(Some(json::from_str(r#"{"d": "2024-05-06T01:02:03.123456789"}"#).unwrap()), Some(&dates)).is_err());
}

#[test]
fn signatures_keep_mlflows_letters() {
    for text in [
        r#"[{"type": "double", "name": "x", "required": true}, {"type": "string", "name": "y", "required": false}]"#,
        r#"[{"type": "long", "required": true}]"#,
        r#"[{"type": "long", "name": 0, "required": true}]"#,
        r#"[{"type": "array", "items": {"type": "map", "values": {"type": "any"}}, "name": "a", "required": null}]"#,
        r#"[{"type": "object", "properties": {"a": {"type": "double", "required": true}, "b": {"type": "array", "items": {"type": "long"}, "required": false}}, "name": "o", "required": true}]"#,
        r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 64]}}]"#,
        r#"[{"name": "\u00e9", "type": "tensor", "tensor-spec": {"dtype": "datetime64[ns]", "shape": []}}]"#,
        r#"[{"type": "sparkml_vector", "name": "v", "required": true}]"#,
    ] {
        assert_eq!(Schema::from_json(text).unwrap().to_json(), text);
    }
    let text = r#"[{"name": "t", "default": 0.5, "shape": null, "type": "double"}, {"name": "d", "default": ["2024-05-06"], "shape": [-1], "type": "datetime"}]"#;
    assert_eq!(ParamSchema::from_json(text).unwrap().to_json(), text);
    for (bad, what) in [
        ("[]", "empty"),
        ("{}", "no list"),
        ("[1]", "column 1: it is no map"),
        (r#"[{"type": "int"}]"#, "\"int\" is not known"),
        (r#"[{"name": "x"}]"#, "its type is missing"),
        (r#"[{"type": "long", "name": "a"}, {"type": "long"}]"#, "some inputs have names"),
        (r#"[{"type": "long", "required": false}]"#, "optional column without a name"),
        (r#"[{"type": "object", "properties": {}, "name": "o"}]"#, "without properties"),
        (r#"[{"type": "tensor", "tensor-spec": {"dtype": "<U5", "shape": [-1]}}]"#, "has a size"),
        (r#"[{"type": "tensor", "tensor-spec": {"dtype": "floaty", "shape": [-1]}}]"#, "numpy knows no dtype"),
        (r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-2]}}]"#, "no length"),
    ] {
        let error = Schema::from_json(bad).unwrap_err().to_string();
        assert!(error.contains(what), "{bad}: {error}");
    }
    let error =
        ParamSchema::from_json(r#"[{"name": "n", "type": "integer", "default": 1.5}]"#).unwrap_err().to_string();
    assert!(error.contains("\"n\"") && error.contains("expected integer, found float"), "{error}");
}
