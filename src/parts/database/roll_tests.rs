use super::*;
use crate::parts::database::objects::TEMPLATE;

fn set(hash: &str, former: bool) -> StatefulSet {
    let annotations = if former { json!({FORMER: "{}"}) } else { json!({}) };
    let volumes = json!([{"name": "state", "configMap": {"name": "db-state"}}, {"name": "config", "configMap": {"name": "db-config-1"}}]);
    let template =
        json!({"metadata": {"annotations": {TEMPLATE: hash}}, "spec": {"containers": [], "volumes": volumes}});
    serde_json::from_value(json!({
        "metadata": {"name": "db", "annotations": annotations},
        "spec": {"selector": {}, "serviceName": "x", "template": template},
    }))
    .expect("a StatefulSet")
}

fn pod(nth: u8, hash: &str, ready: bool) -> Pod {
    let ready = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
    serde_json::from_value(json!({
        "metadata": {"name": format!("db-{nth}"), "annotations": {TEMPLATE: hash}},
        "status": {"phase": "Running", "conditions": ready},
    }))
    .expect("a pod")
}

#[test]
fn readers_come_first_and_the_writer_when_another_one_writes() {
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let restart = |name: &str| Some(Next::Restart(name.to_owned()));
    let all = names(&["db-0", "db-1", "db-2"]);
    assert_eq!(next(&all, "db-0", 3), restart("db-2"));
    assert_eq!(next(&all, "db-2", 3), restart("db-1"));
    assert_eq!(next(&names(&["db-0", "db-1"]), "db-0", 3), restart("db-1"));
    assert_eq!(next(&names(&["db-0"]), "db-0", 3), Some(Next::Relieve));
    assert_eq!(next(&names(&["db-0"]), "db-1", 3), restart("db-0"), "it is a reader by now");
    assert_eq!(next(&names(&["db-0"]), "db-0", 1), restart("db-0"), "there is nobody else");
    assert_eq!(next(&[], "db-0", 3), None);
}

#[test]
fn only_the_first_one_is_the_proof_and_only_where_there_is_something_to_go_back_to() {
    let (new, alone) = (set("b", true), set("b", false));
    let pods = [pod(0, "a", true), pod(1, "a", true), pod(2, "b", false)];
    assert_eq!(canary(&new, &pods).as_deref(), Some("db-2"));
    assert_eq!(canary(&alone, &pods), None);
    assert!(proving(&new, &pods) && proving(&new, &pods[..2]) && !proving(&alone, &pods));
    let more = [pod(0, "a", true), pod(1, "b", false), pod(2, "b", true)];
    assert_eq!(canary(&new, &more), None, "the first one has proven it");
    assert!(!proving(&new, &more));
    assert!(proven(&set("a", false), &pods) && !proven(&new, &pods), "nobody has been well with it yet");
}

#[test]
fn the_members_settings_are_found_among_what_they_mount() {
    assert_eq!(config_name(&set("a", false)).as_deref(), Some("db-config-1"));
}

#[test]
fn the_last_words_of_a_server_are_its_errors_once_each() {
    let mysql = "2026-01-01T00:00:00.1Z 0 [System] [MY-010116] [Server] starting\n\
                 2026-01-01T00:00:00.2Z 0 [ERROR] [MY-000067] [Server] unknown variable 'no_such_option=1'.\n\
                 2026-01-01T00:00:00.3Z 0 [ERROR] [MY-010119] [Server] Aborting\n\
                 mysqld ended by itself\n\
                 2026-01-01T00:00:01.2Z 0 [ERROR] [MY-000067] [Server] unknown variable 'no_such_option=1'.\n";
    assert_eq!(complaints(mysql), "unknown variable 'no_such_option=1'");
    let mariadb = "2026-01-01  0:00:00 0 [ERROR] /usr/sbin/mariadbd: unknown variable 'no_such_option=1'\n\
                   2026-01-01  0:00:00 0 [ERROR] Aborting\n\
                   2026-01-01  0:00:01 1 [ERROR] WSREP: sst_received failed: State wait was interrupted\n";
    assert_eq!(complaints(mariadb), "/usr/sbin/mariadbd: unknown variable 'no_such_option=1'");
    assert_eq!(complaints("1 [ERROR] WSREP: a\n1 [ERROR] WSREP: b\n"), "WSREP: a / WSREP: b");
    assert_eq!(complaints("all is well"), "");
}
