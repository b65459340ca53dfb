//! Filters that are none of ours, and what MLflow 3.17.2 says of each.

use super::runs::parse;

#[test]
fn what_sql_has_beyond_filters_is_refused_as_mlflow_does() {
    // `None`: it is accepted. Of a set of keys, whose order is random there, only what comes before is compared.
    for (text, said) in [
        ("a && b", Some("Invalid clause(s) in filter string: 'a && b'")),
        ("m + 1 > 1", Some("Invalid comparison clause. Expected 'Identifier' found 'm + 1'")),
        ("metrics.m + 1 > 1", Some("Invalid comparison clause. Expected 'Identifier' found 'metrics.m + 1'")),
        ("metrics.m && metrics.a", Some("Invalid clause(s) in filter string: 'metrics.m && metrics.a'")),
        (
            "tags.a = 'v' && tags.b = 'w'",
            Some("Invalid comparison clause. Expected 'Identifier' found 'tags.a = 'v' && tags.b'"),
        ),
        ("metrics.m > 1 + 1", Some("Expected numeric value type for metric. Found 1 + 1")),
        ("metrics.m > 1/2", Some("Expected numeric value type for metric. Found 1/2")),
        ("metrics.m > (1)", Some("Expected numeric value type for metric. Found (1)")),
        ("(metrics.m) > 1", Some("Invalid comparison clause. Expected 'Identifier' found '(metrics.m)'")),
        ("metrics.m > 1 > 2", Some("Invalid comparison clause. Expected 'Identifier' found 'metrics.m > 1'")),
        ("tags.a@b = 'v'", Some("Invalid comparison clause. Expected 'Identifier' found 'tags.a@b'")),
        ("metrics.a-b > 1", Some("Invalid comparison clause. Expected 'Identifier' found 'metrics.a-b'")),
        ("metrics.a-1 > 1", Some("Invalid clause(s) in filter string: 'metrics.a'")),
        ("tags.a/b = 'v'", Some("Invalid comparison clause. Expected 'Identifier' found 'tags.a/b'")),
        ("tags.a = 'x' || 'y'", Some("Expected a quoted string value for tag (e.g. 'my-value'). Got value 'x' || 'y'")),
        ("tags.a = NULL", Some("Expected a quoted string value for tag (e.g. 'my-value'). Got value NULL")),
        ("status = null", Some("Expected a quoted string value for attributes. Got value null")),
        ("start_time > null", Some("Expected numeric value type for numeric attribute: start_time. Found null")),
        ("dataset.name = 1 + 1", Some("Expected a quoted string value for dataset attributes. Got value 1 + 1")),
        ("m + 1 > 1 AND foo", Some("Invalid clause(s) in filter string: 'foo'")),
        ("foo AND m + 1 > 1", Some("Invalid clause(s) in filter string: 'foo'")),
        ("1 + 1", Some("Invalid clause(s) in filter string: '1 + 1'")),
        ("1 + 1 = 2", Some("Invalid comparison clause. Expected 'Identifier' found '1 + 1'")),
        ("'a' || 'b'", Some("Invalid clause(s) in filter string: ''a' || 'b''")),
        ("-a > 1", Some("Invalid clause(s) in filter string: '-'")),
        ("metrics.m > - 1", Some("Invalid clause(s) in filter string: 'metrics.m', '>', '-', '1'")),
        ("tags.a = 'v' & ", Some("Invalid clause(s) in filter string: '&'")),
        ("tags.a = 'v' &", Some("Invalid clause(s) in filter string: '&'")),
        ("& tags.a = 'v'", Some("Invalid clause(s) in filter string: '&'")),
        ("a + b c", Some("Invalid clause(s) in filter string: 'a + b c'")),
        ("a b + c", Some("Invalid clause(s) in filter string: 'a', 'b + c'")),
        ("a * b = 1", Some("Invalid comparison clause. Expected 'Identifier' found 'a * b'")),
        ("a %b = 1", Some("Invalid comparison clause. Expected 'Identifier' found 'a %b'")),
        ("tags.a = b + c", Some("Expected a quoted string value for tag (e.g. 'my-value'). Got value b + c")),
        (
            "metrics.m = metrics.n = 1",
            Some("Invalid comparison clause. Expected 'Identifier' found 'metrics.m = metrics.n'"),
        ),
        (
            "metrics.m LIKE 'a' LIKE 'b'",
            Some("Invalid comparison clause. Expected 'Identifier' found 'metrics.m LIKE 'a''"),
        ),
        ("((a))", Some("Invalid clause(s) in filter string: '((a))'")),
        ("(a) AND tags.b = 'c'", Some("Invalid clause(s) in filter string: '(a)'")),
        ("(a b)", Some("Invalid clause(s) in filter string: '(a b)'")),
        ("metrics.m > 1 -- x", Some("Invalid clause(s) in filter string: '-- x'")),
        ("metrics.m > 1 /* x */", Some("Invalid clause(s) in filter string: '/* x */'")),
        ("tags.a = 'v' # x", Some("Invalid clause(s) in filter string: '# x'")),
        ("metrics.loss > +1", Some("Invalid clause(s) in filter string: 'metrics.loss', '>', '+', '1'")),
        ("tags. = 'v'", None),
        ("metrics. > 1", None),
        ("metrics..a > 1", None),
        ("tags.a. = 'v'", None),
        (
            "tags .a = 'v'",
            Some(
                "Invalid entity type 'tags '. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
            ),
        ),
        ("tags. a = 'v'", None),
        ("attributes. = 'x'", Some("Invalid attribute key '' specified. ")),
        ("dataset. = 'x'", Some("Invalid dataset key '' specified. ")),
        ("metrics. > 'a'", Some("Expected numeric value type for metric. Found 'a'")),
        ("tags. IS NULL", None),
        ("metrics.a.b > 1", None),
        ("tags.a = 'v' tags.b + 1", Some("Invalid clause(s) in filter string: 'tags.b + 1'")),
        ("a+b", Some("Invalid clause(s) in filter string: 'a+b'")),
        ("a +b", Some("Invalid clause(s) in filter string: 'a +b'")),
        ("a -b", Some("Invalid clause(s) in filter string: 'a -b'")),
        ("a-b", Some("Invalid clause(s) in filter string: 'a-b'")),
        ("a- b = 1", Some("Invalid comparison clause. Expected 'Identifier' found 'a- b'")),
        ("tags.a-b = 'v'", Some("Invalid comparison clause. Expected 'Identifier' found 'tags.a-b'")),
        ("metrics.m > 1-1", Some("Invalid clause(s) in filter string: '-1'")),
        ("metrics.m > 1 -1", Some("Invalid clause(s) in filter string: '-1'")),
        ("metrics.m > -1 - -1", Some("Expected numeric value type for metric. Found -1 - -1")),
        ("f && g && h", Some("Invalid clause(s) in filter string: 'f && g && h'")),
        ("f && g = 1 && h", Some("Invalid comparison clause. Expected 'Identifier' found 'f && g'")),
        (
            "tags.a LIKE 'x' || 'y'",
            Some("Expected a quoted string value for tag (e.g. 'my-value'). Got value 'x' || 'y'"),
        ),
        ("name = 'a' + 'b'", Some("Invalid attribute key 'name' specified. ")),
    ] {
        let parsed = parse(text, &mut |_| Ok(false));
        match (parsed, said) {
            (Ok(_), None) => {}
            (Err(error), Some(said)) => {
                let ours = error.message.split("Valid keys are").next().unwrap_or_default();
                assert_eq!(ours, said, "{text}");
            }
            (parsed, said) => panic!("{text}: {parsed:?}, not {said:?}"),
        }
    }
}
