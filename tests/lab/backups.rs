//! Backups: made while somebody writes, cut off, damaged, put in the place of what a lab has, and the beginning of a lab of the other
//! topology when the first one is gone.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use wplab::inside::{
    backup::objects::{Backup, BackupSchedule, Phase},
    kinds::Database,
};

use super::{
    lab::{Engine, Lab, say},
    ledger::{self, Ledger},
    snapshots::php,
    verify,
};

/// A file that takes a moment to pack, of bytes that do not become fewer.
const BIG: &str = "$file = fopen(WP_CONTENT_DIR . '/uploads/big.bin', 'w'); for ($n = 0; $n < 320; $n++) { fwrite($file, random_bytes(1 << 20)); } fclose($file);";

/// What the runner's process is called.
const RUNNER: &str = "/wplab backups ";

fn runner(lab: &Lab) -> String {
    let pods: Vec<Pod> = lab.list_in("wplab", &ListParams::default().labels("app.kubernetes.io/component=backup"));
    pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).expect("a runner").name_any()
}

fn list(lab: &Lab) -> Value {
    lab.run(&["backup", "list", "--lab", lab.name(), "-o", "json"]).assert_code(0).json()
}

fn ids(listed: &Value) -> Vec<String> {
    let backups = listed["backups"].as_array().expect("backups");
    backups.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
}

/// The runner is lost while a backup is made, and while one is restored: neither leaves anything behind, and the site is what it was.
fn whoever_is_cut_off_leaves_nothing(lab: &Lab, id: &str) {
    php(lab, BIG);
    let before = ids(&list(lab));
    let create = ["backup", "create", lab.name()];
    let lost = lab.run_while(&create, "wp-content: ", || lab.kill(RUNNER, &[&runner(lab)]));
    assert_eq!(lost.code, Some(4), "{}", lost.stderr);
    assert!(lost.stderr.contains("what it had sent is removed"), "{}", lost.stderr);
    let after = list(lab);
    assert_eq!((ids(&after), after["unfinished"].as_array().map(Vec::len)), (before, Some(0)), "{after}");

    php(lab, "unlink(WP_CONTENT_DIR . '/uploads/big.bin'); update_option('blogdescription', 'later');");
    let restore = ["backup", "restore", id, "--lab", lab.name()];
    let lost = lab.run_while(&restore, "waiting for the restore: begins", || lab.kill(RUNNER, &[&runner(lab)]));
    assert_eq!(lost.code, Some(4), "{}", lost.stderr);
    assert!(lost.stderr.contains("nothing of the site was touched"), "{}", lost.stderr);
    assert_eq!(php(lab, "echo get_option('blogdescription');"), "later");
    let left = php(lab, "echo implode(' ', glob(WP_CONTENT_DIR . '/.wplab-{restor,before}*', GLOB_BRACE));");
    assert_eq!(left, "", "nothing is left beside the site");
}

/// A backup that is not what it was is refused, and the site is what it was.
fn what_is_damaged_is_refused(lab: &Lab, objects: &std::path::Path, id: &str) {
    let restore = ["backup", "restore", id, "--lab", lab.name()];
    let part = objects.join("database.00000");
    let whole = fs::read(&part).expect("an object");
    fs::write(&part, &whole[..whole.len() / 2]).expect("written");
    let refused = lab.run(&restore);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("database.00000 has"), "told before the lab hears of it: {}", refused.stderr);
    let mut other = whole.clone();
    other[whole.len() / 2] ^= 1;
    fs::write(&part, &other).expect("written");
    let refused = lab.run(&restore);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("database.00000 has other bytes than were sent"), "{}", refused.stderr);
    assert_eq!(php(lab, "echo get_option('blogdescription');"), "later");
    fs::write(&part, &whole).expect("written");
}

/// Whatever is waited for here comes within seconds on a machine with nothing else to do.
const ARCHIVED: Duration = Duration::from_mins(2);

/// What plugins do besides: go back and on in a transaction, make tables with dates that a strict server refuses.
const PLUGIN: &str = "global $wpdb; $wpdb->query('START TRANSACTION'); add_option('kept_1', 'yes'); $wpdb->query('SAVEPOINT s'); \
    add_option('undone', 'yes'); $wpdb->query('ROLLBACK TO SAVEPOINT s'); add_option('kept_2', 'yes'); $wpdb->query('COMMIT'); \
    $wpdb->query(\"CREATE TABLE wp_dated (id int PRIMARY KEY, at datetime NOT NULL DEFAULT '0000-00-00 00:00:00')\"); \
    $wpdb->query('INSERT INTO wp_dated (id) VALUES (1)');";
/// What there is of it.
const OF_PLUGIN: &str = "global $wpdb; echo implode(' ', [get_option('kept_1'), get_option('undone', 'no'), get_option('kept_2'), \
    $wpdb->get_var('SELECT at FROM wp_dated')]);";

/// What works by itself in a database: only a lab that begins with a backup takes it.
const TRIGGER: &str = "global $wpdb; $wpdb->query('CREATE TRIGGER kept BEFORE INSERT ON wp_links FOR EACH ROW \
    SET NEW.link_name = UPPER(NEW.link_name)'); echo $wpdb->last_error;";
/// Whether it works; it is removed.
const OF_TRIGGER: &str = "global $wpdb; $wpdb->insert('wp_links', ['link_name' => 'kept']); \
    echo $wpdb->get_var('SELECT link_name FROM wp_links ORDER BY link_id DESC LIMIT 1'); $wpdb->query('DROP TRIGGER kept');";

/// Waits until everything that was acknowledged before a moment is archived.
fn until_archived(lab: &Lab, moment: Timestamp) {
    let begun = Instant::now();
    loop {
        let status = lab.run(&["status", lab.name(), "-o", "json"]).json();
        let reached = status["backups"]["archive"]["reached"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        if reached.is_some_and(|reached| reached > moment) {
            return;
        }
        assert!(begun.elapsed() < ARCHIVED, "nothing is archived: {}", status["backups"]);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Posts before and after another member has become the writer; then a table is dropped. The lab is put back to the second before, and
/// not when a piece of what was archived is missing.
fn to_the_second_before(lab: &Lab, folder: &std::path::Path) {
    let made = lab.run(&["backup", "create", lab.name(), "-o", "json"]).assert_code(0).json();
    let objects = folder.join(lab.name()).join(made["id"].as_str().expect("an id"));
    let post = |title: &str| {
        php(lab, &format!("echo wp_insert_post(['post_title' => '{title}', 'post_status' => 'publish']);"))
    };
    let before = post("before the failover");
    until_archived(lab, Timestamp::now());
    lab.run(&["failover", lab.name()]).assert_code(0);
    // The way to the new writer is known on every node within seconds.
    let begun = Instant::now();
    let after = loop {
        let said = post("after the failover");
        if said.parse::<u64>().is_ok() {
            break said;
        }
        assert!(begun.elapsed() < ARCHIVED, "nothing can be posted: {said}");
    };
    php(lab, PLUGIN);
    let moment = Timestamp::now();
    // Commit times are those of other clocks only where those are other ones.
    std::thread::sleep(Duration::from_secs(1));
    php(lab, "global $wpdb; $wpdb->query('DELETE FROM wp_posts'); $wpdb->query('DROP TABLE wp_links');");
    until_archived(lab, Timestamp::now());

    let to = moment.to_string();
    let restore = ["backup", "restore", "latest", "--to", &to, "--lab", lab.name(), "-o", "json"];
    let mut pieces: Vec<_> =
        fs::read_dir(&objects).expect("a folder").map(|entry| entry.expect("one").path()).collect();
    pieces.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-0000000001")));
    assert!(pieces.len() >= 2, "a piece and its note: {pieces:?}");
    let aside = tempfile::tempdir().expect("a folder");
    for path in &pieces {
        fs::copy(path, aside.path().join(path.file_name().expect("a name"))).expect("copied");
        fs::remove_file(path).expect("removed");
    }
    let refused = lab.run(&restore);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("lacks ") && refused.stderr.contains(":"), "{}", refused.stderr);
    assert_eq!(
        php(lab, "global $wpdb; echo $wpdb->get_var('SELECT COUNT(*) FROM wp_posts');"),
        "0",
        "nothing was touched"
    );
    for path in &pieces {
        fs::copy(aside.path().join(path.file_name().expect("a name")), path).expect("put back");
    }
    let done = lab.run(&restore).assert_code(0).json();
    say(&format!("put back to {to}: {} rows in {} s", done["restored"]["rows"], done["restored"]["seconds"]));
    for id in [before, after] {
        assert_eq!(php(lab, &format!("echo get_post_status({id});")), "publish");
    }
    assert_eq!(php(lab, "global $wpdb; echo $wpdb->get_var(\"SHOW TABLES LIKE 'wp_links'\");"), "wp_links");
    assert_eq!(php(lab, OF_PLUGIN), "yes no yes 0000-00-00 00:00:00");
}

/// The same of a cluster: the member that was read from is lost meanwhile, and another one goes on under the same numbers. Its log knows
/// seconds.
fn a_cluster_is_put_back_to_the_second_before(lab: &Lab) {
    let made = lab.run(&["backup", "create", lab.name(), "-o", "json"]).assert_code(0).json();
    assert_eq!(made["exact"], true, "{made}");
    let post = |title: &str| {
        php(lab, &format!("echo wp_insert_post(['post_title' => '{title}', 'post_status' => 'publish']);"))
    };
    let before = post("before the loss");
    until_archived(lab, Timestamp::now());
    lab.kill("mariadbd --defaults-file", &["db-2"]);
    let after = post("after the loss");
    php(lab, PLUGIN);
    let moment = Timestamp::now() + Duration::from_secs(1);
    std::thread::sleep(Duration::from_secs(2));
    php(lab, "global $wpdb; $wpdb->query('DELETE FROM wp_posts'); $wpdb->query('DROP TABLE wp_links');");
    until_archived(lab, Timestamp::now());
    let to = moment.to_string();
    let restore = ["backup", "restore", "latest", "--to", &to, "--lab", lab.name(), "-o", "json"];
    let done = lab.run(&restore).assert_code(0).json();
    say(&format!("put back to {to}: {} rows in {} s", done["restored"]["rows"], done["restored"]["seconds"]));
    for id in [before, after] {
        assert_eq!(php(lab, &format!("echo get_post_status({id});")), "publish");
    }
    assert_eq!(php(lab, "global $wpdb; echo $wpdb->get_var(\"SHOW TABLES LIKE 'wp_links'\");"), "wp_links");
    assert_eq!(php(lab, OF_PLUGIN), "yes no yes 0000-00-00 00:00:00");
}

/// What a schedule asks for is made and what it does not keep goes, with nobody at the tool. What was missed is due at once; whoever removes
/// the object of the last one makes it due again, which spares the wait for another minute.
fn a_schedule_keeps_its_word(lab: &Lab) {
    let by_hand: BTreeSet<String> = ids(&list(lab)).into_iter().collect();
    let (schedules, backups): (Api<BackupSchedule>, Api<Backup>) =
        (Api::namespaced(lab.client(), "wplab"), Api::namespaced(lab.client(), "wplab"));
    let set = |spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        lab.block_on(schedules.patch("lab", &PatchParams::default(), &patch)).expect("a schedule");
    };
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < ARCHIVED, "{what} does not come");
            std::thread::sleep(Duration::from_millis(500));
        }
    };
    let status = || lab.block_on(schedules.get("lab")).expect("a schedule").status.unwrap_or_default();
    set(json!({"schedule": "nightly", "keep": "some"}));
    until("what is wrong", &|| status().message.contains("schedule: ") && status().message.contains("keep: "));
    set(json!({"schedule": "* * * * *", "keep": "1 last"}));
    let done = || {
        let all = lab.block_on(backups.list(&ListParams::default())).expect("backups").items;
        let scheduled = all.into_iter().filter(|one| one.spec.scheduled);
        let done = scheduled
            .filter_map(|one| Some((one.name_any(), one.status.filter(|s| s.common.phase == Phase::Complete)?.id?)));
        done.collect::<Vec<_>>()
    };
    until("a scheduled backup", &|| !done().is_empty());
    let (object, first) = done().remove(0);
    lab.block_on(backups.delete(&object, &DeleteParams::default())).expect("removed");
    until("the next one", &|| done().iter().any(|(_, id)| *id != first));
    set(json!({"suspend": true}));
    until("its end", &|| status().next.is_none());
    let kept: BTreeSet<String> = ids(&list(lab)).into_iter().collect();
    assert!(
        kept.is_superset(&by_hand) && !kept.contains(&first),
        "{first} is not kept, what was made by hand is: {kept:?}"
    );
    assert_eq!(kept.len(), by_hand.len() + 1, "one is kept: {kept:?}");
    // Whoever asks for a backup, or says something else, is not kept from it by what others have written.
    set(json!({"keep": "9 last"}));
    lab.run(&["backup", "create", lab.name()]).assert_code(0);
    lab.run(&["backup", "schedule", "--lab", lab.name(), "--keep", "8 last"]).assert_code(0);
    let spec = lab.block_on(schedules.get("lab")).expect("a schedule").spec;
    assert_eq!((spec.schedule.as_str(), spec.keep.as_str(), spec.suspend), ("* * * * *", "8 last", Some(true)));
    let told = lab.run(&["status", lab.name(), "-o", "json"]).json();
    assert_eq!((&told["backups"]["suspended"], &told["backups"]["next"]), (&true.into(), &Value::Null), "{told}");
    let database: Database = lab.block_on(Api::namespaced(lab.client(), "wplab").get("db")).expect("a Database");
    let status = database.status.expect("a status");
    let conditions: BTreeSet<_> =
        status.conditions.iter().map(|one| (one.type_.as_str(), one.status.as_str())).collect();
    let wanted = [("Ready", "True"), ("BackupsCurrent", "True"), ("ArchiveContinuous", "True")];
    assert!(status.last_backup.is_some() && wanted.iter().all(|one| conditions.contains(one)), "{status:?}");
}

#[test]
#[ignore = "needs Docker"]
fn a_backup_outlives_its_lab_and_becomes_one_of_the_other_topology() {
    let (lab, again) = (Lab::new("wplab-backed"), Lab::new("wplab-again"));
    let before = Engine::snapshot();
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("file://{}", folder.path().display());
    let small = format!(
        "database: {{members: 2}}\ncluster: {{workers: 2}}\nwordpress: {{replicas: 2}}\nautoscale: {{min: 2, max: 3}}\nbackup: {{destination: {store}, archive: on}}\n"
    );
    let url = lab.up(&["-f", &lab.file(&small)]).assert_code(0).json()["url"].as_str().expect("a URL").to_owned();
    let post = php(
        &lab,
        "echo wp_insert_post(['post_title' => 'kept', 'post_status' => 'publish', \
         'post_content' => '<a href=\"' . home_url('/kept/') . '\">here</a>']);",
    );
    let picture = php(
        &lab,
        "file_put_contents(WP_CONTENT_DIR . '/uploads/kept.bin', random_bytes(300000)); echo md5_file(WP_CONTENT_DIR . '/uploads/kept.bin');",
    );

    // While somebody writes: what was acknowledged before is in it.
    let ledger = lab.block_on(Ledger::open(lab.client(), "ledger_of_backups"));
    lab.block_on(ledger.until_written(50));
    let then = ledger.first(ledger.len());
    let made = lab.run(&["backup", "create", lab.name(), "-o", "json"]).assert_code(0).json();
    lab.block_on(ledger.until_written(20));
    let rows = lab.block_on(ledger.close(&["db-0", "db-1"]));
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((&made["exact"], &made["lab"]), (&true.into(), &lab.name().into()), "{made}");
    say(&format!("{rows} rows, {} of them before the backup, which took {} s", then.len(), made["seconds"]));
    let objects: PathBuf = folder.path().join(lab.name()).join(&id);
    assert!(objects.join("manifest.json").exists(), "what is sent from inside is in the folder");

    whoever_is_cut_off_leaves_nothing(&lab, &id);
    what_is_damaged_is_refused(&lab, &objects, &id);
    verify::a_damaged_backup_is_found(&lab, &objects, &id);

    // In the place of what there is.
    php(&lab, &format!("wp_delete_post({post}, true); unlink(WP_CONTENT_DIR . '/uploads/kept.bin');"));
    let done = lab.run(&["backup", "restore", &id, "--lab", lab.name(), "-o", "json"]).assert_code(0).json();
    assert_eq!(done["restored"]["id"], made["id"], "{done}");
    assert_eq!(php(&lab, "echo md5_file(WP_CONTENT_DIR . '/uploads/kept.bin');"), picture);
    assert_ne!(php(&lab, "echo get_option('blogdescription');"), "later", "what came later is gone");
    let (code, page) = lab.get(&format!("{url}/?p={post}"));
    assert!(code == 200 && page.contains(&format!("{url}/kept/")), "{code} {page}");

    to_the_second_before(&lab, folder.path());
    a_schedule_keeps_its_word(&lab);

    // The lab is gone, its backup is not.
    assert_eq!(php(&lab, TRIGGER), "");
    let made = lab.run(&["backup", "create", lab.name(), "-o", "json"]).assert_code(0).json();
    let id = made["id"].as_str().expect("an id").to_owned();
    let written = all(&lab, "db-0");
    assert!(then.is_subset(&written) && written.len() < rows, "{} of {rows} rows", written.len());
    lab.run(&["down", lab.name()]).assert_code(0);
    let galera = "database: {topology: galera, members: 3}\ncluster: {workers: 3}\nwordpress: {replicas: 2}\nautoscale: {min: 2, max: 3}\nbackup: {archive: on}\n";
    let from = format!("{store}/{}/{id}", lab.name());
    let up = again.up(&["-f", &again.file(galera), "--from", &from]).assert_code(0).json();
    let other = up["url"].as_str().expect("a URL").to_owned();
    assert_eq!(all(&again, "db-2"), written, "every row");
    assert_eq!(php(&again, "echo md5_file(WP_CONTENT_DIR . '/uploads/kept.bin');"), picture);
    let (code, page) = again.get(&format!("{other}/?p={post}"));
    assert!(code == 200 && page.contains(&format!("{other}/kept/")), "{code} {page}");
    // A lab that is used keeps what it has.
    php(&again, "update_option('blogdescription', 'mine');");
    let twice = again.up(&["-f", &again.file(galera), "--from", &from]);
    twice.assert_code(0);
    assert!(twice.stderr.contains("keeps what it has") && twice.stderr.contains("backup restore"), "{}", twice.stderr);
    assert_eq!(php(&again, "echo get_option('blogdescription');"), "mine");
    assert_eq!(php(&again, OF_TRIGGER), "KEPT");
    a_cluster_is_put_back_to_the_second_before(&again);
    // Also the store that it was given for its own backups, if no other lab has any there.
    again.run(&["down", again.name(), "--purge-backups"]).assert_code(0);
    assert_eq!(Engine::snapshot(), before, "nothing is left");
}

/// The rows of the ledger that a member has.
fn all(lab: &Lab, member: &str) -> BTreeSet<u64> {
    let query = "SELECT CAST(JSON_ARRAYAGG(id) AS CHAR) FROM ledger_of_backups";
    let rows = lab.block_on(ledger::ask(lab.client(), member, query));
    rows.trim_matches(['[', ']']).split(',').map(|id| id.trim().parse().expect("an id")).collect()
}
