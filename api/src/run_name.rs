//! Names of runs: the tag that mirrors them, and random names of the form `adjective-noun-number`.

use runlode_engine::Result;

use crate::random::random_bytes;

/// The tag that mirrors a run's name.
pub const TAG_RUN_NAME: &str = "mlflow.runName";

const ADJECTIVES: &[&str] = &[
    "able", "agile", "amber", "bold", "brave", "bright", "calm", "capable", "clever", "crisp", "curious", "dapper",
    "deft", "eager", "early", "fair", "fast", "fine", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loud", "lucky", "mellow", "merry",
    "mild", "modest", "neat", "nimble", "noble", "odd", "patient", "placid", "polite", "proud", "quick", "quiet",
    "rare", "ready", "robust", "royal", "sharp", "silent", "smooth", "steady", "swift", "tidy", "upbeat", "vivid",
    "warm", "wise", "zesty",
];

const NOUNS: &[&str] = &[
    "ant", "badger", "bat", "bear", "bee", "bird", "boar", "bream", "buck", "calf", "carp", "cat", "colt", "cow",
    "crab", "crane", "crow", "deer", "dog", "dolphin", "dove", "duck", "eel", "elk", "falcon", "fawn", "finch", "fish",
    "fly", "foal", "fox", "frog", "gnat", "goat", "goose", "grouse", "gull", "hare", "hawk", "hen", "heron", "horse",
    "hound", "jay", "kite", "koi", "lamb", "lark", "loon", "lynx", "mare", "mink", "mole", "moose", "moth", "mouse",
    "mule", "newt", "otter", "owl", "perch", "quail", "rook", "stoat", "swan", "toad", "trout", "vole", "wasp", "wren",
];

/// A random name such as `patient-otter-417`. Names need not be unique.
///
/// ```
/// assert_eq!(runlode::run_name()?.split('-').count(), 3);
/// # Ok::<(), runlode::Error>(())
/// ```
pub fn run_name() -> Result<String> {
    let [a, b, c, d, e, f] = random_bytes::<6>()?;
    let pick = |words: &[&'static str], high: u8, low: u8| {
        words.get(usize::from(u16::from_le_bytes([low, high])) % words.len()).copied().unwrap_or("run")
    };
    let number = u16::from_le_bytes([e, f]) % 1000;
    Ok(format!("{}-{}-{number}", pick(ADJECTIVES, a, b), pick(NOUNS, c, d)))
}
