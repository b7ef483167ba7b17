//! What building leaves behind: the classic builder keeps the last step of every stage as an image without a name, and
//! what a recipe built before it changed keeps its name. Both go once the new image is there, never before: an
//! interrupted build goes on from them.

use std::collections::BTreeSet;

use super::catalogue::labels_of;
use crate::host::docker::Docker;

/// The last step of each stage of one build, out of the builder's log.
#[derive(Clone, Debug, Default)]
pub(super) struct Stages {
    last: Option<String>,
    /// Their short image ids.
    pub(super) ended: BTreeSet<String>,
}

impl Stages {
    /// Listens to the log: ` ---> 0123456789ab` after each step, `Step 4/9 : FROM …` where the next stage begins.
    pub(super) fn hear(&mut self, line: &str) {
        let id = line.trim_start().strip_prefix("---> ");
        if let Some(id) = id.filter(|id| id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit())) {
            self.last = Some(id.to_owned());
        }
        let instruction = line.strip_prefix("Step ").and_then(|step| step.split_once(" : "));
        if instruction.is_some_and(|(_, what)| what.starts_with("FROM ")) {
            self.ended.extend(self.last.take());
        }
    }
}

/// Removes what the build of a recipe has left, and what it built before it changed. Nothing that has another name, that
/// a container uses or that something else was built on goes: the engine refuses, and that is no error.
pub(super) async fn remove(docker: &Docker, recipe: &str, tag: &str, stages: &Stages) {
    for id in &stages.ended {
        // A stage without steps of its own is what it began with: another recipe's image, or a base.
        if let Ok(Some(image)) = docker.image(id).await
            && image.repo_tags.is_empty()
            && image.repo_digests.is_empty()
        {
            let _ = docker.remove_image(&image.id).await;
        }
    }
    let Ok(ours) = docker.images_labelled(&labels_of(recipe)).await else { return };
    for name in older(&ours, recipe, tag) {
        let _ = docker.remove_image(name).await;
    }
}

/// What this recipe built before it changed, of these images: ids and names. What has a role's name (`wplab/ROLE:ID`) is in
/// use or was, and a lab may stand on it.
fn older<'a>(images: &'a [(String, Vec<String>)], recipe: &str, tag: &str) -> Vec<&'a str> {
    let of_recipe = format!("wplab/{recipe}:");
    let outdated = |id: &str, name: &str| {
        let hash = name.strip_prefix(&of_recipe);
        name != tag && hash.is_some_and(|hash| !id.trim_start_matches("sha256:").starts_with(hash))
    };
    let only_outdated = images.iter().filter(|(id, names)| names.iter().all(|name| outdated(id, name)));
    only_outdated.flat_map(|(_, names)| names.iter().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_of_every_stage_but_the_last_is_left_over() {
        let mut stages = Stages::default();
        let log = [
            "Step 1/6 : ARG GOLANG=wplab/golang",
            "Step 2/6 : FROM ${GOLANG} AS build",
            " ---> aaaaaaaaaaaa",
            "Step 3/6 : COPY . .",
            " ---> Using cache",
            " ---> bbbbbbbbbbbb",
            "Step 4/6 : RUN build.sh",
            " ---> Running in 0123456789ab",
            "---> not an id",
            "Removing intermediate container 0123456789ab",
            " ---> cccccccccccc",
            "Step 5/6 : FROM scratch",
            " ---> ",
            "Step 6/6 : COPY --from=build /out/ /",
            " ---> dddddddddddd",
            "Successfully built dddddddddddd",
        ];
        log.iter().for_each(|line| stages.hear(line));
        assert_eq!(stages.ended, BTreeSet::from(["cccccccccccc".to_owned()]));
    }

    #[test]
    fn only_what_no_lab_can_stand_on_is_outdated() {
        let image = |id: &str, names: &[&str]| (format!("sha256:{id}"), names.iter().map(|&n| n.to_owned()).collect());
        let images = [
            image("aaaaaaaaaaaa00", &["wplab/nfs:000000000001"]),
            image("bbbbbbbbbbbb00", &["wplab/nfs:000000000002", "wplab/nfs:bbbbbbbbbbbb"]),
            image("cccccccccccc00", &["wplab/nfs:000000000003", "somebody/elses:1"]),
            image("dddddddddddd00", &["wplab/nfs:000000000004"]),
            image("eeeeeeeeeeee00", &[]),
        ];
        assert_eq!(older(&images, "nfs", "wplab/nfs:000000000004"), ["wplab/nfs:000000000001"]);
        assert!(older(&images, "mysql", "wplab/mysql:000000000004").is_empty());
    }
}
