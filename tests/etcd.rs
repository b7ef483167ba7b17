//! What the members of a Galera cluster rely on, seen on a real etcd: the gateway, and the race for the start.

#[path = "support/etcd.rs"]
mod server;

use std::{collections::BTreeSet, time::Duration};

use server::{HOST, Server, soon};
use wplab::{
    inside::member::galera::{
        decide::{Decision, Phase, Position, Record, Snapshot, decide},
        registry::{self, Registry, TTL},
    },
    run::wait::Look,
    wire::{
        etcd::{Etcd, Identity, Then, When},
        tls::{Authority, Use},
    },
};

const NAMES: [&str; 3] = ["db-0", "db-1", "db-2"];
const UUID: &str = "11111111-aaaa-11ee-8000-000000000001";

fn registries(server: &Server) -> [Registry; 3] {
    NAMES.map(|name| Registry::new(server.etcd(), name))
}

fn record(phase: Phase) -> Record {
    let position = Position::At { uuid: UUID.to_owned(), seqno: 7 };
    Record { phase, position, address: "10.244.1.12".to_owned(), safe: false, known: BTreeSet::new() }
}

fn judge(me: &str, seen: &Snapshot) -> Decision {
    decide(me, &NAMES.map(str::to_owned), seen)
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn keys_leases_and_what_etcd_says_of_itself() {
    let server = Server::start().await;
    let etcd = server.etcd();
    assert_eq!(etcd.get("/t/a").await.expect("an answer"), None);
    etcd.put("/t/a", "ä \"1\"", None).await.expect("put");
    etcd.put("/t/b", "", None).await.expect("put");
    etcd.put("/t0", "not below /t/", None).await.expect("put");
    let below = etcd.under("/t/").await.expect("an answer");
    let values: Vec<_> = below.iter().map(|kv| (kv.key.as_str(), kv.value.as_str())).collect();
    assert_eq!(values, [("/t/a", "ä \"1\""), ("/t/b", "")]);
    assert!(below[0].created > 0 && below[0].modified == below[0].created && below[1].modified > below[0].modified);
    etcd.delete("/t/a").await.expect("deleted");
    etcd.delete("/t/a").await.expect("deleted already");
    assert_eq!(etcd.get("/t/a").await.expect("an answer"), None);

    let lease = etcd.grant(Duration::from_secs(2)).await.expect("a lease");
    etcd.put("/t/leased", "1", Some(lease)).await.expect("put");
    assert!(etcd.keep_alive(lease).await.expect("an answer"));
    assert!(etcd.get("/t/leased").await.expect("an answer").is_some());
    soon("the lease's end", async || match etcd.get("/t/leased").await {
        Ok(None) => Look::Ready(()),
        other => Look::NotYet(format!("{other:?}")),
    })
    .await;
    assert!(!etcd.keep_alive(lease).await.expect("an answer"), "a lease that has ended is gone");
    let error = format!("{:#}", etcd.put("/t/leased", "2", Some(lease)).await.expect_err("no lease"));
    assert!(error.ends_with("requested lease not found"), "{error}");
    let lease = etcd.grant(TTL).await.expect("a lease");
    etcd.put("/t/leased", "3", Some(lease)).await.expect("put");
    etcd.revoke(lease).await.expect("revoked");
    etcd.revoke(lease).await.expect("revoked already");
    assert_eq!(etcd.get("/t/leased").await.expect("an answer"), None);

    let status = etcd.status().await.expect("an answer");
    assert!(status.member != 0 && status.leader == Some(status.member) && status.size > 0, "{status:?}");
    assert!(status.version.starts_with("3."), "{status:?}");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_transaction_is_done_only_if_all_of_it_holds() {
    let server = Server::start().await;
    let etcd = server.etcd();
    etcd.put("/t/a", "1", None).await.expect("put");
    let read = etcd.look("/t/a").await.expect("an answer").expect("there").modified;
    let holds = |value: &str| When::Holds { key: "/t/a".into(), value: value.into() };
    let unchanged = |modified| When::Unchanged { key: "/t/a".into(), modified };
    let nothing_after = |prefix: &str, revision| When::NothingAfter { prefix: prefix.into(), revision };
    for (when, expected) in [
        (vec![], true),
        (vec![When::Absent("/t/b".into())], true),
        (vec![When::Absent("/t/a".into())], false),
        (vec![holds("1")], true),
        (vec![holds("2")], false),
        (vec![When::Holds { key: "/t/b".into(), value: "1".into() }], false),
        (vec![unchanged(read)], true),
        (vec![unchanged(read - 1)], false),
        (vec![When::Unchanged { key: "/t/b".into(), modified: read }], false),
        (vec![nothing_after("/t/", read)], true),
        (vec![nothing_after("/t/", read - 1)], false),
        (vec![nothing_after("/empty/", 1)], true),
        (vec![holds("1"), unchanged(read), When::Absent("/t/a".into())], false),
    ] {
        let mark = Then::Put { key: "/mark".into(), value: "1".into(), lease: None };
        let done = etcd.transact(&when, &[mark]).await.expect("an answer");
        let marked = etcd.get("/mark").await.expect("an answer").is_some();
        assert_eq!((done, marked), (expected, expected), "{when:?}");
        etcd.delete("/mark").await.expect("deleted");
    }
    etcd.put("/t/b", "new", None).await.expect("put");
    assert!(!etcd.transact(&[nothing_after("/t/", read)], &[]).await.expect("an answer"), "a new key is noticed");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn only_the_labs_own_certificates_open_the_door() {
    let server = Server::start().await;
    let own = server.identity();
    let stranger = Authority::new().expect("an authority");
    let issued = stranger.issue(Use::Client, "test", &["client".into()]).expect("a certificate");
    let foreign = Identity { ca: own.ca.clone(), certificate: issued.certificate, key: issued.key };
    let error = format!("{:#}", server.client(&foreign).get("/a").await.expect_err("another authority's certificate"));
    assert!(error.contains("alert"), "{error}");
    let credulous = Identity { ca: stranger.certificate, ..own.clone() };
    let error = format!("{:#}", server.client(&credulous).get("/a").await.expect_err("another authority's server"));
    assert!(error.contains("invalid peer certificate"), "{error}");
    let ca = reqwest::Certificate::from_pem(own.ca.as_bytes()).expect("a certificate");
    let builder =
        reqwest::Client::builder().http1_only().no_proxy().tls_certs_only([ca]).resolve(HOST, server.address());
    let url = format!("https://{HOST}:{}/v3/kv/range", server.address().port());
    let asked = builder.build().expect("a client").post(url).body(r#"{"key":"YQ=="}"#).send().await;
    let error = format!("{:?}", asked.expect_err("no certificate"));
    assert!(error.contains("CertificateRequired"), "{error}");

    // Not the first endpoint, and by a name that is looked up without the C library.
    let endpoints = ["https://127.0.0.1:1".to_owned(), format!("https://localhost:{}", server.address().port())];
    let etcd = Etcd::new(&endpoints, Some(&own), &[]).expect("a client");
    etcd.put("/a", "1", None).await.expect("the second endpoint answers");
    assert_eq!(etcd.get("/a").await.expect("an answer").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs Docker"]
async fn three_race_for_the_start_and_one_wins_every_time() {
    let server = Server::start().await;
    let mut registries = registries(&server);
    let mut wins = [0; 3];
    for round in 0..200 {
        for registry in &mut registries {
            registry.publish(&record(Phase::Waiting)).await.expect("published");
        }
        let gate = std::sync::Arc::new(tokio::sync::Barrier::new(3));
        let tasks = registries.map(|mut registry| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let seen = registry.snapshot().await.expect("an answer");
                gate.wait().await;
                let won = registry.claim(&seen, &record(Phase::Waiting), None).await.expect("an answer");
                (registry, won)
            })
        });
        let [a, b, c] = tasks;
        let (a, b, c) = tokio::join!(a, b, c);
        let done = [a, b, c].map(|task| task.expect("no panic"));
        let won: Vec<usize> = (0..3).filter(|&i| done[i].1).collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        wins[won[0]] += 1;
        registries = done.map(|(registry, _)| registry);
        let seen = registries[0].snapshot().await.expect("an answer");
        assert_eq!(seen.bootstrap.as_deref(), Some(NAMES[won[0]]));
        let starting = seen.members.iter().filter(|(_, s)| s.record.phase == Phase::Bootstrapping);
        assert_eq!(starting.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [NAMES[won[0]]]);
        // Half of the winners come up, half of them fail and wait again: both give up the lock.
        if round % 2 == 0 {
            registries[won[0]].established(UUID).await.expect("told");
        }
    }
    assert!(wins.iter().all(|&w| w > 0), "it was no race: {wins:?}");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_judgement_on_what_has_changed_since_never_wins() {
    let server = Server::start().await;
    let etcd = server.etcd();
    let [mut a, mut b, mut c] = registries(&server);
    let waiting = record(Phase::Waiting);
    for registry in [&mut a, &mut b] {
        registry.publish(&waiting).await.expect("published");
    }
    // db-2 was silent when it was judged, and reports now.
    a.force("db-0").await.expect("chosen");
    let seen = a.snapshot().await.expect("an answer");
    assert_eq!(judge("db-0", &seen), Decision::Bootstrap);
    c.publish(&waiting).await.expect("published");
    assert!(!a.claim(&seen, &waiting, None).await.expect("an answer"));
    // The operator thought again, or chose another.
    let seen = a.snapshot().await.expect("an answer");
    etcd.delete("/wplab/galera/force").await.expect("deleted");
    assert!(!a.claim(&seen, &waiting, None).await.expect("an answer"));
    let seen = a.snapshot().await.expect("an answer");
    a.force("db-1").await.expect("chosen");
    assert!(!a.claim(&seen, &waiting, None).await.expect("an answer"));
    etcd.delete("/wplab/galera/force").await.expect("deleted");
    // A member changed its record, or left.
    let seen = a.snapshot().await.expect("an answer");
    b.publish(&record(Phase::Joining)).await.expect("published");
    assert!(!a.claim(&seen, &waiting, None).await.expect("an answer"));
    let seen = a.snapshot().await.expect("an answer");
    b.leave().await.expect("left");
    assert!(!a.snapshot().await.expect("an answer").members.contains_key("db-1"), "who leaves is gone at once");
    assert!(!a.claim(&seen, &waiting, None).await.expect("an answer"));
    b.publish(&waiting).await.expect("back");
    // A cluster has come up.
    let seen = a.snapshot().await.expect("an answer");
    b.established(UUID).await.expect("told");
    assert!(!a.claim(&seen, &waiting, None).await.expect("an answer"));
    // Another was faster; and its lock is not mine to release.
    let seen = a.snapshot().await.expect("an answer");
    assert!(b.claim(&seen, &waiting, None).await.expect("an answer"));
    assert!(!a.claim(&seen, &waiting, None).await.expect("an answer"));
    a.release().await.expect("an answer");
    let held = a.snapshot().await.expect("an answer");
    assert_eq!(held.bootstrap.as_deref(), Some("db-1"));
    assert!(!c.claim(&held, &waiting, None).await.expect("an answer"));
    // Who waits again gives its lock up, and an unchanged picture wins.
    b.publish(&waiting).await.expect("published");
    let seen = a.snapshot().await.expect("an answer");
    assert_eq!((seen.bootstrap.as_deref(), judge("db-0", &seen)), (None, Decision::Bootstrap));
    assert!(a.claim(&seen, &waiting, None).await.expect("an answer"));
    a.force("db-2").await.expect("chosen, too late");
    a.established(UUID).await.expect("told");
    let up = a.snapshot().await.expect("an answer");
    assert_eq!((up.bootstrap, up.force, up.initialised.as_deref()), (None, None, Some(UUID)));
    assert!(up.known.contains("db-0"));
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_start_that_takes_longer_than_its_lease_makes_no_second_one() {
    let server = Server::start().await;
    let [mut a, mut b, mut c] = registries(&server);
    let waiting = record(Phase::Waiting);
    for registry in [&mut a, &mut b, &mut c] {
        registry.publish(&waiting).await.expect("published");
    }
    let seen = a.snapshot().await.expect("an answer");
    assert!(a.claim(&seen, &waiting, None).await.expect("an answer"));
    // db-0 gives no sign of life, the others do.
    let seen = soon("the end of the lease", async || {
        b.beat().await.expect("an answer");
        c.beat().await.expect("an answer");
        let seen = b.snapshot().await.expect("an answer");
        for me in ["db-1", "db-2"] {
            assert!(matches!(judge(me, &seen), Decision::Wait(_)), "{seen:#?}");
        }
        if seen.bootstrap.is_none() { Look::Ready(seen) } else { Look::NotYet("it is locked".into()) }
    })
    .await;
    assert!(!seen.members.contains_key("db-0") && seen.members.len() == 2, "{seen:#?}");
    a.beat().await.expect("an answer");
    let seen = a.snapshot().await.expect("an answer");
    assert_eq!((seen.members["db-0"].record.phase, &seen.bootstrap), (Phase::Bootstrapping, &None));
    let told = Decision::Wait("db-0 is starting the cluster".into());
    assert_eq!([judge("db-1", &seen), judge("db-2", &seen)], [told.clone(), told]);
    a.established(UUID).await.expect("told");
    a.publish(&record(Phase::Primary)).await.expect("published");
    assert!(matches!(judge("db-1", &a.snapshot().await.expect("an answer")), Decision::Join { .. }));
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn etcd_goes_away_comes_back_and_forgets() {
    let mut server = Server::start().await;
    let mut registries = registries(&server);
    for registry in &mut registries {
        registry.publish(&record(Phase::Primary)).await.expect("published");
        registry.established(UUID).await.expect("told");
    }
    let before = registry::read(&server.etcd()).await.expect("an answer");
    assert_eq!((before.members.len(), before.known.len()), (3, 3));

    server.kill();
    assert!(registries[0].snapshot().await.is_err());
    assert!(registries[0].publish(&record(Phase::NonPrimary)).await.is_err());
    server.run().await;
    let after = registries[1].snapshot().await.expect("an answer");
    assert_eq!(after.members["db-0"].record.phase, Phase::Primary);
    // What could not be written is written by the next sign of life, at once.
    registries[0].beat().await.expect("an answer");
    let after = registries[1].snapshot().await.expect("an answer");
    assert_eq!(after.members["db-0"].record.phase, Phase::NonPrimary);
    registries[0].publish(&record(Phase::Primary)).await.expect("published");

    server.kill();
    // A volume for each member is gone.
    std::fs::remove_dir_all(server.data()).expect("removed");
    server.run().await;
    let etcd = server.etcd();
    assert_eq!(registry::read(&etcd).await.expect("an answer"), Snapshot::default(), "all is lost");
    let back = soon("the records", async || {
        for registry in &mut registries {
            registry.beat().await.expect("an answer");
        }
        let seen = registry::read(&etcd).await.expect("an answer");
        if seen.members.len() == 3 { Look::Ready(seen) } else { Look::NotYet("not all".into()) }
    })
    .await;
    assert_eq!((back.known.len(), back.initialised.as_deref(), back.bootstrap), (3, Some(UUID), None));
    assert!(back.members.values().all(|s| s.record.phase == Phase::Primary));
}
