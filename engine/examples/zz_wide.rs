use runlode_engine::*; use runlode_engine::event::*;
fn main() {
    let dir = std::path::PathBuf::from("/work/scratch_wide"); let _ = std::fs::remove_dir_all(&dir);
    let store = Store::open(&dir).unwrap();
    let run = RunId([1;16]);
    store.append(Batch::new().event(ExperimentCreated{experiment:ExperimentId(1),name:"e".into(),artifact_location:None,creation_time_ms:0,last_update_time_ms:0,tags:vec![]}).event(RunCreated{run,experiment:ExperimentId(1),name:"r".into(),user_id:"".into(),status:RunStatus::Running,start_time_ms:0,artifact_location:None,tags:vec![]}), Durability::Sync).unwrap();
    let keys: Vec<KeyId> = (0..100_000).map(|i| store.metric_key(&format!("k{i}")).unwrap()).collect();
    let h = store.run(run).unwrap();
    let cpu = || { let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime); t.tv_sec as f64*1e3 + t.tv_nsec as f64/1e6 };
    let n: i64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(60);
    let mut all = vec![];
    for step in 0..n {
        let row: Vec<(KeyId,f64)> = keys.iter().map(|k| (*k, f64::from((k.0 as f32)*0.1 + step as f32))).collect();
        let (c, w) = (cpu(), std::time::Instant::now());
        h.log_row(step, TimestampMs(step), &row, Durability::Buffered).unwrap();
        all.push((cpu()-c, w.elapsed().as_secs_f64()*1e3));
    }
    all.remove(0);
    let mut c: Vec<f64> = all.iter().map(|a| a.0).collect(); c.sort_by(f64::total_cmp);
    let mut w: Vec<f64> = all.iter().map(|a| a.1).collect(); w.sort_by(f64::total_cmp);
    println!("cpu p50 {:.2} max {:.2}  wall p50 {:.2} max {:.2}", c[c.len()/2], c[c.len()-1], w[w.len()/2], w[w.len()-1]);
    let s = store.snapshot().unwrap();
    for _ in 0..3 { let (c,w) = (cpu(), std::time::Instant::now()); let l = s.latest(run).unwrap(); println!("latest {} cpu {:.2} wall {:.2}", l.len(), cpu()-c, w.elapsed().as_secs_f64()*1e3); }
    std::fs::remove_dir_all(&dir).unwrap();
}
