//! The user whose process this is: the author of what it changes.

use std::path::Path;

/// Where the names of local users are.
const PASSWD: &str = "/etc/passwd";
/// Longest name that is kept, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 250;

/// The name of this process's user, found as Python's `getpass.getuser` does, so that it is the user that MLflow's
/// clients name: `LOGNAME`, `USER`, `LNAME`, `USERNAME`, else the name in `/etc/passwd`; else `uid N`.
///
/// ```
/// assert!(!runlode::os_user().is_empty());
/// ```
pub fn os_user() -> String {
    let named = ["LOGNAME", "USER", "LNAME", "USERNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.trim().is_empty()));
    let uid = rustix::process::geteuid().as_raw();
    let user = named.or_else(|| name_in(Path::new(PASSWD), uid)).unwrap_or_else(|| format!("uid {uid}"));
    user.chars().take(NAME_CHARS_MAX).collect()
}

/// The name of a user in a file of lines `name:password:uid:...`.
fn name_in(passwd: &Path, uid: u32) -> Option<String> {
    let text = std::fs::read(passwd).ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let passwd = dir.path().join("passwd");
        std::fs::write(&passwd, b"root:x:0:0::/root:/bin/sh\nbroken\nann:x:1000:1000:\xff::\n:x:7:\n").unwrap();
        assert_eq!(name_in(&passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in(&passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(&passwd, 7), None);
        assert_eq!(name_in(&dir.path().join("none"), 0), None);
        assert!(!os_user().is_empty());
    }
}
