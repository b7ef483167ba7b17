//! Debian's packages: which version there is, and installing them.

use std::time::Duration;

use anyhow::Result;

use crate::{
    host::{process::Cmd, version::Version},
    run::StepCx,
};

/// Slow mirrors and a cold package cache.
const INSTALL_LIMIT: Duration = Duration::from_mins(15);

/// Installs Debian packages, the optional ones where the suite has them.
///
/// # Errors
/// apt's own words.
pub(crate) async fn install(cx: &StepCx, names: &[&str], optional: &[&str]) -> Result<()> {
    // Another apt at work (a desktop's own, at boot) is waited for.
    let apt =
        || Cmd::new("apt-get").args(["-q", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    cx.say("asking for Debian's package lists");
    apt().arg("update").run_within(INSTALL_LIMIT).await?;
    let mut all = names.to_vec();
    for name in optional {
        if candidate(name).await.is_some() {
            all.push(name);
        }
    }
    cx.say(format!("installing {}", all.join(", ")));
    apt().args(["install", "-y", "--no-install-recommends"]).args(all).run_within(INSTALL_LIMIT).await?;
    Ok(())
}

/// The version of a package that apt would install.
pub(crate) async fn candidate(package: &str) -> Option<Version> {
    let policy = Cmd::new("apt-cache").args(["policy", package]).run_within(Duration::from_secs(20)).await.ok()?;
    candidate_of(&policy.stdout)
}

fn candidate_of(policy: &str) -> Option<Version> {
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    Version::find(line.trim().rsplit(':').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_that_apt_would_install() {
        let policy = "kind:\n  Installed: (none)\n  Candidate: 0.33.0-1\n  Version table:\n";
        assert_eq!(candidate_of(policy), Some(Version(0, 33, 0)));
        assert_eq!(candidate_of("x:\n  Candidate: 5:28.2.2-1\n"), Some(Version(28, 2, 2)));
        assert_eq!(candidate_of("kind:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_of(""), None);
    }
}
