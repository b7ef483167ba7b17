//! What parts change in the pods of their manifests: images, environment, resources. Pure, and an error for anything that
//! the manifest does not have, so that a manifest and its code cannot drift apart.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::{
    api::core::v1::{Container, PodSpec, PodTemplateSpec},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::spec::Resources;

/// The pod of a template.
///
/// # Errors
/// The template has none.
pub fn pod_of(template: &mut PodTemplateSpec) -> Result<&mut PodSpec> {
    template.spec.as_mut().context("the pod template has no spec")
}

/// A container, or init container, of a pod.
///
/// # Errors
/// There is none of that name.
pub fn container<'a>(pod: &'a mut PodSpec, name: &str) -> Result<&'a mut Container> {
    let all = pod.init_containers.iter_mut().flatten().chain(pod.containers.iter_mut());
    all.into_iter().find(|c| c.name == name).with_context(|| format!("there is no container {name}"))
}

/// Sets a container's image.
///
/// # Errors
/// There is no such container.
pub fn set_image(pod: &mut PodSpec, name: &str, image: &str) -> Result<()> {
    container(pod, name)?.image = Some(image.to_owned());
    Ok(())
}

/// Sets the values of environment variables that the manifest has.
///
/// # Errors
/// There is no such container, or it has no such variable.
pub fn set_env(pod: &mut PodSpec, name: &str, values: &[(&str, &str)]) -> Result<()> {
    let variables = container(pod, name)?.env.get_or_insert_default();
    for (key, value) in values {
        let variable = variables.iter_mut().find(|v| v.name == *key);
        variable.with_context(|| format!("container {name} has no variable {key}"))?.value = Some((*value).to_owned());
    }
    Ok(())
}

/// Sets what a container asks for and may use: CPU as a request, memory as request and limit.
///
/// # Errors
/// There is no such container.
pub fn set_resources(pod: &mut PodSpec, name: &str, resources: &Resources) -> Result<()> {
    let (cpu, memory) = (Quantity(resources.cpu.as_str().to_owned()), Quantity(resources.memory.as_str().to_owned()));
    let wanted = container(pod, name)?.resources.get_or_insert_default();
    wanted.requests = Some(BTreeMap::from([("cpu".to_owned(), cpu), ("memory".to_owned(), memory.clone())]));
    wanted.limits = Some(BTreeMap::from([("memory".to_owned(), memory)]));
    Ok(())
}

/// Takes out a container's environment variables and ports that the manifest has for another topology.
///
/// # Errors
/// There is no such container, or it has not all of them.
pub fn without(pod: &mut PodSpec, name: &str, variables: &[&str], ports: &[&str]) -> Result<()> {
    let container = container(pod, name)?;
    for variable in variables {
        let env = container.env.get_or_insert_default();
        let at = env.iter().position(|v| v.name == *variable);
        env.remove(at.with_context(|| format!("container {name} has no variable {variable}"))?);
    }
    for port in ports {
        let all = container.ports.get_or_insert_default();
        let at = all.iter().position(|p| p.name.as_deref() == Some(*port));
        all.remove(at.with_context(|| format!("container {name} has no port {port}"))?);
    }
    Ok(())
}

/// Takes out a volume, and every place where it is mounted.
///
/// # Errors
/// There is no such volume.
pub fn without_volume(pod: &mut PodSpec, name: &str) -> Result<()> {
    let volumes = pod.volumes.get_or_insert_default();
    let at = volumes.iter().position(|v| v.name == name);
    volumes.remove(at.with_context(|| format!("there is no volume {name}"))?);
    for container in pod.init_containers.iter_mut().flatten().chain(pod.containers.iter_mut()) {
        container.volume_mounts.iter_mut().for_each(|mounts| mounts.retain(|mount| mount.name != name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> PodSpec {
        let value =
            json!({"initContainers": [{"name": "tools"}], "containers": [{"name": "web", "env": [{"name": "URL"}]}]});
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn init_containers_are_found_too() {
        let mut pod = pod();
        set_image(&mut pod, "tools", "a:1").expect("set");
        assert_eq!(pod.init_containers.expect("has them")[0].image.as_deref(), Some("a:1"));
    }

    #[test]
    fn what_is_taken_out_was_there_and_is_gone_everywhere() {
        let mount = json!([{"name": "state", "mountPath": "/state"}, {"name": "tmp", "mountPath": "/tmp"}]);
        let web = json!({"name": "web", "env": [{"name": "URL"}, {"name": "PATH"}], "volumeMounts": mount,
            "ports": [{"name": "http", "containerPort": 80}, {"name": "ist", "containerPort": 4568}]});
        let value = json!({"containers": [web], "volumes": [{"name": "state"}, {"name": "tmp"}]});
        let mut pod: PodSpec = serde_json::from_value(value).expect("a pod");
        without(&mut pod, "web", &["URL"], &["ist"]).expect("was there");
        without_volume(&mut pod, "state").expect("was there");
        let left = serde_json::to_value(&pod).expect("JSON");
        assert_eq!(left["containers"][0]["env"], json!([{"name": "PATH"}]));
        assert_eq!(left["containers"][0]["ports"], json!([{"name": "http", "containerPort": 80}]));
        assert_eq!(left["containers"][0]["volumeMounts"], json!([{"name": "tmp", "mountPath": "/tmp"}]));
        assert_eq!(left["volumes"], json!([{"name": "tmp"}]));
        assert!(without(&mut pod, "web", &["URL"], &[]).is_err() && without(&mut pod, "web", &[], &["ist"]).is_err());
        assert!(without_volume(&mut pod, "state").is_err());
    }

    #[test]
    fn a_variable_that_the_manifest_lacks_is_a_mistake() {
        let mut pod = pod();
        set_env(&mut pod, "web", &[("URL", "http://x")]).expect("set");
        assert_eq!(pod.containers[0].env.as_ref().expect("has them")[0].value.as_deref(), Some("http://x"));
        assert!(set_env(&mut pod, "web", &[("PATH", "x")]).is_err());
        assert!(set_image(&mut pod, "db", "x").is_err());
    }
}
