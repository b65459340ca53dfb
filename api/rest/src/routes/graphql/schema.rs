//! The types that the pages may query: MLflow's REST messages under GraphQL names.
//!
//! A field is named in camelCase here and in snake_case in the REST answer. A field that an answer leaves out has the
//! default of its kind, as in protobuf: `""`, `"0"`, `false`, `[]`.

/// The kind of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text; unset is `""`.
    Text,
    /// A 64-bit integer, as text; unset is `"0"`.
    Long,
    /// A double; null unless it is finite.
    Double,
    /// A boolean.
    Truth,
    /// A name of an enum; unset is null.
    Name,
    /// A list of texts.
    Texts,
    /// An object; unset means one with default values.
    One(&'static str),
    /// A list of objects.
    Many(&'static str),
    /// Never set: null.
    Null,
}

use Kind::{Double, Long, Many, Name, Null, One, Text, Texts, Truth};

/// Fields of a type.
type Fields = &'static [(&'static str, Kind)];

const PAIR: Fields = &[("key", Text), ("value", Text)];
const METRIC: Fields = &[
    ("key", Text),
    ("value", Double),
    ("timestamp", Long),
    ("step", Long),
    ("datasetName", Text),
    ("datasetDigest", Text),
    ("modelId", Text),
    ("runId", Text),
];

const TYPES: &[(&str, Fields)] = &[
    ("MlflowGetExperimentResponse", &[("experiment", One("MlflowExperiment")), ("apiError", Null)]),
    (
        "MlflowExperiment",
        &[
            ("experimentId", Text),
            ("name", Text),
            ("artifactLocation", Text),
            ("lifecycleStage", Text),
            ("lastUpdateTime", Long),
            ("creationTime", Long),
            ("tags", Many("MlflowExperimentTag")),
            ("effectiveTraceArchivalRetention", Text),
            ("workspace", Text),
        ],
    ),
    ("MlflowExperimentTag", PAIR),
    ("MlflowGetRunResponse", &[("run", One("MlflowRunExtension")), ("apiError", Null)]),
    ("MlflowSearchRunsResponse", &[("runs", Many("MlflowRunExtension")), ("nextPageToken", Text), ("apiError", Null)]),
    (
        "MlflowRunExtension",
        &[
            ("info", One("MlflowRunInfo")),
            ("data", One("MlflowRunData")),
            ("inputs", One("MlflowRunInputs")),
            ("outputs", One("MlflowRunOutputs")),
            ("experiment", One("MlflowExperiment")),
            ("modelVersions", Many("MlflowModelVersion")),
        ],
    ),
    (
        "MlflowRunInfo",
        &[
            ("runId", Text),
            ("runUuid", Text),
            ("runName", Text),
            ("experimentId", Text),
            ("userId", Text),
            ("status", Name),
            ("startTime", Long),
            ("endTime", Long),
            ("artifactUri", Text),
            ("lifecycleStage", Text),
        ],
    ),
    (
        "MlflowRunData",
        &[("metrics", Many("MlflowMetricExtension")), ("params", Many("MlflowParam")), ("tags", Many("MlflowRunTag"))],
    ),
    ("MlflowMetricExtension", METRIC),
    ("MlflowParam", PAIR),
    ("MlflowRunTag", PAIR),
    ("MlflowRunInputs", &[("datasetInputs", Many("MlflowDatasetInput")), ("modelInputs", Many("MlflowModelInput"))]),
    ("MlflowDatasetInput", &[("tags", Many("MlflowInputTag")), ("dataset", One("MlflowDataset"))]),
    ("MlflowInputTag", PAIR),
    (
        "MlflowDataset",
        &[
            ("name", Text),
            ("digest", Text),
            ("sourceType", Text),
            ("source", Text),
            ("schema", Text),
            ("profile", Text),
        ],
    ),
    ("MlflowModelInput", &[("modelId", Text)]),
    ("MlflowRunOutputs", &[("modelOutputs", Many("MlflowModelOutput"))]),
    ("MlflowModelOutput", &[("modelId", Text), ("step", Long)]),
    (
        "MlflowSearchModelVersionsResponse",
        &[("modelVersions", Many("MlflowModelVersion")), ("nextPageToken", Text), ("apiError", Null)],
    ),
    (
        "MlflowModelVersion",
        &[
            ("name", Text),
            ("version", Text),
            ("creationTimestamp", Long),
            ("lastUpdatedTimestamp", Long),
            ("userId", Text),
            ("currentStage", Text),
            ("description", Text),
            ("source", Text),
            ("runId", Text),
            ("status", Name),
            ("statusMessage", Text),
            ("tags", Many("MlflowModelVersionTag")),
            ("runLink", Text),
            ("aliases", Texts),
            ("modelId", Text),
            ("modelParams", Many("MlflowModelParam")),
            ("modelMetrics", Many("MlflowModelMetric")),
            ("deploymentJobState", Null),
        ],
    ),
    ("MlflowModelVersionTag", PAIR),
    ("MlflowModelParam", &[("name", Text), ("value", Text)]),
    ("MlflowModelMetric", METRIC),
    (
        "MlflowListArtifactsResponse",
        &[("rootUri", Text), ("files", Many("MlflowFileInfo")), ("nextPageToken", Text), ("apiError", Null)],
    ),
    ("MlflowFileInfo", &[("path", Text), ("isDir", Truth), ("fileSize", Long)]),
    ("MlflowGetMetricHistoryBulkIntervalResponse", &[("metrics", Many("MlflowMetricWithRunId")), ("apiError", Null)]),
    (
        "MlflowMetricWithRunId",
        &[("key", Text), ("value", Double), ("timestamp", Long), ("step", Long), ("runId", Text)],
    ),
    ("MlflowSearchDatasetsResponse", &[("datasetSummaries", Many("MlflowDatasetSummary")), ("apiError", Null)]),
    ("MlflowDatasetSummary", &[("experimentId", Text), ("name", Text), ("digest", Text), ("context", Text)]),
    ("Test", &[("output", Text)]),
    ("TestMutation", &[("output", Text)]),
];

/// What a field of a type holds; `None` if the type has no such field.
pub(super) fn field(of: &str, name: &str) -> Option<Kind> {
    let (_, fields) = TYPES.iter().find(|(known, _)| *known == of)?;
    fields.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// A field of `Query` or `Mutation`: its type, and the REST endpoint that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) name: &'static str,
    pub(super) answers: &'static str,
    /// Path of the route; `None` echoes the argument `inputString`.
    pub(super) endpoint: Option<&'static str>,
    pub(super) query: bool,
    pub(super) mutation: bool,
}

const fn root(name: &'static str, answers: &'static str, endpoint: &'static str, query: bool, mutation: bool) -> Root {
    Root { name, answers, endpoint: Some(endpoint), query, mutation }
}

pub(super) const ROOTS: &[Root] = &[
    root("mlflowGetExperiment", "MlflowGetExperimentResponse", "experiments/get", true, false),
    root("mlflowGetRun", "MlflowGetRunResponse", "runs/get", true, false),
    root("mlflowSearchRuns", "MlflowSearchRunsResponse", "runs/search", true, true),
    root("mlflowSearchModelVersions", "MlflowSearchModelVersionsResponse", "model-versions/search", true, false),
    root("mlflowListArtifacts", "MlflowListArtifactsResponse", "artifacts/list", true, false),
    root(
        "mlflowGetMetricHistoryBulkInterval",
        "MlflowGetMetricHistoryBulkIntervalResponse",
        "metrics/get-history-bulk-interval",
        true,
        false,
    ),
    root("mlflowSearchDatasets", "MlflowSearchDatasetsResponse", "experiments/search-datasets", false, true),
    Root { name: "test", answers: "Test", endpoint: None, query: true, mutation: false },
    Root { name: "testMutation", answers: "TestMutation", endpoint: None, query: false, mutation: true },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_is_there() {
        let known = |name: &str| TYPES.iter().any(|(known, _)| *known == name);
        for (_, fields) in TYPES {
            for (name, kind) in *fields {
                if let One(named) | Many(named) = kind {
                    assert!(known(named), "{name}: {named}");
                }
            }
        }
        assert!(ROOTS.iter().all(|root| known(root.answers)));
    }
}
