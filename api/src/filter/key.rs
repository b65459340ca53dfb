//! What the names in filters and orders of runs stand for, in both dialects.

use crate::engine::search::{Aggregate, Key, NumberKey, TextKey};

/// What the first part of a name says about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Metric,
    Param,
    Tag,
    Attribute,
    Dataset,
}

impl Family {
    /// By its name, in lower case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "metric" | "metrics" => Self::Metric,
            "param" | "params" | "parameter" | "parameters" => Self::Param,
            "tag" | "tags" => Self::Tag,
            "attribute" | "attributes" | "attr" | "run" => Self::Attribute,
            "dataset" | "datasets" => Self::Dataset,
            _ => return None,
        })
    }
}

/// An attribute of runs by any of its names.
pub(crate) fn attribute(name: &str) -> Option<Key> {
    Some(match name {
        "run_id" | "id" => Key::Text(TextKey::RunId),
        "run_name" | "name" | "run name" | "Run name" | "Run Name" => Key::Text(TextKey::Name),
        "status" => Key::Text(TextKey::Status),
        "user_id" | "user" => Key::Text(TextKey::UserId),
        "artifact_uri" => Key::Text(TextKey::ArtifactUri),
        "experiment_id" => Key::Text(TextKey::Experiment),
        "lifecycle" | "lifecycle_stage" => Key::Text(TextKey::Lifecycle),
        "start_time" | "created" | "Created" => Key::Number(NumberKey::StartTime),
        "end_time" => Key::Number(NumberKey::EndTime),
        _ => return None,
    })
}

/// What is known of a data set, by its name.
pub(crate) fn dataset(name: &str) -> Option<TextKey> {
    Some(match name {
        "name" => TextKey::DatasetName,
        "digest" => TextKey::DatasetDigest,
        "context" => TextKey::DatasetContext,
        _ => return None,
    })
}

/// The series and the aggregate of it that the end of a metric's name asks for; `None` if it asks for none.
pub(crate) fn aggregate(name: &str) -> Option<(&str, Aggregate)> {
    let (series, suffix) = name.rsplit_once('.')?;
    let aggregate = match suffix {
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "first" => Aggregate::First,
        "count" => Aggregate::Count,
        "latest" | "last" => Aggregate::Latest,
        _ => return None,
    };
    Some((series, aggregate))
}
