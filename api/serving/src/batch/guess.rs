//! The types of columns that neither the file nor a signature says: as pandas guesses, but from the first rows only, so
//! that a file of any length has one type for each column. A later row of another type is a bad row.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use runlode_models::Value;
use runlode_models::signature::Scalar;

use crate::batch::chunk::Given;

/// The scalar type of a column; none if its cells have no type in common.
pub(crate) fn guess(given: &Given) -> Option<Scalar> {
    match given {
        Given::Array(array) => array.as_string_opt::<i64>().map(|_| of_texts(array)),
        Given::Values(values) => of_values(values),
    }
}

fn of_texts(array: &ArrayRef) -> Scalar {
    let texts = || array.as_string::<i64>().iter().flatten().map(str::trim);
    let has_gap = texts().any(str::is_empty) || array.null_count() > 0;
    let mut filled = texts().filter(|text| !text.is_empty()).peekable();
    if filled.peek().is_none() {
        return if array.is_empty() { Scalar::String } else { Scalar::Double };
    }
    let filled = || texts().filter(|text| !text.is_empty());
    if filled().all(|text| text.parse::<i64>().is_ok()) {
        // pandas has no integer that is missing.
        return if has_gap { Scalar::Double } else { Scalar::Long };
    }
    if filled().all(|text| text.parse::<f64>().is_ok()) {
        return Scalar::Double;
    }
    if !has_gap && filled().all(|text| text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")) {
        return Scalar::Boolean;
    }
    Scalar::String
}

fn of_values(values: &[Value]) -> Option<Scalar> {
    let has_gap = values.contains(&Value::None);
    let all = |is: fn(&Value) -> bool| values.iter().filter(|value| **value != Value::None).all(is);
    if all(|value| matches!(value, Value::Int(_))) {
        return Some(if has_gap { Scalar::Double } else { Scalar::Long });
    }
    if all(|value| matches!(value, Value::Int(_) | Value::Float(_))) {
        return Some(Scalar::Double);
    }
    if all(|value| matches!(value, Value::Text(_))) {
        return Some(Scalar::String);
    }
    if !has_gap && all(|value| matches!(value, Value::Bool(_))) {
        return Some(Scalar::Boolean);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::LargeStringArray;

    use super::*;

    #[test]
    fn texts_have_the_narrowest_type_that_holds_all() {
        let table: [(&[&str], Scalar); 6] = [
            (&["1", " 2"], Scalar::Long),
            (&["1", ""], Scalar::Double),
            (&["1", "2.5", "nan"], Scalar::Double),
            (&["True", "false"], Scalar::Boolean),
            (&["True", ""], Scalar::String),
            (&["1", "x"], Scalar::String),
        ];
        for (texts, expected) in table {
            let given = Given::Array(Arc::new(LargeStringArray::from(texts.to_vec())));
            assert_eq!(guess(&given), Some(expected), "{texts:?}");
        }
    }

    #[test]
    fn values_have_a_type_or_stay_what_they_are() {
        assert_eq!(guess(&Given::Values(vec![Value::Int(1), Value::None])), Some(Scalar::Double));
        assert_eq!(guess(&Given::Values(vec![Value::Int(1), Value::Text("x".into())])), None);
        assert_eq!(guess(&Given::Values(vec![Value::List(Vec::new())])), None);
    }
}
