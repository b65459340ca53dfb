//! Round trips of every kind, hostile bytes, and the bytes of a few events as they must stay.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::event::*;
use crate::id::{ExperimentId, ModelId, RegisteredModelId, RunId};
use crate::point::Stats;

/// Few ids and short names, so that events of a sequence meet the same entities.
fn run() -> impl Strategy<Value = RunId> {
    (0u8..6).prop_map(|n| RunId([n; 16]))
}

fn experiment() -> impl Strategy<Value = ExperimentId> {
    (0u64..3).prop_map(ExperimentId)
}

fn model() -> impl Strategy<Value = ModelId> {
    (0u8..3).prop_map(|n| ModelId([n; 16]))
}

fn registered() -> impl Strategy<Value = RegisteredModelId> {
    (0u64..3).prop_map(RegisteredModelId)
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("a longer name that lies out of line".to_owned()),
        Just("ünï/code".to_owned())
    ]
}

fn tag_key() -> impl Strategy<Value = String> {
    prop_oneof![3 => word(), 1 => Just("mlflow.runName".to_owned())]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), word(), "[a-z]{0,40}"]
}

fn pairs() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((tag_key(), text()), 0..5)
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![Just(Stage::None), Just(Stage::Staging), Just(Stage::Production), Just(Stage::Archived)]
}

fn status() -> impl Strategy<Value = RunStatus> {
    prop_oneof![
        Just(RunStatus::Running),
        Just(RunStatus::Scheduled),
        Just(RunStatus::Finished),
        Just(RunStatus::Failed),
        Just(RunStatus::Killed)
    ]
}

fn model_status() -> impl Strategy<Value = LoggedModelStatus> {
    prop_oneof![
        Just(LoggedModelStatus::Unspecified),
        Just(LoggedModelStatus::Pending),
        Just(LoggedModelStatus::Ready),
        Just(LoggedModelStatus::UploadFailed)
    ]
}

fn dataset() -> impl Strategy<Value = DatasetInput> {
    (word(), word(), text(), text(), option::of(text()), option::of(text()), pairs()).prop_map(
        |(name, digest, source_type, source, schema, profile, tags)| DatasetInput {
            name,
            digest,
            source_type,
            source,
            schema,
            profile,
            tags,
        },
    )
}

/// An event of any kind about few entities.
fn stats() -> impl Strategy<Value = Stats> {
    (any::<u64>(), any::<bool>(), any::<bool>(), any::<[u64; 4]>(), any::<[i64; 5]>()).prop_map(
        |(count_raw, maybe_repeats, unordered, values, numbers)| {
            let [min, max, first_value, last_value] = values.map(f64::from_bits);
            let [first_step, first_time_ms, last_step, last_time_ms, time_max_ms] = numbers;
            Stats {
                count_raw,
                maybe_repeats,
                unordered,
                min,
                max,
                first_step,
                first_time_ms,
                first_value,
                last_step,
                last_time_ms,
                last_value,
                time_max_ms,
            }
        },
    )
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let ms = || 0i64..1_000_000;
    let version = || 1u32..5;
    let experiments = prop_oneof![
        (experiment(), word(), option::of(text()), ms(), pairs()).prop_map(|(experiment, name, location, at, tags)| {
            ExperimentCreated {
                experiment,
                name,
                artifact_location: location,
                creation_time_ms: at,
                last_update_time_ms: at + 1,
                tags,
            }
            .into()
        }),
        (experiment(), word(), ms()).prop_map(|(experiment, name, at_ms)| ExperimentRenamed {
            experiment,
            name,
            at_ms
        }
        .into()),
        (experiment(), pairs()).prop_map(|(experiment, tags)| ExperimentTagsSet { experiment, tags }.into()),
        (experiment(), tag_key()).prop_map(|(experiment, key)| ExperimentTagDeleted { experiment, key }.into()),
        (experiment(), ms()).prop_map(|(experiment, at_ms)| ExperimentDeleted { experiment, at_ms }.into()),
        (experiment(), ms()).prop_map(|(experiment, at_ms)| ExperimentRestored { experiment, at_ms }.into()),
        (experiment(), ms()).prop_map(|(experiment, at_ms)| ExperimentPurged { experiment, at_ms }.into()),
    ];
    let runs = prop_oneof![
        (run(), experiment(), text(), text(), status(), ms(), option::of(text()), pairs()).prop_map(
            |(run, experiment, name, user_id, status, start_time_ms, artifact_location, tags)| {
                RunCreated { run, experiment, name, user_id, status, start_time_ms, artifact_location, tags }.into()
            }
        ),
        (run(), option::of(status()), option::of(ms()), option::of(text()))
            .prop_map(|(run, status, end_time_ms, name)| RunUpdated { run, status, end_time_ms, name }.into()),
        (run(), ms()).prop_map(|(run, at_ms)| RunDeleted { run, at_ms }.into()),
        run().prop_map(|run| RunRestored { run }.into()),
        run().prop_map(|run| RunPurged { run }.into()),
        (run(), pairs()).prop_map(|(run, params)| ParamsLogged { run, params }.into()),
        (run(), pairs()).prop_map(|(run, tags)| RunTagsSet { run, tags }.into()),
        (run(), tag_key()).prop_map(|(run, key)| RunTagDeleted { run, key }.into()),
        (run(), vec(dataset(), 0..3), vec(word(), 0..3)).prop_map(|(run, datasets, models)| RunInputsLogged {
            run,
            datasets,
            models
        }
        .into()),
        (run(), vec((word(), any::<i64>()), 0..3)).prop_map(|(run, models)| RunOutputsLogged { run, models }.into()),
        (run(), word(), option::of(any::<u64>())).prop_map(|(run, path, size_bytes)| ArtifactLogged {
            run,
            path,
            size_bytes
        }
        .into()),
        (run(), text(), option::of(text()), text(), pairs(), text(), text(), any::<u32>()).prop_map(
            |(run, uri, version, entry_point, parameters, environment, backend, attempt)| ProjectLaunched {
                run,
                uri,
                version,
                entry_point,
                parameters,
                environment,
                backend,
                attempt
            }
            .into()
        ),
        (run(), any::<u32>(), any::<u32>(), any::<i64>(), ms(), vec((word(), stats()), 0..4)).prop_map(
            |(run, branch, from, to_step, at_ms, kept)| {
                let kept = kept.into_iter().map(|(key, stats)| KeptSeries::new(&key, &stats)).collect();
                RunRewound { run, branch, from, to_step, at_ms, kept }.into()
            }
        ),
        (run(), text(), any::<u32>(), any::<u64>(), text(), ms()).prop_map(
            |(run, host, pid, process_start, boot_id, at_ms)| {
                RunLeased { run, host, pid, process_start, boot_id, at_ms }.into()
            }
        ),
    ];
    let models = prop_oneof![
        ((model(), experiment(), text(), text(), text()), option::of(text()), model_status(), ms(), pairs(), pairs())
            .prop_map(|((model, experiment, name, model_type, source_run), location, status, at, params, tags)| {
                LoggedModelCreated {
                    model,
                    experiment,
                    name,
                    model_type,
                    source_run,
                    artifact_location: location.clone(),
                    status,
                    status_message: location,
                    creation_time_ms: at,
                    last_updated_time_ms: at,
                    params,
                    tags,
                }
                .into()
            }),
        (model(), model_status(), ms()).prop_map(|(model, status, at_ms)| LoggedModelFinalized {
            model,
            status,
            at_ms
        }
        .into()),
        (model(), pairs()).prop_map(|(model, tags)| LoggedModelTagsSet { model, tags }.into()),
        (model(), tag_key()).prop_map(|(model, key)| LoggedModelTagDeleted { model, key }.into()),
        (model(), pairs()).prop_map(|(model, params)| LoggedModelParamsLogged { model, params }.into()),
        (model(), ms()).prop_map(|(model, at_ms)| LoggedModelDeleted { model, at_ms }.into()),
        (model(), run(), pairs()).prop_map(|(model, run, pairs)| {
            let keys = pairs.into_iter().map(|(key, _)| key).collect();
            LoggedModelMetricsLogged { model, run, keys }.into()
        }),
        (model(), run(), word(), any::<i64>(), ms(), any::<u64>(), option::of(text())).prop_map(
            |(model, run, key, step, time_ms, value_bits, name)| {
                LoggedModelPointShared {
                    model,
                    run,
                    key,
                    step,
                    time_ms,
                    value_bits,
                    dataset_digest: name.clone().map(|name| name + "1"),
                    dataset_name: name,
                }
                .into()
            }
        ),
    ];
    let registry = prop_oneof![
        (registered(), word(), option::of(text()), ms(), pairs()).prop_map(|(model, name, description, at, tags)| {
            RegisteredModelCreated {
                model,
                name,
                description,
                creation_time_ms: at,
                last_updated_time_ms: at + 1,
                tags,
            }
            .into()
        }),
        (registered(), option::of(text()), ms()).prop_map(|(model, description, at_ms)| RegisteredModelUpdated {
            model,
            description,
            at_ms
        }
        .into()),
        (registered(), word(), ms())
            .prop_map(|(model, name, at_ms)| RegisteredModelRenamed { model, name, at_ms }.into()),
        (registered(), pairs()).prop_map(|(model, tags)| RegisteredModelTagsSet { model, tags }.into()),
        (registered(), tag_key()).prop_map(|(model, key)| RegisteredModelTagDeleted { model, key }.into()),
        registered().prop_map(|model| RegisteredModelDeleted { model }.into()),
        (registered(), word(), version()).prop_map(|(model, alias, version)| AliasSet { model, alias, version }.into()),
        (registered(), word()).prop_map(|(model, alias)| AliasDeleted { model, alias }.into()),
    ];
    let versions = prop_oneof![
        ((registered(), version(), text()), option::of(text()), stage(), ms(), pairs()).prop_map(
            |((model, version, source), given, stage, at, tags)| ModelVersionCreated {
                model,
                version,
                source,
                storage_location: given.clone(),
                run_id: given.clone(),
                run_link: given.clone(),
                model_id: given.clone(),
                user_id: given.clone(),
                description: given.clone(),
                stage,
                status: VersionStatus::Ready,
                status_message: given,
                creation_time_ms: at,
                last_updated_time_ms: at,
                tags,
            }
            .into()
        ),
        (registered(), version(), option::of(text()), ms()).prop_map(|(model, version, description, at_ms)| {
            ModelVersionUpdated { model, version, description, at_ms }.into()
        }),
        (registered(), version(), stage(), ms()).prop_map(|(model, version, stage, at_ms)| {
            ModelVersionStageChanged { model, version, stage, at_ms }.into()
        }),
        (registered(), version(), pairs()).prop_map(|(model, version, tags)| ModelVersionTagsSet {
            model,
            version,
            tags
        }
        .into()),
        (registered(), version(), tag_key()).prop_map(|(model, version, key)| ModelVersionTagDeleted {
            model,
            version,
            key
        }
        .into()),
        (registered(), version(), ms()).prop_map(|(model, version, at_ms)| ModelVersionDeleted {
            model,
            version,
            at_ms
        }
        .into()),
    ];
    let store = (any::<u8>(), any::<u64>(), any::<u64>()).prop_map(|(id, from, to)| {
        let store = StoreId([id; 16]);
        match id % 4 {
            0 => LossAccepted { from, to }.into(),
            1 => StoreCopied { store, from, to }.into(),
            2 => {
                let removed = Removed {
                    kind: "run".into(),
                    id: RunId([id; 16]).to_string(),
                    artifact_bytes: from,
                    artifacts_sha256: [id; 32],
                    points_count: to,
                    content_sha256: [0; 32],
                };
                GarbageCollected { at_ms: 5, deleted_before_ms: to as i64, removed: vec![removed; 2] }.into()
            }
            _ => SourceForgotten { store, seen: to }.into(),
        }
    });
    // On the heap: the strategies by value take more than the stack of a thread in a build without optimisation.
    prop_oneof![
        6 => experiments.boxed(), 12 => runs.boxed(), 6 => models.boxed(), 8 => registry.boxed(),
        6 => versions.boxed(), 1 => store.boxed()
    ]
}

fn encoded(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    encode(event, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_event_comes_back_from_any_offset(event in event(), before in 0usize..9) {
        let mut out = vec![0xaa; before];
        encode(&event, &mut out).unwrap();
        prop_assert_eq!(peek(&out[before..]), Some((event.tag(), 1)));
        prop_assert_eq!(decode(&out[before..]).unwrap(), Decoded::Known(event));
    }

    /// Whatever the bytes are: an event, an unknown one, or an error; no panic. Most flips land in text, so an event
    /// that was changed may well be accepted: it must then encode and decode like any other.
    #[test]
    fn changed_bytes_never_panic(
        event in event(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in option::of(any::<prop::sample::Index>()),
        tag in option::of(0u16..80),
    ) {
        let mut bytes = encoded(&event);
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        if let (Some(tag), true) = (tag, bytes.len() >= HEADER_BYTES) {
            // The archive of one kind under the tag of another.
            bytes[..4].copy_from_slice(&[tag as u8, 0, 1, 0]);
        }
        if let Ok(Decoded::Known(event)) = decode(&bytes) {
            prop_assert_eq!(decode(&encoded(&event)).unwrap(), Decoded::Known(event));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0usize..KINDS.len(), body in vec(any::<u8>(), 0..200)) {
        let _ = decode(&body);
        let bytes = [&KINDS[kind].0.to_le_bytes()[..], &[1, 0], &body].concat();
        let _ = decode(&bytes);
    }
}

#[test]
fn a_length_in_the_bytes_never_becomes_an_allocation() {
    let event = Event::from(ParamsLogged { run: RunId([1; 16]), params: vec![("k".into(), "v".into())] });
    let bytes = encoded(&event);
    // The root's vector: relative pointer and length are the last 8 bytes.
    let at = bytes.len() - 4;
    for length in [2u32, 1000, u32::MAX / 16, u32::MAX] {
        let mut bytes = bytes.clone();
        bytes[at..].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(decode(&bytes), Err(Error::Corrupt(_))), "{length}");
    }
}

#[test]
fn newer_kinds_and_versions_are_kept_as_they_are() {
    let unknown = Decoded::Unknown { tag: 999, version: 1, bytes: vec![1, 2, 3] };
    assert_eq!(decode(&[0xe7, 3, 1, 0, 1, 2, 3]).unwrap(), unknown);
    let newer = Decoded::Unknown { tag: 10, version: 2, bytes: vec![9] };
    assert_eq!(decode(&[10, 0, 2, 0, 9]).unwrap(), newer);
    assert!(decode(&[10, 0, 2]).is_err());
}

/// The format, pinned: these bytes must decode for ever.
#[test]
fn golden_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let cases: Vec<(Event, &str)> = vec![
        (RunRestored { run: RunId([0xab; 16]) }.into(), "0d000100abababababababababababababababab"),
        (
            RunUpdated {
                run: RunId([1; 16]),
                status: Some(RunStatus::Finished),
                end_time_ms: Some(1_700_000_000_000),
                name: None,
            }
            .into(),
            "0b000100010101010101010101010101010101010103010068e5cf8b010000000000000000000000",
        ),
        (
            ParamsLogged { run: RunId([2; 16]), params: vec![("lr".into(), "0.001, warm-up 10%".into())] }.into(),
            "0f000100302e3030312c207761726d2d7570203130256c72ffffffffffff92000000e6ffffff02020202020202020202020202020202e0ffffff01000000",
        ),
        (
            GarbageCollected {
                at_ms: 1_700_000_000_000,
                deleted_before_ms: 1_690_000_000_000,
                removed: vec![Removed {
                    kind: "logged_model".into(),
                    id: "m-0404".into(),
                    artifact_bytes: 8192,
                    artifacts_sha256: [5; 32],
                    points_count: 901,
                    content_sha256: [0; 32],
                }],
            }
            .into(),
            "490001006c6f676765645f6d6f64656c8c000000f4ffffff6d2d30343034ffff00200000000000000505050505050505050505050505050505050505050505050505050505050505850300000000000000000000000000000000000000000000000000000000000000000000000000000068e5cf8b0100000084d97b8901000090ffffff01000000",
        ),
        (
            RunRewound {
                run: RunId([3; 16]),
                branch: 2,
                from: 1,
                to_step: 900,
                at_ms: 1_700_000_000_000,
                kept: vec![KeptSeries {
                    key: "training loss".into(),
                    count: 901,
                    maybe_repeats: false,
                    unordered: true,
                    min: 0.25,
                    max: f64::INFINITY,
                    first_step: 0,
                    first_time_ms: 5,
                    first_value: 2.5,
                    last_step: 900,
                    last_time_ms: 9_000,
                    last_value: -0.0,
                    time_max_ms: 9_001,
                }],
            }
            .into(),
            "15000100747261696e696e67206c6f73738d000000f3ffffff85030000000000000001000000000000d03f000000000000f07f000000000000000005000000000000000000000000000440840300000000000028230000000000000000000000000080292300000000000003030303030303030303030303030303020000000100000084030000000000000068e5cf8b0100007effffff01000000",
        ),
        (
            RunLeased {
                run: RunId([4; 16]),
                host: "gpu-17.cluster".into(),
                pid: 4321,
                process_start: 987_654,
                boot_id: "6a9f:4026531836".into(),
                at_ms: 1_700_000_000_000,
            }
            .into(),
            "160001006770752d31372e636c7573746572366139663a34303236353331383336040404040404040404040404040404048e000000d3ffffffe110000006120f00000000008f000000cdffffff0068e5cf8b010000",
        ),
        (
            ModelVersionStageChanged {
                model: RegisteredModelId(0x0102_0304),
                version: 7,
                stage: Stage::Production,
                at_ms: -1,
            }
            .into(),
            "3400010004030201000000000700000002ffffffffffffffff",
        ),
    ];
    for (event, golden) in cases {
        assert_eq!(hex(&encoded(&event)), golden, "{}", event.name());
    }
}
