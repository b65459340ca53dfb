//! Which bodies are read: the header Content-Type, taken as literally as MLflow takes it.

use super::answer::Fault;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
    Parquet,
}

/// The format that a header names.
pub(super) fn format(header: Option<&str>) -> Result<Format, Fault> {
    let Some(header) = header else {
        // MLflow's server crashes on it.
        return Err(Fault::unsupported(unsupported("")));
    };
    let mut parts = header.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let (mut charset, mut unknown) = ("utf-8", Vec::new());
    for part in parts {
        match part.split_once('=').unwrap_or((part, "")) {
            ("charset", value) => charset = value,
            (name, _) if !unknown.contains(&name) => unknown.push(name),
            _ => {}
        }
    }
    if !charset.eq_ignore_ascii_case("utf-8") {
        return Err(Fault::unsupported("The scoring server only supports UTF-8".to_owned()));
    }
    if !unknown.is_empty() {
        let text = format!(
            "Unrecognized content type parameters: {}. Send the content type alone, or with charset=utf-8.",
            unknown.join(", ")
        );
        return Err(Fault::unsupported(text));
    }
    match kind {
        "application/json" => Ok(Format::Json),
        "text/csv" => Ok(Format::Csv),
        "application/vnd.apache.parquet" => Ok(Format::Parquet),
        _ => Err(Fault::unsupported(unsupported(header))),
    }
}

fn unsupported(header: &str) -> String {
    format!(
        "This predictor only supports the following content types: Types: ['text/csv', 'application/json', \
         'application/vnd.apache.parquet']. Got '{header}'."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_taken_literally() {
        for (header, expected) in [
            ("application/json", Ok(Format::Json)),
            ("application/json; charset=UTF-8", Ok(Format::Json)),
            (" text/csv ;charset=utf-8", Ok(Format::Csv)),
            ("application/json;charset=utf-8;charset=utf-8", Ok(Format::Json)),
            ("application/vnd.apache.parquet", Ok(Format::Parquet)),
            ("application/json;", Err("Unrecognized")),
            ("application/json; charset = utf-8", Err("Unrecognized")),
            ("application/json; charset=\"utf-8\"", Err("only supports UTF-8")),
            ("application/json; charset=latin-1", Err("only supports UTF-8")),
            ("application/json; format=x", Err("Unrecognized")),
            ("Application/JSON", Err("only supports the following")),
            ("text/plain", Err("only supports the following")),
            ("", Err("only supports the following")),
        ] {
            match (format(Some(header)), expected) {
                (Ok(format), Ok(expected)) => assert_eq!(format, expected, "{header}"),
                (Err(fault), Err(text)) => {
                    assert_eq!(fault.status, 415, "{header}");
                    assert!(format!("{fault:?}").contains(text), "{header} {fault:?}");
                }
                (given, _) => panic!("{header}: {given:?}"),
            }
        }
        assert_eq!(format(None).unwrap_err().status, 415);
    }
}
