//! The other members' supervisors, asked for their status where their pods are.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::inside::{
    http::get,
    member::{pod::HTTP_PORT, status::MemberStatus},
};

/// How long a member may take to say what it does.
const PATIENCE: Duration = Duration::from_secs(2);

/// What each of these says, by name and address; nothing where it does not answer.
pub(super) async fn ask<'a>(peers: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, Option<MemberStatus>)> {
    join_all(peers.map(async |(name, address)| (name, status(name, address).await))).await
}

async fn status(name: &str, address: &str) -> Option<MemberStatus> {
    let address = SocketAddr::new(address.parse().ok()?, HTTP_PORT);
    let answer = timeout(PATIENCE, get(address, name, "/status")).await.ok()?.ok()?;
    MemberStatus::parse(&answer).ok()
}
