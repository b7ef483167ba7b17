//! Golden roots: what nodes begin with, who is killed meanwhile, and whose clones they are.

use super::lab::{Engine, Lab, say, thoroughly};

/// What a script says on the volume, which the container of a lab holds.
fn on_the_volume(lab: &Lab, script: &str) -> Vec<String> {
    let holder = format!("wplab-roots.{}", lab.name());
    let said = lab.block_on(Engine::sh(&holder, &format!("cd /roots && {script}")));
    said.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs Docker"]
fn nodes_begin_with_clones_that_nobody_else_writes_to() {
    // Two minutes and a half; every other lab of these tests begins with such clones, too.
    if !thoroughly() {
        say("this is only run by `just test-lab-thoroughly`");
        return;
    }
    let (lab, other) = (Lab::new("wplab-golden"), Lab::new("wplab-other"));
    let before = Engine::snapshot();
    lab.run(&["images", "warm"]).assert_code(0);
    let planned = lab.run(&["plan", lab.name(), "-o", "json"]);
    assert!(planned.assert_code(0).stdout.contains("cloned from a golden root that is here"), "{}", planned.stdout);

    // Killed while it clones, and again when kind has begun: the next one has to do with neither.
    for moment in ["cloning golden root", "Preparing nodes"] {
        lab.up_until(&[], moment, "KILL");
    }
    let events = lab.file("");
    let up = lab.up(&["--events", &events]);
    up.assert_code(0);
    let events = std::fs::read_to_string(events).expect("the events were written");
    let events: Vec<serde_json::Value> = events.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let loaded = events.iter().find(|e| e["event"] == "finished" && e["step"] == "load").expect("a step");
    assert_eq!(loaded["outcome"], "already-there", "nothing was streamed: {loaded}");
    let sent = events.iter().find(|e| e["note"].as_str().is_some_and(|note| note.starts_with("loading")));
    assert!(sent.is_none(), "not even into a golden root: {sent:?}");

    // What is shared is never written to, and what is written to is not shared.
    assert_eq!(on_the_volume(&lab, "find . -name '*.db' -links +1"), Vec::<String>::new());
    let databases = on_the_volume(&lab, &format!("find clones/{} -name meta.db", lab.name()));
    assert_eq!(databases.len(), 4, "each node has its own: {databases:?}");
    let shared = on_the_volume(&lab, "find clones -path '*/blobs/*' -type f -links -2 | head");
    assert_eq!(shared, Vec::<String>::new(), "no blob is a copy");
    // The volume is everybody's: what others left there is theirs.
    let left = format!("find building trash -mindepth 1 -maxdepth 1 -name 'wplab-roots.{}*'", lab.name());
    assert_eq!(on_the_volume(&lab, &left), Vec::<String>::new(), "nothing is left of who was killed");
    let clones = format!("cd clones && find {} {} -maxdepth 0 2>/dev/null || :", lab.name(), other.name());

    // Another lab's clones come and go beside them.
    other.up_until(&[], "Preparing nodes", "KILL");
    assert_eq!(on_the_volume(&lab, &clones), [lab.name(), other.name()]);
    other.run(&["down", other.name()]).assert_code(0);
    assert_eq!(on_the_volume(&lab, &clones), [lab.name()]);
    lab.run(&["images", "prune", "--all"]).assert_code(0);
    assert_eq!(on_the_volume(&lab, "ls golden"), Vec::<String>::new());
    lab.run(&["smoke", lab.name()]).assert_code(0);

    lab.run(&["down", lab.name()]).assert_code(0);
    assert_eq!(Engine::snapshot(), before);
}
