//! What a store of a history changes: something that the model says it can.

use super::model::{Act, HOUR, Known, Of, What};
use super::world::World;
use crate::{Point, RegisteredModelId, RunId, Stage, TimestampMs};

impl World {
    fn act(&mut self, at: usize) -> Option<Act> {
        let kind = self.rng.below(24);
        let number = self.fresh();
        let value = Some(format!("v{number}"));
        let side = &self.sides[at].state;
        let runs: Vec<RunId> = side.runs.keys().copied().collect();
        let active: Vec<RunId> = runs
            .iter()
            .copied()
            .filter(|run| side.value(&Of::Run(*run), &What::Lifecycle).as_deref() == Some("active"))
            .collect();
        let models: Vec<_> = side.models.iter().filter(|(_, deleted)| !**deleted).map(|(model, _)| *model).collect();
        let versions: Vec<_> =
            side.versions.iter().filter(|(_, known)| !known.2).map(|(key, known)| (*key, known.0.clone())).collect();
        let experiments: Vec<_> = side.experiments.iter().cloned().collect();
        let deletes = self.rng.below(4) == 0;
        Some(match kind {
            0 => {
                let name = format!("e{}", self.below(2));
                (!experiments.contains(&name)).then_some(Act::NewExperiment(name))?
            }
            1..3 => {
                experiments.first()?;
                let mut id = [7; 16];
                id[..8].copy_from_slice(&number.to_le_bytes());
                Act::NewRun(RunId(id), format!("run{number}"), "RUNNING".into())
            }
            3..5 => {
                let name = self.pick(&experiments)?;
                let of = Of::Experiment(name);
                let has = self.sides[at].state.value(&of, &What::Tag("t".into())).is_some();
                Act::Set(of, What::Tag("t".into()), if deletes && has { None } else { value })
            }
            5..8 => {
                let (run, key) = (self.pick(&active)?, self.pick(&["t", "u"])?);
                let what = What::Tag(key.into());
                let has = self.sides[at].state.value(&Of::Run(run), &what).is_some();
                Act::Set(Of::Run(run), what, if deletes && has { None } else { value })
            }
            8 => Act::Set(Of::Run(self.pick(&active)?), What::Name, value),
            9 => {
                let status = if deletes { "FAILED" } else { "FINISHED" };
                Act::Set(Of::Run(self.pick(&active)?), What::Status, Some(status.into()))
            }
            10 => {
                let run = self.pick(&runs)?;
                let word = if active.contains(&run) { "deleted" } else { "active" };
                Act::Set(Of::Run(run), What::Lifecycle, Some(word.into()))
            }
            11..14 => {
                let run = self.pick(&active)?;
                let count = 1 + self.below(3);
                let time = 1_000 * HOUR + number as i64;
                let point = |step: usize| Point {
                    step: number as i64,
                    time: TimestampMs(time + step as i64),
                    value: number as f64 + step as f64 / 8.0,
                };
                Act::Points(run, (0..count).map(point).collect())
            }
            14 => {
                let run = self.pick(&active)?;
                let side = &self.sides[at].state;
                let key = (run, "p".to_owned());
                (!side.params.contains_key(&key)).then(|| Act::Param(run, "p".into(), format!("v{number}")))?
            }
            15 => Act::NewModel(RegisteredModelId(number), format!("model{number}")),
            16..18 => {
                let model = self.pick(&models)?;
                let all = self.sides[at].state.versions.keys().filter(|(of, _)| *of == model);
                Act::NewVersion(model, all.map(|(_, version)| *version).max().unwrap_or(0) + 1, format!("s{number}"))
            }
            18 => Act::Set(Of::Model(self.pick(&models)?), What::Description, value),
            19..21 => {
                let ((model, version), text) = self.pick(&versions)?;
                let alias = self.pick(&["a", "b"])?;
                let has = self.sides[at].state.value(&Of::Model(model), &What::Alias(alias.into())).is_some();
                Act::Alias(model, alias.into(), if deletes && has { None } else { Some((version, text)) })
            }
            21 => {
                let ((model, version), text) = self.pick(&versions)?;
                let production = |known: &Known| known.1 == Stage::Production && !known.2;
                let others = self.sides[at]
                    .state
                    .versions
                    .iter()
                    .filter(|((of, other), known)| *of == model && *other != version && production(known));
                let mut changed: Vec<_> =
                    others.map(|((_, other), known)| (*other, known.0.clone(), Stage::Archived)).collect();
                changed.insert(0, (version, text, Stage::Production));
                Act::Stage(model, changed)
            }
            22 => {
                let ((model, version), _) = self.pick(&versions)?;
                Act::Set(Of::Model(model), What::VersionTag(version, "t".into()), value)
            }
            _ if deletes => match self.rng.below(3) {
                0 => Act::Set(Of::Model(self.pick(&models)?), What::Deletion, Some("deleted".into())),
                _ => {
                    let ((model, version), _) = self.pick(&versions)?;
                    Act::Set(Of::Model(model), What::VersionDeletion(version), Some("deleted".into()))
                }
            },
            _ => Act::Set(Of::Model(self.pick(&models)?), What::Tag("t".into()), value),
        })
    }

    pub(super) fn change(&mut self, at: usize) -> String {
        // Most need something to change.
        let Some(act) = (0..6).find_map(|_| self.act(at)) else { return String::new() };
        let text = format!("{at}: {act:?}");
        self.sides[at].own(vec![act]);
        self.note(at);
        text
    }
}
