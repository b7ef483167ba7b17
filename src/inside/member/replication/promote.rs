//! `wplab member promote`, executed in a member's pod: opens it for writes, and lets its volume remember that.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::{config::Config, datadir::Volume, decide::Data, local, peers::Peers};
use crate::{
    inside::member::{pod::VOLUME, status::State},
    run::wait::{self, Look},
};

/// How long the server may take to answer; `up` has seen it run before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens this member. A member that is open stays as it is.
///
/// # Errors
/// Another member is open or has more right to be; there is no data to serve; the server does not answer or refuses.
pub(super) async fn run(config: &Config) -> Result<()> {
    let volume = Volume::new(VOLUME);
    ensure!(volume.data() == Data::Present, "{} has no data of the lab yet", config.name);
    for peer in Peers::new(config)?.ask().await {
        let Some(status) = peer.status else { continue };
        if status.state == State::Source {
            bail!("{} is open for writes; there can be only one", status.name);
        }
    }
    let on_reason = |_: &str| {};
    let every = Duration::from_millis(500);
    let mut session = wait::until("the server to answer", PATIENCE, every, on_reason, || async {
        Ok(local::connect().await.map_or_else(|error| Look::NotYet(format!("{error:#}")), Look::Ready))
    })
    .await?;
    let facts = local::look(&mut session).await?;
    if facts.serves_as_source() && volume.was_writer() {
        return Ok(());
    }
    ensure!(facts.sql_errno == 0, "{} could not apply what its source sent; it must not be opened", config.name);
    volume.set_writer()?;
    local::open(&mut session).await
}
