//! What another process sees and appends is what the process that holds the store does.

use crate::engine::event::{ParamsLogged, RunTagsSet};
use crate::{
    Batch, EntityKey, Error, ExperimentId, Lifecycle, Lsn, ModelId, Point, RawStore, RegisteredModelSpec, RunSpec,
    Store, TimestampMs, VersionSpec,
};

fn pair(text: &str) -> (String, String) {
    (text.to_owned(), text.to_owned())
}

#[test]
fn a_view_is_the_same_in_every_process() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::options(dir.path().join("store")).open_apart().unwrap();
    let holder = open();
    let digits = holder.experiment("digits").unwrap();
    let run = digits.create_run(RunSpec::named("trial").tag("kind", "a")).unwrap();
    for step in 0..10 {
        run.log_metrics(step, &[("loss", step as f64)]).unwrap();
    }
    digits.create_run(RunSpec::named("other")).unwrap();
    holder.create_registered_model(RegisteredModelSpec::named("fraud")).unwrap();
    holder.registered_model("fraud").unwrap().create_version(VersionSpec::from_source("s3://b/x")).unwrap();
    let client = open();
    assert!(holder.status().unwrap().holds && !client.status().unwrap().holds);

    let stores = [RawStore::from(holder.clone()), RawStore::from(client)];
    let views = stores.each_ref().map(|store| store.view().unwrap());
    let same = |ask: &dyn Fn(&crate::RawView) -> String| {
        let [here, there] = views.each_ref().map(ask);
        assert_eq!(here, there);
        here
    };
    assert!(same(&|view| format!("{:?}", view.experiments().unwrap())).contains("digits"));
    same(&|view| format!("{:?}", view.experiment_by_name("digits").unwrap()));
    assert_eq!(same(&|view| format!("{:?}", view.experiment_by_name("none").unwrap())), "None");
    assert!(same(&|view| format!("{:?}", view.run(run.id()).unwrap())).contains("trial"));
    assert_eq!(same(&|view| format!("{:?}", view.runs_of(digits.id()).unwrap().len())), "2");
    let (model, _) = views[0].registered_model("fraud").unwrap().unwrap();
    same(&|view| format!("{:?}", view.registered_models().unwrap()));
    same(&|view| format!("{:?}", view.registered_model("fraud").unwrap()));
    assert!(same(&|view| format!("{:?}", view.model_version(model, 1).unwrap())).contains("s3://b/x"));
    assert_eq!(same(&|view| format!("{:?}", view.logged_model(ModelId([1; 16])).unwrap())), "None");
    let key = EntityKey::Run(run.id());
    assert!(same(&|view| format!("{:?}", view.events(&key).unwrap())).contains("RunCreated"));
    assert_eq!(same(&|view| view.has_points(run.id()).unwrap().to_string()), "true");
    let points = same(&|view| format!("{:?}", view.points(run.id(), "loss", (3, 5), (i64::MIN, i64::MAX)).unwrap()));
    assert!(
        points.contains("value: 3.0") && points.contains("value: 5.0") && !points.contains("value: 6.0"),
        "{points}"
    );
    let state = views[0].run(run.id()).unwrap().unwrap();
    assert!(views.iter().all(|view| view.lifecycle(&state).unwrap() == Lifecycle::Active));
}

#[test]
fn batches_come_in_once_and_are_refused_in_the_same_words() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::options(dir.path().join("store")).open_apart().unwrap();
    let holder = open();
    let run = holder.experiment("digits").unwrap().create_run(RunSpec::new()).unwrap().id();
    let stores = [RawStore::from(holder.clone()), RawStore::from(open())];
    for (number, store) in stores.iter().enumerate() {
        let point = Point { step: 1, time: TimestampMs(1), value: number as f64 };
        let batch = || {
            let event = ParamsLogged { run, params: vec![pair(&format!("p{number}"))] };
            let batch = Batch::new().event(event).metric(run, "loss", point, None);
            batch.actor("ann").idempotency_key([number as u8 + 1])
        };
        let (lsn, repeated) = store.append(batch()).unwrap();
        assert!(!repeated && lsn > Lsn::ZERO);
        assert_eq!(store.append(batch()).unwrap(), (lsn, true));
        let other = batch().event(RunTagsSet { run, tags: vec![pair("late")] });
        assert!(matches!(store.append(other), Err(Error::KeyReused { .. })));
        let bad = Batch::new().event(ParamsLogged { run, params: vec![("p0".into(), "changed".into())] });
        assert!(matches!(store.append(bad), Err(Error::ParamChanged { .. })));
        let events = store.view().unwrap().events(&EntityKey::Run(run)).unwrap();
        assert_eq!(events.last().unwrap().actor.as_deref(), Some("ann"));
        assert!(!store.ensure_default_experiment().unwrap());
        store.flush().unwrap();
    }
    let params = &stores[0].view().unwrap().run(run).unwrap().unwrap().params;
    assert_eq!(*params, [pair("p0"), pair("p1")]);
    assert!(stores[1].view().unwrap().experiment(ExperimentId(0)).unwrap().is_some());
}
