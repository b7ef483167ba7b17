//! The recipes, manifests and lab files are embedded into the executable: tells cargo to look at them.

fn main() {
    for folder in ["lab", "manifests"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
