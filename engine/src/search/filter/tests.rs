//! How numbers compare, and filters as text.

use super::*;

#[test]
fn integers_compare_exactly() {
    let cases = [0.0, -0.0, 0.5, -0.5, 250.5, 9.3e18, -9.3e18, f64::INFINITY, f64::NEG_INFINITY, 1e300, 3.0];
    let all = [Comparison::Eq, Comparison::Ne, Comparison::Lt, Comparison::Le, Comparison::Gt, Comparison::Ge];
    for right in cases {
        for left in [-300i64, -1, 0, 1, 3, 250, 251, 1 << 52] {
            for comparison in all {
                assert_eq!(
                    comparison.holds_integer(left, right),
                    comparison.holds(left as f64, right),
                    "{left} {comparison} {right}"
                );
            }
        }
    }
    // As an f64 the left side would be rounded to the right one.
    assert!(Comparison::Gt.holds_integer((1 << 53) + 1, 9007199254740992.0));
    assert!(Comparison::Lt.holds_integer(i64::MAX, 9223372036854775808.0));
    assert!(Comparison::Ne.holds_integer(1, f64::NAN) && !Comparison::Lt.holds_integer(1, f64::NAN));
}

#[test]
fn too_deep_and_too_many_are_refused() {
    let mut deep = metric("a").eq(1.0);
    for _ in 0..DEPTH_MAX {
        deep = !deep;
    }
    assert!(deep.check().is_err());
    assert!(Filter::Or(vec![metric("a").eq(1.0); TERMS_MAX + 1]).check().is_err());
    assert!(Filter::Or(vec![metric("a").eq(1.0); TERMS_MAX]).check().is_ok());
}

#[test]
fn prints_the_search_grammar() {
    let filter = Filter::And(vec![
        metric("m/x y").ne(1e300),
        TextKey::RunId.not_in(["a", "it's"]),
        Filter::Or(vec![tag("k`").is_null(), metric("n").count().is_not_null()]),
    ]);
    assert_eq!(
        filter.to_string(),
        "metrics.`m/x y` != 1e300 AND run_id NOT IN ('a', \"it's\") AND (tags.\"k`\" IS NULL OR metrics.n.count IS NOT NULL)"
    );
    assert_eq!(Filter::Or(vec![]).to_string(), "FALSE");
}
