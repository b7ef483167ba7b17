//! Keys of golden roots, and who holds their volume.

use super::*;

#[test]
fn a_key_is_of_the_node_image_and_of_the_others_in_any_order() {
    let key = Key::new("sha256:n", ["sha256:a", "sha256:b"]);
    assert_eq!(key, Key::new("sha256:n", ["sha256:b", "sha256:a"]));
    let other = Key::new("sha256:n", ["sha256:a"]);
    assert!(key != other && key.prefix() == other.prefix(), "{key} is near {other}");
    let elsewhere = Key::new("sha256:m", ["sha256:a", "sha256:b"]);
    assert_ne!(key.prefix(), elsewhere.prefix());
    // Where one ends and the next begins counts.
    assert_ne!(Key::new("n", ["ab", "c"]), Key::new("n", ["a", "bc"]));
}

#[test]
fn holders_are_told_from_nodes_and_from_each_other() {
    let lab = LabName::new("zoo").expect("a name");
    assert_eq!(holder_of(&lab), "wplab-roots.zoo");
    let mut container = Container {
        name: "x".into(),
        running: true,
        paused: false,
        image: String::new(),
        labels: labels::of_lab(&lab),
        ports: vec![],
    };
    assert!(!is_holder(&container));
    container.labels.insert(HOLDER.to_owned(), holder_of(&lab));
    assert!(is_holder(&container));
}
