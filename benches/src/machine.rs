//! What the numbers were measured on.

use std::fs;
use std::path::Path;

/// Text of a file in /proc or /sys, or nothing.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// (name, value) pairs: cores, processor, memory, kernel, file system of `dir`, time of the run.
pub fn describe(dir: &Path) -> Vec<(&'static str, String)> {
    let cpu = read("/proc/cpuinfo");
    let model = field(&cpu, "model name").unwrap_or_else(|| "unknown".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kb: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    vec![
        ("cores", format!("{cores} ({model})")),
        ("memory", format!("{:.0} GiB", memory_kb as f64 / (1 << 20) as f64)),
        ("kernel", kernel),
        ("file system", file_system(dir)),
        ("date", date()),
    ]
}

/// Kind, device and options of the file system that holds `dir`.
pub fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = read("/proc/self/mounts");
    let best = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, at, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
            dir.starts_with(at).then_some((at.len(), kind, options))
        })
        .max_by_key(|(depth, ..)| *depth);
    best.map_or_else(|| "unknown".into(), |(_, kind, options)| format!("{kind} ({options})"))
}

/// Whether `dir` lies in memory, where no fdatasync costs anything.
pub fn is_in_memory(dir: &Path) -> bool {
    let kind = file_system(dir);
    kind.starts_with("tmpfs") || kind.starts_with("ramfs")
}

/// Today in UTC, `YYYY-MM-DD HH:MM`.
fn date() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let minutes = since.as_secs() / 60;
    let (year, month, day) = civil_from_days((minutes / 1_440) as i64);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

/// Days since 1970-01-01 as a date: years of 365.2425 days that begin in March.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A line of /proc/self/status in KiB, as `RssAnon`.
pub fn status_kib(name: &str) -> u64 {
    field(&read("/proc/self/status"), name).and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// How long this thread has been ready to run while others had the cores, in ns; 0 if the kernel does not tell.
pub fn waited_for_core_ns() -> u64 {
    let text = read("/proc/thread-self/schedstat");
    text.split_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::civil_from_days;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(civil_from_days(19_782), (2024, 2, 29));
        assert_eq!(civil_from_days(19_783), (2024, 3, 1));
        assert_eq!(civil_from_days(20_818), (2026, 12, 31));
    }
}
