//! The executable as a user meets it: help, wrong usage, wrong lab files. Nothing here needs Docker.

#[path = "support/commands.rs"]
mod commands;
mod support;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use commands::COMMANDS;
use support::golden;

fn wplab(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wplab"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).env("COLUMNS", "100");
    command.env_remove("NO_COLOR").env("XDG_DATA_HOME", folder).env("XDG_CACHE_HOME", folder).env("HOME", folder);
    command
}

fn run(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    wplab(args, folder.path()).output().expect("wplab runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Runs with a lab file of this text; returns the exit code and standard error.
fn with_file(text: &[u8], args: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("lab.yaml"), text).expect("a lab file");
    let output = wplab(args, folder.path()).output().expect("wplab runs");
    assert_eq!(stdout(&output), "", "nothing on standard output");
    (output.status.code(), stderr(&output))
}

#[test]
fn help_is_data_and_has_examples() {
    let helps = [
        ("help", &["--help"][..]),
        ("help-up", &["up", "--help"]),
        ("help-images", &["images", "--help"]),
        ("help-chaos", &["chaos", "--help"]),
        ("help-chaos-run", &["chaos", "run", "--help"]),
        ("help-scale", &["scale", "--help"]),
        ("help-load", &["load", "--help"]),
        ("help-snapshot", &["snapshot", "--help"]),
        ("help-snapshot-restore", &["snapshot", "restore", "--help"]),
    ];
    for (name, args) in helps {
        let output = run(args);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
        golden(&format!("cli/{name}.txt"), &stdout(&output));
    }
}

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS.into_iter().chain(["install", "member"]) {
        let output = run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(stdout(&output).contains("Usage: wplab"), "{command}");
    }
    let top = stdout(&run(&["--help"]));
    let listed = top.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that goes on from the one before is indented further.
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let listed: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(listed[..COMMANDS.len()], COMMANDS, "tests/support/commands.rs");
    assert!(listed[COMMANDS.len()..].iter().all(|other| *other == "help"), "{listed:?}");
    assert!(
        !top.contains("runc-shim") && !top.contains("\n  member") && !top.contains("\n  install"),
        "what runs inside a cluster is hidden"
    );
}

#[test]
fn no_command_is_wrong_usage_and_shows_the_help() {
    let output = run(&[]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    assert!(stderr(&output).contains("Usage: wplab"));
}

#[test]
fn wrong_usage_is_exit_code_2_and_one_message() {
    let cases: &[(&str, &[&str])] = &[
        ("unknown-command", &["stauts"]),
        ("unknown-flag", &["up", "--worker", "3"]),
        ("workers", &["up", "--workers", "1"]),
        ("name", &["down", "My_Lab"]),
        ("images", &["up", "--images", "docker"]),
        ("topology", &["up", "--topology", "galaxy"]),
        ("flavour", &["up", "--topology", "galera", "--flavour", "mysql"]),
        ("flavour-without-galera", &["up", "--flavour", "mariadb"]),
        ("workers-of-galera", &["up", "--topology", "galera", "--workers", "2"]),
        ("role", &["images", "build", "database"]),
        ("thorough-role", &["images", "check", "nfs", "--thorough"]),
        ("thorough-roles", &["images", "check", "mariadb", "percona", "--thorough"]),
        ("thorough-of-all", &["images", "check", "--thorough"]),
        ("report-nowhere", &["images", "check", "mariadb", "--thorough", "--report", "/nowhere/report.md"]),
        ("report-of-what", &["images", "check", "mariadb", "--report", "report.md"]),
        ("timeout", &["up", "--timeout", "10"]),
        ("mirror", &["up", "--registry-mirror", "https://mirror.example/path"]),
        ("yes-without-fix", &["up", "--yes"]),
        ("output", &["list", "-o", "yaml"]),
        ("quiet-and-verbose", &["list", "-q", "-v"]),
        ("bundle", &["images", "save", "bundle.zip"]),
        ("shell", &["completions", "csh"]),
        ("scenario", &["chaos", "run", "writer-proces", "./missing.yaml"]),
        ("report-kind", &["chaos", "run", "--all", "--report", "pdf=drills.pdf"]),
        ("no-scenario", &["chaos", "run"]),
        ("bounds-of-what", &["scale", "wordpress", "two..5"]),
        ("bounds-the-other-way", &["scale", "wordpress", "5..2"]),
        ("too-few-workers", &["scale", "workers", "1"]),
        ("scale-of-nothing", &["scale", "wordpress"]),
        ("no-users", &["load", "--users", "0"]),
        ("users-and-rate", &["load", "--users", "5", "--rate", "5"]),
        ("rate", &["load", "--rate", "99999999999"]),
        ("duration", &["load", "--duration", "60"]),
        ("long-ramp", &["load", "--ramp", "1m", "--duration", "30s"]),
        ("end-of-a-proof", &["load", "--prove-hpa", "--duration", "1m"]),
        ("load-report", &["load", "--report", "load.html"]),
    ];
    let mut all = String::new();
    for (name, args) in cases {
        let output = run(args);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{name}");
        all += &format!("$ wplab {}\n{}\n", args.join(" "), stderr(&output));
    }
    golden("cli/wrong-usage.txt", &all);
}

#[test]
fn a_wrong_lab_file_is_exit_code_2_and_tells_every_problem() {
    let text = b"nam: demo\ncluster:\n  workers: 99\ndatabase:\n  topology: galaxy\n  settings:\n    port: 3307\n";
    let (code, told) = with_file(text, &["up", "-f", "lab.yaml"]);
    assert_eq!(code, Some(2));
    golden("cli/wrong-lab-file.txt", &told);
    for command in ["plan", "render", "doctor"] {
        assert_eq!(with_file(text, &[command, "-f", "lab.yaml"]), (Some(2), told.clone()), "{command}");
    }
    assert_eq!(with_file(b"\x7fELF\0", &["up", "-f", "lab.yaml"]).0, Some(2));
    assert_eq!(with_file(b"", &["up", "-f", "missing.yaml"]).0, Some(2));
    assert_eq!(with_file(b"", &["up", "-f", "."]).0, Some(2));
}

#[test]
fn a_lab_file_can_come_from_standard_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = wplab(&["plan", "-f", "-"], folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("wplab runs");
    child.stdin.take().expect("a pipe").write_all(b"cluster:\n  workers: 1\n").expect("written");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("standard input:2:12: cluster.workers: 1 is out of range"), "{}", stderr(&output));
}

#[test]
fn there_are_no_colours_without_a_terminal() {
    for args in [&["up", "--no-such-flag"][..], &["up", "-f", "missing.yaml"], &["--help"]] {
        let output = run(args);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{args:?}");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = stdout(&output);
        assert!(script.contains("kubeconfig") && script.contains("registry-mirror"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_is_nobodys_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = wplab(&["completions", "bash"], folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("wplab runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("an end");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn the_version_is_told() {
    let output = run(&["--version"]);
    assert_eq!(stdout(&output), format!("wplab {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn events_are_written_as_data_from_the_first_line_to_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("lab.yaml"), "name: My_Lab\n").expect("a lab file");
    let args = ["plan", "-f", "lab.yaml", "--events", "events.jsonl"];
    let output = wplab(&args, folder.path()).output().expect("wplab runs");
    assert_eq!(output.status.code(), Some(2));
    let written = fs::read_to_string(folder.path().join("events.jsonl")).expect("events");
    let lines: Vec<serde_json::Value> =
        written.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let (first, last) = (lines.first().expect("a first line"), lines.last().expect("a last line"));
    assert_eq!((first["event"].as_str(), first["command"][0].as_str()), (Some("began"), Some("plan")));
    assert_eq!((last["event"].as_str(), last["exit-code"].as_u64()), (Some("ended"), Some(2)));
    let error = last["error"].as_str().expect("the error");
    assert!(error.contains("lab.yaml:1:7") && stderr(&output).contains(error), "{error}");
}

#[test]
fn standard_output_is_of_the_events_alone_or_of_the_result_alone() {
    let output = run(&["completions", "bash", "--events", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for line in stdout(&output).lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON");
    }
    assert!(stderr(&output).contains("complete -F"), "the result is with the talk");
    let both = run(&["render", "--events", "-", "-o", "json"]);
    assert_eq!((both.status.code(), stdout(&both).as_str()), (Some(2), ""));
    assert!(stderr(&both).contains("both want standard output"), "{}", stderr(&both));
    let nowhere = run(&["render", "--events", "no/such/folder/x"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(stderr(&nowhere).contains("cannot write the events to no/such/folder/x"), "{}", stderr(&nowhere));
}
