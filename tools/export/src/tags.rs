//! Tags as MLflow's clients see them.

/// Tags without those that only say where an entity came from.
pub(crate) fn own(tags: &[(String, String)]) -> impl Iterator<Item = &(String, String)> {
    tags.iter().filter(|(key, _)| !runlode::is_origin_tag(key))
}
