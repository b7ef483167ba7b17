//! Which images a lab needs. Its topology says most of it; where the flavour of Galera was left open, what can be had
//! decides. Both are pure functions; [`super::choose`] looks for them.

use crate::spec::{DatabaseSpec, Flavour, ImageSource, LabSpec, Topology};

use super::Role;

/// What is known of the ways to the flavours' images.
#[derive(Clone, Debug, Default)]
pub(super) struct Chances {
    /// An image for Percona is in Docker, or in the bundle.
    pub(super) percona: bool,
    /// An image for MariaDB is.
    pub(super) mariadb: bool,
    /// A registry answers.
    pub(super) registry: bool,
    /// The line of its contract that the image for Percona breaks, if it was looked at and does.
    pub(super) percona_breaks: Option<String>,
}

/// The roles of a lab whose database runs on the image for `server`, in the order of [`Role::ALL`].
pub(super) fn roles(spec: &LabSpec, server: Role) -> Vec<Role> {
    let needed = |role: &Role| match role {
        Role::Mysql | Role::Percona | Role::Mariadb => *role == server,
        Role::Etcd => server != Role::Mysql,
        Role::Node | Role::Wordpress | Role::Nfs | Role::MetricsServer | Role::Tool => true,
        Role::Prometheus | Role::MysqldExporter => spec.monitoring,
        // Beside the cluster, and only where a store of backups is wanted.
        Role::Versitygw => false,
    };
    Role::ALL.into_iter().filter(needed).collect()
}

/// Whether it has to be known that a registry answers, before [`server`] can decide.
pub(super) fn hangs_on_a_registry(spec: &LabSpec, chances: &Chances) -> bool {
    let with = |registry| server(&spec.database, &spec.images, &Chances { registry, ..chances.clone() });
    with(true) != with(false)
}

/// The role of the database's server: the one that was asked for, else the flavour that is there, else the one that can
/// be had. With source `auto`, a Percona that breaks its contract cannot be had.
pub(super) fn server(database: &DatabaseSpec, source: &ImageSource, chances: &Chances) -> Role {
    let percona = match (database.topology, database.flavour) {
        (Topology::Replication, _) => return Role::Mysql,
        (Topology::Galera, Flavour::Percona) => true,
        (Topology::Galera, Flavour::Mariadb) => false,
        (Topology::Galera, Flavour::Auto) => match source {
            ImageSource::Registry => true,
            // It exists only as a public image.
            ImageSource::Packages => false,
            ImageSource::Bundle(_) => chances.percona,
            ImageSource::Auto if chances.percona_breaks.is_some() => false,
            ImageSource::Auto => chances.percona || (!chances.mariadb && chances.registry),
        },
    };
    if percona { Role::Percona } else { Role::Mariadb }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(topology: Topology, flavour: Flavour, images: ImageSource) -> LabSpec {
        let mut spec = LabSpec { images, ..LabSpec::default() };
        (spec.database.topology, spec.database.flavour) = (topology, flavour);
        spec
    }

    #[test]
    fn a_flavour_that_was_left_open_is_what_is_there_else_what_can_be_had() {
        let (auto, registry, packages) = (ImageSource::Auto, ImageSource::Registry, ImageSource::Packages);
        let bundle = ImageSource::Bundle("x.tar".into());
        let (p, m) = (Role::Percona, Role::Mariadb);
        // source, percona is here, mariadb is here, a registry answers -> the server
        let table = [
            (&auto, true, true, true, p),
            (&auto, true, false, false, p),
            (&auto, false, true, true, m),
            (&auto, false, true, false, m),
            (&auto, false, false, true, p),
            (&auto, false, false, false, m),
            (&registry, false, true, false, p),
            (&packages, true, false, true, m),
            (&bundle, true, true, false, p),
            (&bundle, false, true, true, m),
            (&bundle, false, false, false, m),
        ];
        for (source, percona, mariadb, registry, wanted) in table {
            let chances = Chances { percona, mariadb, registry, percona_breaks: None };
            let spec = lab(Topology::Galera, Flavour::Auto, source.clone());
            assert_eq!(server(&spec.database, &spec.images, &chances), wanted, "{source:?} {chances:?}");
            for (flavour, wanted) in [(Flavour::Percona, p), (Flavour::Mariadb, m)] {
                let spec = lab(Topology::Galera, flavour, source.clone());
                assert_eq!(server(&spec.database, &spec.images, &chances), wanted, "{flavour:?} was asked for");
            }
            let spec = lab(Topology::Replication, Flavour::Auto, source.clone());
            assert_eq!(server(&spec.database, &spec.images, &chances), Role::Mysql);
        }
    }

    #[test]
    fn a_percona_that_breaks_its_contract_gives_way_to_mariadb_unless_it_was_asked_for() {
        let breaks = Some("`mysqld` starts: it does not".to_owned());
        let chances = Chances { percona: true, registry: true, percona_breaks: breaks, ..Chances::default() };
        let of = |flavour, images| {
            let spec = lab(Topology::Galera, flavour, images);
            server(&spec.database, &spec.images, &chances)
        };
        assert_eq!(of(Flavour::Auto, ImageSource::Auto), Role::Mariadb);
        assert_eq!(of(Flavour::Auto, ImageSource::Registry), Role::Percona);
        assert_eq!(of(Flavour::Percona, ImageSource::Auto), Role::Percona);
        assert!(!hangs_on_a_registry(&lab(Topology::Galera, Flavour::Auto, ImageSource::Auto), &chances));
    }

    #[test]
    fn a_registry_is_asked_only_when_its_answer_decides() {
        let asks = |flavour, images, percona, mariadb| {
            hangs_on_a_registry(
                &lab(Topology::Galera, flavour, images),
                &Chances { percona, mariadb, ..Chances::default() },
            )
        };
        assert!(asks(Flavour::Auto, ImageSource::Auto, false, false));
        assert!(
            !asks(Flavour::Auto, ImageSource::Auto, false, true)
                && !asks(Flavour::Auto, ImageSource::Auto, true, false)
        );
        assert!(!asks(Flavour::Mariadb, ImageSource::Auto, false, false));
        assert!(!asks(Flavour::Auto, ImageSource::Packages, false, false));
        assert!(!hangs_on_a_registry(&LabSpec::default(), &Chances::default()));
    }

    #[test]
    fn each_topology_has_its_images_and_one_server() {
        let mut spec = LabSpec::default();
        let named =
            |spec: &LabSpec, server| roles(spec, server).into_iter().map(Role::name).collect::<Vec<_>>().join(" ");
        let names = |server| named(&LabSpec::default(), server);
        assert_eq!(names(Role::Mysql), "node mysql wordpress nfs metrics-server tool");
        assert_eq!(names(Role::Percona), "node percona etcd wordpress nfs metrics-server tool");
        assert_eq!(names(Role::Mariadb), "node mariadb etcd wordpress nfs metrics-server tool");
        spec.monitoring = true;
        let watched = "node mysql wordpress nfs metrics-server prometheus mysqld-exporter tool";
        assert_eq!(named(&spec, Role::Mysql), watched);
    }
}
