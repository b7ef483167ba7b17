//! The reports of the larger commands, as text for people.

use std::fmt::Write;

use wplab::{
    actions::{
        asleep::AsleepReport,
        awake::AwakeReport,
        credentials::Credentials,
        down::{Backups, DownReport},
        plan::PlanReport,
        snapshot::{Saved, Snapshot},
        status::{MemberSummary, Monitoring, StatusReport},
        up::UpReport,
    },
    host::nodes::labs::Doing,
    parts::{
        database::{agent::Roles, health::Wrong},
        discovery::EtcdMember,
        store,
    },
    run::advice::Hint,
};

use super::{
    super::spell::{self, Asked},
    Paint, backups,
    paint::tame,
    tables::{bytes, checks, role, table},
};

/// The checks, and where everything is.
pub(crate) fn up(reached: &UpReport, asked: &Asked, paint: Paint) -> String {
    format!(
        "{}\n{} {}\n{} {}\n",
        checks(&reached.smoke, asked, paint),
        paint.bold("site       "),
        reached.url,
        paint.bold("kubeconfig "),
        reached.kubeconfig.display()
    )
}

/// The checks of a lab that was brought back, and where it is.
pub(crate) fn awake(awake: &AwakeReport, paint: Paint) -> String {
    let checks = checks(&awake.smoke, &Asked::Other, paint);
    format!("{checks}\n{} {}\n", paint.bold("site       "), awake.url)
}

/// What a lab does that was put to rest.
pub(crate) fn asleep(asleep: &AsleepReport) -> String {
    let AsleepReport { name, state, nodes, changed } = asleep;
    let kept = match state {
        Doing::Paused => "its memory is kept, and nothing in it runs",
        Doing::Stopped => "its data is kept on disk",
        Doing::Running => "it runs",
    };
    let already = if *changed { "" } else { " already" };
    format!("lab {name} is {}{already}: {nodes} nodes, {kept}\n", state.name())
}

/// The snapshot that was taken.
pub(crate) fn saved(saved: &Saved) -> String {
    let Saved { snapshot: Snapshot { name, lab, bytes: size, .. }, stood_still } = saved;
    let stood_still = stood_still.as_secs_f64();
    format!("snapshot {name} is lab {lab} as it was: {}; it stood still for {stood_still:.1} s\n", bytes(*size))
}

/// What was removed.
pub(crate) fn down(gone: &DownReport) -> String {
    let lines = gone.removed.iter().map(|removed| format!("removed {} {}\n", removed.kind, removed.name));
    let mut text: String = lines.collect();
    if text.is_empty() {
        text = format!("there is nothing of a lab {} on this machine\n", gone.name);
    }
    let many = |count: usize| format!("{count} backup{} of lab {}", if count == 1 { "" } else { "s" }, gone.name);
    match &gone.backups {
        None => {}
        Some(Backups::Kept { count }) => text += &format!("kept {} in the store {}\n", many(*count), store::NAME),
        Some(Backups::Removed { count, bytes: size, store }) => {
            text += &format!("removed {}, {}\n", many(*count), bytes(*size));
            if *store {
                text += &format!("removed store {}, which had no others\n", store::NAME);
            }
        }
        Some(Backups::Unknown { why }) => {
            text += &format!("its backups in the store {}, if there are any, are as they were: {why}\n", store::NAME);
        }
    }
    text
}

/// What one logs in with.
pub(crate) fn credentials(found: &Credentials) -> String {
    format!(
        "wordpress  {}\n  user      {}\n  password  {}\ndatabase   (inside the cluster)\n  root      {}\n  wordpress {}\n",
        found.login_url,
        found.admin_user,
        found.admin_password,
        found.database_root_password,
        found.database_wordpress_password
    )
}

/// A lab as it is now.
pub(crate) fn status(seen: &StatusReport, paint: Paint) -> String {
    let mark = |good: bool| if good { paint.good("√") } else { paint.bad("×") };
    let mut text = format!("{} {}  {}\n\n", mark(seen.healthy()), paint.bold(seen.name.as_str()), seen.url);
    let yes = |good: bool| if good { "yes" } else { "no" }.to_owned();
    let nodes: Vec<_> =
        seen.nodes.iter().map(|node| [node.name.clone(), yes(node.ready), node.detail.clone()]).collect();
    text += &table(["NODE", "READY", ""], &nodes);
    let _ = write!(text, "\n{}", members(&seen.members));
    if let Some(roles) = &seen.roles {
        text += &self::roles(roles);
    }
    for wrong in &seen.wrong {
        // The others stand in the tables above.
        if let Wrong::Unkept(_) | Wrong::Together(_) | Wrong::Unwritten { .. } = wrong {
            let _ = writeln!(text, "database    {wrong}");
        }
    }
    for member in &seen.members {
        for folder in &member.aside {
            let _ = writeln!(text, "kept aside  what only {} had: {folder}", member.name);
        }
    }
    if !seen.etcd.is_empty() {
        let _ = write!(text, "\n{}", etcd(&seen.etcd));
    }
    let replicas = seen.replicas;
    let _ = write!(text, "\nwordpress   {} of {} replicas ready", replicas.ready, replicas.wanted);
    match seen.hpa {
        Some(hpa) => {
            let cpu = hpa.cpu.map_or_else(|| "no metric yet".to_owned(), |cpu| format!("{cpu} %"));
            let _ =
                write!(text, "\nautoscaler  {} to {} replicas, CPU {cpu} (target {} %)", hpa.min, hpa.max, hpa.target);
        }
        None => text += "\nautoscaler  not there",
    }
    match &seen.volume {
        Some(volume) => {
            let nodes = if volume.nodes.is_empty() { "no node".to_owned() } else { volume.nodes.join(", ") };
            let _ =
                write!(text, "\nvolume      {} ({}) {}, mounted on {nodes}", volume.claim, volume.size, volume.phase);
            if let Some(why) = &volume.unserved {
                let _ = write!(text, "\n            × its file server does not serve: {why}");
            }
        }
        None => text += "\nvolume      not there",
    }
    if let Some(declared) = &seen.declared {
        let _ = write!(text, "\ndeclared    {}", paint.warning(&declared.phase));
        let _ = declared.message.lines().try_for_each(|line| write!(text, "\n            {line}"));
    }
    if let Some(runs) = &seen.backups {
        let _ = write!(text, "\n{}", backups::status(runs));
    }
    if let Some(monitoring) = &seen.monitoring {
        text += &self::monitoring(monitoring, paint);
    }
    for unknown in &seen.unknown {
        let _ = write!(text, "\nunknown     {}: {}", unknown.what, unknown.why);
    }
    for member in seen.start_from() {
        let recover = Hint::Recover { lab: seen.name.clone(), member: member.to_owned() };
        let _ = write!(text, "\nhint        {}", spell::hint(&recover, &Asked::Other));
    }
    text + "\n"
}

/// The alerts that fire, each with what to do about it.
fn monitoring(seen: &Monitoring, paint: Paint) -> String {
    if let Some(why) = &seen.silent {
        return format!("\nalerts      unknown, Prometheus cannot be asked: {}", tame(why));
    }
    if seen.alerts.is_empty() {
        return "\nalerts      none".to_owned();
    }
    let mut text = String::new();
    for (nth, alert) in seen.alerts.iter().enumerate() {
        let name = if alert.severity == "critical" { paint.bad(&alert.name) } else { paint.warning(&alert.name) };
        let head = if nth == 0 { "alerts" } else { "" };
        let _ = write!(text, "\n{head:<12}{name} since {}: {}", alert.since, tame(&alert.summary));
        let _ = write!(text, "\n            {}", paint.dim(&tame(&alert.runbook)));
    }
    text
}

/// The members; what one has to know of them depends on the topology.
fn members(members: &[MemberSummary]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let role = |member: &MemberSummary| or_dash(Some(member.role.clone()).filter(|role| !role.is_empty()));
    if members.iter().any(|member| member.seqno.is_some()) {
        let row = |member: &MemberSummary| {
            let (size, seqno) = (member.cluster_size.map(|n| n.to_string()), member.seqno.map(|n| n.to_string()));
            let (name, node, state) = (member.name.clone(), member.node.clone(), member.state.clone());
            [name, node, role(member), or_dash(size), or_dash(seqno), state]
        };
        return table(
            ["MEMBER", "NODE", "ROLE", "SIZE", "SEQNO", "STATE"],
            &members.iter().map(row).collect::<Vec<_>>(),
        );
    }
    let row = |member: &MemberSummary| {
        let lag = or_dash(member.lag.map(|lag| format!("{lag:.1} s")));
        [member.name.clone(), member.node.clone(), role(member), lag, member.state.clone()]
    };
    table(["MEMBER", "NODE", "ROLE", "LAG", "STATE"], &members.iter().map(row).collect::<Vec<_>>())
}

/// etcd's members, and which of them leads.
fn etcd(members: &[EtcdMember]) -> String {
    let row = |member: &EtcdMember| {
        let role = if member.leader { "leader" } else { "-" };
        [member.name.clone(), member.node.clone(), role.to_owned(), member.state.clone()]
    };
    table(["ETCD", "NODE", "ROLE", "STATE"], &members.iter().map(row).collect::<Vec<_>>())
}

/// Who writes, since when and why, who decided it, and what is still to come.
fn roles(roles: &Roles) -> String {
    let mut text = String::new();
    if !roles.writer.is_empty() {
        let _ = write!(text, "\nwriter      {} since {}\n            {}", roles.writer, roles.since, roles.why);
    }
    if !roles.leader.is_empty() {
        let _ = write!(text, "\nagent       {} leads since {}", roles.leader, roles.leader_since);
    }
    if !roles.waits.is_empty() {
        let _ = write!(text, "\n            waits: {}", roles.waits);
    }
    if !roles.refused.is_empty() {
        let _ = write!(text, "\n            needs your decision: {}", roles.refused);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// What `up` would do and use.
pub(crate) fn plan(planned: &PlanReport, paint: Paint) -> String {
    let mut text = format!("up {} would\n", paint.bold(planned.name.as_str()));
    for step in &planned.steps {
        let mark = if step.changes { paint.warning("+") } else { paint.good("=") };
        let _ = writeln!(text, "  {mark} {:<10} {}", step.step.name(), step.what);
    }
    for change in &planned.changes {
        let how = if change.restarts { "by restarting members one by one" } else { "without a restart" };
        let _ = write!(text, "    {}: {} → {} ({how})", change.what, change.had, change.wanted);
        if let Some(who) = &change.written_by {
            let _ =
                write!(text, ", {}: {who} has written it, and only --take-over changes it", paint.warning("refused"));
        }
        text.push('\n');
    }
    // A digest is for programs; in a line it only pushes the reason out of sight.
    let short = |action: &str| match action.split_once("@sha256:") {
        Some((name, rest)) => format!("{name}{}", rest.trim_start_matches(|c: char| c.is_ascii_hexdigit())),
        None => action.to_owned(),
    };
    let images: Vec<_> =
        planned.images.iter().map(|image| [role(image.role), short(&image.action), image.because.clone()]).collect();
    let _ = write!(text, "\n{}", table(["IMAGE", "ACTION", "BECAUSE"], &images));
    let uses = &planned.uses;
    let ports = uses.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(", ");
    let _ =
        writeln!(text, "\nuses about {} of memory and {} of disk; ports {ports}", bytes(uses.memory), bytes(uses.disk));
    text
}

#[cfg(test)]
mod tests {
    use wplab::{
        actions::{
            down::Removed,
            plan::{PlannedChange, PlannedImage, Uses},
            status::{HpaStatus, NodeStatus, ReplicaStatus, Unknown, VolumeStatus},
        },
        parts::{images::Role, monitoring::Alert},
        spec::LabName,
    };

    use super::*;

    fn seen() -> StatusReport {
        let member = |name: &str, role: &str, lag| MemberSummary {
            name: name.into(),
            node: "wplab-worker".into(),
            role: role.into(),
            lag,
            cluster_size: None,
            seqno: None,
            state: "serving".into(),
            healthy: true,
            start_from: Vec::new(),
            aside: Vec::new(),
        };
        StatusReport {
            name: LabName::default(),
            state: Doing::Running,
            url: "http://127.0.0.1:8080".into(),
            nodes: vec![NodeStatus { name: "wplab-worker".into(), ready: true, detail: "v1.36.3".into() }],
            members: vec![member("db-0", "writer", None), member("db-1", "reader", Some(0.0))],
            etcd: Vec::new(),
            wrong: Vec::new(),
            roles: Some(Roles {
                writer: "db-0".into(),
                since: "2026-01-01T00:00:00Z".into(),
                why: "db-0 is open for writes".into(),
                leader: "agent-7d9f8b6c5-x2x4z".into(),
                leader_since: "2026-01-01T00:00:00Z".into(),
                ..Roles::default()
            }),
            replicas: ReplicaStatus { ready: 3, wanted: 3 },
            hpa: Some(HpaStatus { min: 3, max: 6, cpu: Some(4), target: 70 }),
            declared: None,
            backups: None,
            volume: Some(VolumeStatus {
                claim: "wp-content".into(),
                size: "1Gi".into(),
                phase: "Bound".into(),
                nodes: vec!["wplab-worker".into()],
                unserved: None,
            }),
            monitoring: None,
            unknown: Vec::new(),
        }
    }

    #[test]
    fn alerts_are_told_with_what_to_do_and_a_silent_prometheus_is_no_alert() {
        let alert = Alert {
            name: "WplabMemberDown".into(),
            severity: "warning".into(),
            since: "2026-01-01T00:00:00Z".into(),
            summary: "db-1 does not serve.".into(),
            runbook: "wplab logs wplab --of db-1".into(),
            labels: [].into(),
        };
        let mut report = seen();
        assert!(!status(&report, Paint::off()).contains("alerts"), "nobody watches");
        let of = |alerts, silent| Some(Monitoring { alerts, silent });
        report.monitoring = of(vec![alert], None);
        let told = "\nalerts      WplabMemberDown since 2026-01-01T00:00:00Z: db-1 does not serve.\n            wplab logs wplab --of db-1\n";
        let text = status(&report, Paint::off());
        assert!(text.contains(told), "{text}");
        report.monitoring = of(Vec::new(), None);
        assert!(status(&report, Paint::off()).contains("\nalerts      none\n"));
        report.monitoring = of(Vec::new(), Some("no answer within 10 s".into()));
        let text = status(&report, Paint::off());
        assert!(text.starts_with('√') && text.contains("Prometheus cannot be asked: no answer"), "{text}");
    }

    #[test]
    fn a_status_fits_a_narrow_screen() {
        let text = status(&seen(), Paint::off());
        assert!(text.starts_with("√ wplab  http://127.0.0.1:8080\n"), "{text}");
        assert!(text.contains("db-1    wplab-worker  reader  0.0 s  serving\n"), "{text}");
        assert!(text.contains("autoscaler  3 to 6 replicas, CPU 4 % (target 70 %)\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_writer_is_told_with_its_reason_and_who_decided() {
        let mut report = seen();
        let text = status(&report, Paint::off());
        let lines = "\nwriter      db-0 since 2026-01-01T00:00:00Z\n            db-0 is open for writes\n\
                     agent       agent-7d9f8b6c5-x2x4z leads since 2026-01-01T00:00:00Z\n";
        assert!(text.contains(lines), "{text}");
        if let Some(roles) = &mut report.roles {
            roles.refused = "two members are open".into();
        }
        assert!(status(&report, Paint::off()).contains("needs your decision: two members are open"));
    }

    #[test]
    fn a_file_server_that_is_away_is_told_and_makes_the_lab_unhealthy() {
        let mut report = seen();
        report.volume.as_mut().expect("a volume").unserved = Some("0 of 1 members are ready".into());
        let text = status(&report, Paint::off());
        assert!(text.starts_with('×') && text.contains("its file server does not serve: 0 of 1 members"), "{text}");
    }

    #[test]
    fn what_a_member_alone_had_is_said_to_be_kept() {
        let mut report = seen();
        report.members[1].aside.push("/var/lib/mysql/aside/7-1".into());
        let text = status(&report, Paint::off());
        assert!(text.contains("kept aside  what only db-1 had: /var/lib/mysql/aside/7-1\n"), "{text}");
    }

    #[test]
    fn members_of_a_galera_cluster_have_columns_of_their_own() {
        let mut galera = seen();
        galera.members[0].seqno = Some(42);
        galera.members[0].cluster_size = Some(3);
        let text = status(&galera, Paint::off());
        assert!(text.contains("MEMBER  NODE          ROLE    SIZE  SEQNO  STATE\n"), "{text}");
        assert!(text.contains("db-0    wplab-worker  writer  3     42     serving\n"), "{text}");
        assert!(text.contains("db-1    wplab-worker  reader  -     -      serving\n"), "{text}");
    }

    #[test]
    fn whatever_is_wrong_with_the_database_is_shown_once_and_makes_the_lab_unhealthy() {
        let healthy = seen();
        assert!(healthy.healthy());
        let shown = |wrong: Wrong| {
            let seen = StatusReport { wrong: vec![wrong], ..healthy.clone() };
            assert!(!seen.healthy() && status(&seen, Paint::off()).starts_with('×'));
            status(&seen, Paint::off())
        };
        assert!(shown(Wrong::Together("2 of 3 members exist".into())).contains("\ndatabase    2 of 3 members exist\n"));
        assert!(shown(Wrong::Unkept("no agent leads yet".into())).contains("\ndatabase    no agent leads yet\n"));
        let beside = [
            Wrong::Refused("in roles".into()),
            Wrong::Waits("in roles".into()),
            Wrong::Member { name: "db-1".into(), why: "in its row".into() },
        ];
        for wrong in beside {
            assert!(!shown(wrong).contains("database    "));
        }
    }

    #[test]
    fn what_could_not_be_looked_at_is_told_with_its_reason() {
        let mut half = seen();
        half.unknown.push(Unknown { what: "members", why: "the API server did not answer within 15 s".into() });
        let text = status(&half, Paint::off());
        assert!(
            text.starts_with('×') && text.ends_with("unknown     members: the API server did not answer within 15 s\n"),
            "{text}"
        );
    }

    #[test]
    fn a_plan_tells_the_reason_beside_the_action_and_no_digest() {
        let image =
            |role, action: &str, because: &str| PlannedImage { role, action: action.into(), because: because.into() };
        let digest = "sha256:0123456789abcdef";
        let planned = PlanReport {
            name: LabName::default(),
            steps: Vec::new(),
            changes: vec![PlannedChange {
                what: "database.settings.max_connections".into(),
                had: "60".into(),
                wanted: "61".into(),
                restarts: false,
                written_by: None,
            }],
            images: vec![
                image(Role::Node, &format!("pull kindest/node:v1@{digest}"), "many minutes to build"),
                image(Role::Nfs, &format!("present (nfs:1@{digest})"), "Docker has it"),
                image(Role::Tool, "made of this executable", ""),
            ],
            uses: Uses::default(),
        };
        let text = plan(&planned, Paint::off());
        let wanted = "IMAGE  ACTION                   BECAUSE\n\
                      node   pull kindest/node:v1     many minutes to build\n\
                      nfs    present (nfs:1)          Docker has it\n\
                      tool   made of this executable\n";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("    database.settings.max_connections: 60 → 61 (without a restart)\n"), "{text}");
    }

    #[test]
    fn down_says_what_it_removed_or_that_nothing_was_there() {
        let mut gone = DownReport { name: LabName::default(), removed: Vec::new(), backups: None };
        assert_eq!(down(&gone), "there is nothing of a lab wplab on this machine\n");
        gone.removed.push(Removed { kind: "container", name: "wplab-worker".into() });
        assert_eq!(down(&gone), "removed container wplab-worker\n");
        gone.backups = Some(Backups::Kept { count: 3 });
        assert_eq!(
            down(&gone),
            "removed container wplab-worker\nkept 3 backups of lab wplab in the store wplab-backups\n"
        );
        gone.removed.clear();
        gone.backups = Some(Backups::Removed { count: 1, bytes: 2048, store: true });
        let text = down(&gone);
        assert!(
            text.ends_with(
                "\nremoved 1 backup of lab wplab, 2.0 KiB\nremoved store wplab-backups, which had no others\n"
            ),
            "{text}"
        );
        gone.backups = Some(Backups::Unknown { why: "the store does not run".into() });
        assert!(down(&gone).contains("are as they were: the store does not run"), "{}", down(&gone));
    }
}
