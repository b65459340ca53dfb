//! The memory of a process and of all that it started.

use std::path::Path;

/// Resident memory of a process and of all below it, in MiB.
pub(crate) fn tree_mib(root: u32) -> Result<f64, String> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))? {
        let path = entry.map_err(|error| format!("/proc: {error}"))?.path();
        // A process may end meanwhile.
        if let Some(process) = process(&path) {
            processes.push(process);
        }
    }
    let mut tree = vec![root];
    let mut kib = 0;
    while let Some(parent) = tree.pop() {
        kib += processes.iter().find(|(pid, ..)| *pid == parent).map_or(0, |(.., kib)| *kib);
        tree.extend(processes.iter().filter(|(_, its, _)| *its == parent).map(|(pid, ..)| *pid));
    }
    Ok(kib as f64 / 1024.0)
}

/// Process id, parent's id, resident KiB.
fn process(path: &Path) -> Option<(u32, u32, u64)> {
    let pid = path.file_name()?.to_str()?.parse().ok()?;
    let status = std::fs::read_to_string(path.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    Some((pid, field("PPid:")?.parse().ok()?, field("VmRSS:")?.parse().ok()?))
}
