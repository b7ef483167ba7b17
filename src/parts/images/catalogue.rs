//! The catalogue: which images a lab needs, under which public names they exist, and what each is built from. It and
//! the recipes travel inside the executable; a recipe's hash is over everything that goes into it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow, bail};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::set::{Role, SHORT};
use crate::{labels, wire::hex};

/// `lab/images` as it was when the tool was built.
static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/lab/images");

/// The label that says which recipe an image was built from.
pub(super) const RECIPE: &str = "wplab.dev/recipe";

/// The whole of `catalogue.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    bases: BTreeMap<String, Base>,
    recipes: BTreeMap<String, Recipe>,
    roles: BTreeMap<Role, RoleSource>,
    tools: BTreeMap<String, Tool>,
}

/// Debian itself, which recipes begin with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The release, by name.
    pub suite: String,
    /// The same from a registry.
    pub public: String,
    /// What bootstrapping it takes.
    pub takes: Takes,
}

/// One folder with a Dockerfile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The bases and recipes that it is built from.
    pub from: Vec<String>,
    /// What building it takes, when everything that it is built from is there.
    pub takes: Takes,
}

/// What building takes on two cores with nothing else to do.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Takes {
    /// How long it takes, in seconds.
    pub seconds: u64,
    /// Seconds of processor time in that: more than `seconds` is more than one core, less waits for the network.
    pub cpu: u64,
    /// Megabytes that stay on Docker's disk.
    pub disk: u64,
    /// Megabytes more while it is being built.
    #[serde(default)]
    pub scratch: u64,
}

/// The ways to an image for a role.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSource {
    /// Its name at a registry, pinned.
    pub public: String,
    /// The recipe that builds its like; some exist only as a public image.
    pub recipe: Option<String>,
    /// The way that is better where both are open.
    pub prefer: Prefer,
    /// Why, as a sentence fragment.
    pub because: String,
}

/// One of the two ways to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefer {
    /// Built from packages.
    Packages,
    /// Pulled from a registry.
    Registry,
}

/// A program that the tool itself runs, inside an image of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// The recipe that builds it.
    pub recipe: String,
    /// The version that it builds.
    pub version: String,
}

impl Catalogue {
    /// The catalogue inside this executable.
    ///
    /// # Errors
    /// It contradicts itself, which the tests would have found.
    pub fn embedded() -> Result<Catalogue> {
        let text = FILES
            .get_file("catalogue.yaml")
            .and_then(|f| f.contents_utf8())
            .context("there is no catalogue of images")?;
        Self::parse(text).context("the catalogue of images is wrong")
    }

    pub(super) fn parse(text: &str) -> Result<Catalogue> {
        let catalogue: Catalogue = serde_yaml::from_str(text)?;
        let roles = catalogue.roles.values().filter_map(|r| r.recipe.as_ref());
        let wanted = roles.chain(catalogue.tools.values().map(|t| &t.recipe));
        for name in wanted.chain(catalogue.recipes.values().flat_map(|r| &r.from)) {
            if !catalogue.recipes.contains_key(name) && !catalogue.bases.contains_key(name) {
                bail!("{name} is neither a base nor a recipe");
            }
        }
        for name in catalogue.recipes.keys() {
            catalogue.closure(&[name])?;
        }
        for (role, source) in &catalogue.roles {
            if source.recipe.is_none() && source.prefer == Prefer::Packages {
                bail!("{} is to come from packages and has no recipe", role.name());
            }
        }
        Ok(catalogue)
    }

    /// Where a role's image comes from; `None` for the tool's own, which is made of its executable.
    pub fn role(&self, role: Role) -> Option<&RoleSource> {
        self.roles.get(&role)
    }

    /// A program that the tool itself runs.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }

    /// A base, if it is one.
    pub(super) fn base(&self, name: &str) -> Option<&Base> {
        self.bases.get(name)
    }

    /// What a base or recipe is built from.
    pub(super) fn from(&self, name: &str) -> &[String] {
        self.recipes.get(name).map(|r| r.from.as_slice()).unwrap_or_default()
    }

    /// Every recipe's name.
    #[cfg(test)]
    pub(super) fn recipe_names(&self) -> impl Iterator<Item = &str> {
        self.recipes.keys().map(String::as_str)
    }

    /// What building it takes, with everything that it is built from there.
    pub(super) fn takes(&self, name: &str) -> Takes {
        let of_base = || self.bases.get(name).map(|b| b.takes);
        self.recipes.get(name).map(|r| r.takes).or_else(of_base).unwrap_or_default()
    }

    /// How long it takes on two cores, with everything that it is built from there.
    pub fn seconds(&self, name: &str) -> u64 {
        self.takes(name).seconds
    }

    /// How much of Docker's disk it takes to build all of these, in bytes: what stays, and what goes again meanwhile.
    pub fn build_disk(&self, missing: &[String]) -> u64 {
        let takes = || missing.iter().map(|name| self.takes(name));
        let scratch = takes().map(|t| t.scratch).max().unwrap_or_default();
        (takes().map(|t| t.disk).sum::<u64>() + scratch) * 1_000_000
    }

    /// These and everything that they are built from, each after what it is built from.
    ///
    /// # Errors
    /// A recipe is built from itself.
    pub(super) fn closure(&self, names: &[&str]) -> Result<Vec<String>> {
        fn visit(
            catalogue: &Catalogue,
            name: &str,
            path: &mut Vec<String>,
            seen: &mut BTreeSet<String>,
            order: &mut Vec<String>,
        ) -> Result<()> {
            if path.iter().any(|n| n == name) {
                bail!("{name} is built from itself: {}", path.join(", "));
            }
            if seen.insert(name.to_owned()) {
                path.push(name.to_owned());
                catalogue.from(name).iter().try_for_each(|from| visit(catalogue, from, path, seen, order))?;
                path.pop();
                order.push(name.to_owned());
            }
            Ok(())
        }
        let (mut path, mut seen, mut order) = (Vec::new(), BTreeSet::new(), Vec::new());
        names.iter().try_for_each(|name| visit(self, name, &mut path, &mut seen, &mut order))?;
        Ok(order)
    }

    /// The tag of a base or recipe in Docker: its name, and the hash of everything that goes into it on this architecture.
    ///
    /// # Errors
    /// There is no such base or recipe.
    pub fn tag(&self, name: &str, arch: &str) -> Result<String> {
        Ok(format!("wplab/{name}:{}", self.hash(name, arch)?.get(..SHORT).unwrap_or_default()))
    }

    /// The hash of a base or recipe: its files in order of their names, and the hashes of what it is built from.
    fn hash(&self, name: &str, arch: &str) -> Result<String> {
        let mut hash = Sha256::new();
        // Each piece with its length, so that no two lists of pieces look alike.
        let mut piece = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        piece(name.as_bytes());
        piece(arch.as_bytes());
        if let Some(base) = self.base(name) {
            piece(base.suite.as_bytes());
        } else {
            for (path, content) in files(name)? {
                piece(path.as_bytes());
                piece(content);
            }
            for from in self.from(name) {
                piece(from.as_bytes());
                piece(self.hash(from, arch)?.as_bytes());
            }
        }
        Ok(hex(&hash.finalize()))
    }
}

/// Whether a file of a recipe is there for tests of its programs: no image is built with it, nor anew because of it.
fn only_tests(path: &str) -> bool {
    path.ends_with("_test.go") || path.ends_with("/test.sh")
}

/// A recipe's files by path, in order.
fn files(recipe: &str) -> Result<BTreeMap<String, &'static [u8]>> {
    fn collect(dir: &'static Dir<'static>, below: &str, found: &mut BTreeMap<String, &'static [u8]>) {
        for file in dir.files() {
            let path = file.path().strip_prefix(below).unwrap_or(file.path()).to_string_lossy();
            if !only_tests(&path) {
                found.insert(path.into_owned(), file.contents());
            }
        }
        dir.dirs().for_each(|dir| collect(dir, below, found));
    }
    let mut found = BTreeMap::new();
    let dir = FILES.get_dir(recipe).ok_or_else(|| anyhow!("there is no recipe {recipe}"))?;
    collect(dir, recipe, &mut found);
    Ok(found)
}

/// A recipe's Dockerfile.
pub(super) fn dockerfile(recipe: &str) -> Result<&'static str> {
    let file = FILES.get_file(format!("{recipe}/Dockerfile")).and_then(|f| f.contents_utf8());
    file.with_context(|| format!("recipe {recipe} has no Dockerfile"))
}

/// A recipe's folder as the tar archive that the engine builds from; the same bytes every time.
pub(super) fn context_tar(recipe: &str) -> Result<bytes::Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files(recipe)? {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        // What is embedded has no mode; scripts say themselves that they are.
        header.set_mode(if content.starts_with(b"#!") { 0o755 } else { 0o644 });
        archive.append_data(&mut header, path, content)?;
    }
    Ok(archive.into_inner()?.into())
}

/// The labels of an image of ours.
pub(super) fn labels_of(recipe: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::PART_OF.to_owned(), labels::PART_OF_VALUE.to_owned()),
        (RECIPE.to_owned(), recipe.to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "
bases: {debian: {suite: trixie, public: 'debian:trixie', takes: {seconds: 4, cpu: 4, disk: 100}}}
recipes:
  mysql: {from: [debian], takes: {seconds: 5, cpu: 3, disk: 10, scratch: 7}}
  golang: {from: [debian], takes: {seconds: 5, cpu: 10, disk: 20, scratch: 300}}
  node: {from: [golang, mysql], takes: {seconds: 5, cpu: 5, disk: 3}}
roles: {node: {public: 'kindest/node:v1', recipe: node, prefer: registry, because: minutes to build}}
tools: {}
";

    #[test]
    fn the_embedded_catalogue_has_every_role_and_every_recipe_a_dockerfile() {
        let catalogue = Catalogue::embedded().expect("parses");
        for role in Role::ALL.into_iter().filter(|&r| r != Role::Tool) {
            let source = catalogue.role(role).unwrap_or_else(|| panic!("no source for {}", role.name()));
            assert!(
                source.public.contains(':') && !source.public.ends_with(":latest"),
                "{} is not pinned",
                source.public
            );
            assert!(!source.because.is_empty(), "nobody says why for {}", role.name());
        }
        for (name, recipe) in &catalogue.recipes {
            let text = dockerfile(name).expect("a Dockerfile");
            for from in &recipe.from {
                let arg = super::super::build::argument(from);
                assert!(text.contains(&format!("ARG {arg}")), "{name} does not use {arg}");
            }
        }
    }

    #[test]
    fn what_only_tests_need_is_no_part_of_a_recipe() {
        let (tools, programs) = (files("node-tools").expect("files"), files("programs").expect("files"));
        assert!(tools.contains_key("mount-nfs/src/main.rs") && !tools.contains_key("mount-nfs/test.sh"));
        assert!(programs.contains_key("podnet/network.go") && !programs.contains_key("podnet/network_test.go"));
    }

    #[test]
    fn what_a_recipe_is_built_from_comes_before_it_and_a_circle_is_found() {
        let catalogue = Catalogue::parse(SMALL).expect("parses");
        assert_eq!(catalogue.closure(&["node"]).expect("no circle"), ["debian", "golang", "mysql", "node"]);
        let error =
            Catalogue::parse(&SMALL.replace("mysql: {from: [debian]", "mysql: {from: [node]")).expect_err("a circle");
        assert!(error.to_string().contains("built from itself"), "{error}");
        let error = Catalogue::parse(&SMALL.replace("[debian]", "[devuan]")).expect_err("unknown");
        assert_eq!(error.to_string(), "devuan is neither a base nor a recipe");
        let without = SMALL.replace("recipe: node, prefer: registry", "prefer: packages");
        let error = Catalogue::parse(&without).expect_err("no way");
        assert_eq!(error.to_string(), "node is to come from packages and has no recipe");
    }

    #[test]
    fn the_disk_of_builds_is_what_stays_and_the_most_that_goes_again() {
        let catalogue = Catalogue::parse(SMALL).expect("parses");
        let all = catalogue.closure(&["node"]).expect("no circle");
        assert_eq!(catalogue.build_disk(&all), 433_000_000);
        assert_eq!(catalogue.build_disk(&[]), 0);
    }

    #[test]
    fn a_hash_changes_with_what_is_below_and_with_the_architecture() {
        let catalogue = Catalogue::embedded().expect("parses");
        let tag = catalogue.tag("mysql", "amd64").expect("a tag");
        assert_eq!(tag, catalogue.tag("mysql", "amd64").expect("a tag"));
        assert_ne!(tag, catalogue.tag("mysql", "arm64").expect("a tag"));
        let text = FILES.get_file("catalogue.yaml").and_then(|f| f.contents_utf8()).expect("text");
        let other = Catalogue::parse(&text.replace("suite: sid", "suite: forky")).expect("parses");
        assert_ne!(tag, other.tag("mysql", "amd64").expect("a tag"));
        assert_eq!(catalogue.tag("nfs", "amd64").expect("a tag"), other.tag("nfs", "amd64").expect("a tag"));
    }
}
