//! The object `Database`, as `up` writes it from a lab file, and back: what the operator makes of one that anybody may have written.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, bail};
use kube::core::ObjectMeta;
use serde_json::json;

use super::objects::Server;
use crate::{
    inside::kinds::{DATABASE, Database, DatabasePlacement, DatabaseResources, DatabaseSpec},
    labels::{COMPONENT, Component, NAMESPACE},
    parts::images::{Image, ImageSet, Origin, Role},
    spec::{
        LabName, LabSpec, Topology,
        load::{self, Overrides, SpecError},
    },
};

/// The object of a lab.
///
/// # Errors
/// An image is missing from the set.
pub(super) fn object(spec: &LabSpec, images: &ImageSet) -> Result<Database> {
    let (database, server) = (&spec.database, Server::of(spec, images)?);
    let (placement, resources) = (&database.placement, &database.resources);
    let mut object = Database::new(
        DATABASE,
        DatabaseSpec {
            topology: database.topology.name().to_owned(),
            server: server.role.name().to_owned(),
            image: images.reference(server.role)?.to_owned(),
            tools: images.reference(Role::Tool)?.to_owned(),
            members: database.members,
            volume: database.volume.as_str().to_owned(),
            volume_class: database.volume_class.to_string(),
            resources: DatabaseResources {
                cpu: resources.cpu.as_str().to_owned(),
                memory: resources.memory.as_str().to_owned(),
            },
            placement: DatabasePlacement {
                nodes: placement.nodes.to_string(),
                prefer: placement.prefer.to_string(),
                tolerate: placement.tolerate.to_string(),
            },
            settings: database.settings.clone(),
        },
    );
    object.metadata = ObjectMeta {
        name: Some(DATABASE.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        labels: Some(BTreeMap::from([(COMPONENT.to_owned(), Component::Database.as_str().to_owned())])),
        ..ObjectMeta::default()
    };
    Ok(object)
}

/// A lab with such a database, held against every rule of a lab file, and the images of it.
///
/// # Errors
/// The inner one is what is wrong, in a lab file's words; the outer one is no server of ours.
pub(super) fn lab(name: &LabName, declared: &DatabaseSpec) -> Result<Result<(LabSpec, ImageSet), SpecError>> {
    let Ok(role) = declared.server.parse::<Role>() else { bail!("{:?} is no server of ours", declared.server) };
    let DatabaseSpec {
        topology,
        server,
        image: of_server,
        tools,
        members,
        volume,
        volume_class,
        resources,
        placement,
        settings,
    } = declared;
    let galera = topology == Topology::Galera.name();
    let flavour = if galera { server.as_str() } else { "auto" };
    // How many workers there are is known where members are placed.
    let file = json!({
        "name": name,
        "cluster": { "workers": 9 },
        "database": {
            "topology": topology, "flavour": flavour, "members": members, "volume": volume, "volume-class": volume_class,
            "resources": { "cpu": resources.cpu, "memory": resources.memory },
            "placement": { "nodes": placement.nodes, "prefer": placement.prefer, "tolerate": placement.tolerate },
            "settings": settings,
        },
    });
    let read = load::parse("Database db", Path::new(""), &file.to_string(), &Overrides::default());
    let image = |reference: &String| Image {
        reference: reference.clone(),
        id: String::new(),
        size: 0,
        origin: Origin::Registry(reference.clone()),
    };
    let images = ImageSet(BTreeMap::from([(role, image(of_server)), (Role::Tool, image(tools))]));
    Ok(read.map(|spec| (spec, images)).map_err(SpecError::without_places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parts::testing, spec::load::Source};

    fn read(declared: &DatabaseSpec) -> Result<(LabSpec, ImageSet), SpecError> {
        lab(&LabName::default(), declared).expect("a server of ours")
    }

    #[test]
    fn what_is_declared_reads_back_as_it_was() {
        let mut wanted = load::load(&Source::Defaults, &Overrides::default()).expect("a lab");
        wanted.database.settings.insert("max_connections".into(), "61".into());
        wanted.database.members = 2;
        let declared = object(&wanted, &testing::images()).expect("an object").spec;
        let (back, images) = read(&declared).expect("allowed");
        assert_eq!(back.database, wanted.database);
        assert_eq!(images.reference(Role::Mysql).expect("one"), testing::images().reference(Role::Mysql).expect("one"));
        assert_eq!(images.reference(Role::Tool).expect("one"), testing::images().reference(Role::Tool).expect("one"));
    }

    #[test]
    fn what_is_left_out_is_ours_and_what_is_wrong_is_told_all_at_once() {
        let mut declared = object(&testing::spec(), &testing::images()).expect("an object").spec;
        declared.settings.clear();
        let (back, _) = read(&declared).expect("allowed");
        assert_eq!(back.database.settings, LabSpec::default().database.settings, "the lab's own values");
        declared.settings.insert("datadir".into(), "/tmp".into());
        declared.resources.memory = "7Mi".into();
        let paths: Vec<String> =
            read(&declared).expect_err("refused").problems.into_iter().map(|one| one.path).collect();
        assert_eq!(paths, ["database.resources.memory", "database.settings.datadir"]);
        declared.server = "oracle".into();
        lab(&LabName::default(), &declared).expect_err("no server of ours");
    }
}
