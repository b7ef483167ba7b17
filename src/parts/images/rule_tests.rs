//! Tests of [`super`]: the whole table.

use super::*;

/// A machine that can run everything.
pub(crate) fn able() -> HostFacts {
    HostFacts { cgroup_version: 2, kernel_nfs: true, sys_resource: true, cpus: 2, ..HostFacts::default() }
}

fn shown(choice: Result<Choice>) -> String {
    match choice.map(|choice| choice.how) {
        Ok(How::Present(Origin::Packages(_))) => "has built".to_owned(),
        Ok(How::Present(Origin::Registry(_))) => "has public".to_owned(),
        Ok(How::Pull(_)) => "pull".to_owned(),
        Ok(How::Build(_)) => "build".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

fn source(prefer: Prefer) -> RoleSource {
    RoleSource { public: "p".to_owned(), recipe: Some("r".to_owned()), prefer, because: "the catalogue says so".into() }
}

const NOTHING: Here = Here { built: false, public: false, breaks: false };
const BUILT: Here = Here { built: true, ..NOTHING };
const PUBLIC: Here = Here { public: true, ..NOTHING };
const BOTH: Here = Here { built: true, public: true, ..NOTHING };
const BROKEN: Here = Here { breaks: true, ..PUBLIC };

#[test]
fn auto_takes_what_is_here_then_the_preferred_way_then_the_other() {
    let (packages, registry) = (Prefer::Packages, Prefer::Registry);
    // preference, what Docker has, a registry answers -> the way, and why
    let table = [
        (packages, NOTHING, true, "build", "the catalogue says so"),
        (packages, NOTHING, false, "build", "the catalogue says so"),
        (packages, BUILT, true, "has built", "Docker has it"),
        (packages, BUILT, false, "has built", "Docker has it"),
        (packages, PUBLIC, true, "has public", "Docker has it"),
        (packages, PUBLIC, false, "has public", "Docker has it"),
        (packages, BOTH, true, "has built", "Docker has it"),
        (packages, BOTH, false, "has built", "Docker has it"),
        (registry, NOTHING, true, "pull", "the catalogue says so"),
        (registry, NOTHING, false, "build", "no registry answers"),
        (registry, BUILT, true, "has built", "Docker has it"),
        (registry, BUILT, false, "has built", "Docker has it"),
        (registry, PUBLIC, true, "has public", "Docker has it"),
        (registry, PUBLIC, false, "has public", "Docker has it"),
        (registry, BOTH, true, "has public", "Docker has it"),
        (registry, BOTH, false, "has public", "Docker has it"),
        (packages, BROKEN, true, "build", "the public image that Docker has breaks its contract"),
        (registry, BROKEN, true, "build", "the public image that Docker has breaks its contract"),
        (
            registry,
            Here { built: true, ..BROKEN },
            true,
            "has built",
            "the public image that Docker has breaks its contract",
        ),
    ];
    let (facts, kept) = (able(), Kept::new());
    for (prefer, here, answers, wanted, because) in table {
        let now = Circumstances { source: &ImageSource::Auto, facts: &facts, registry: answers, kept: &kept };
        let choice = choose(Role::Nfs, &source(prefer), here, now);
        assert_eq!(choice.as_ref().ok().map(|c| c.because.as_str()), Some(because), "{prefer:?} {here:?} {answers}");
        assert_eq!(shown(choice), wanted, "{prefer:?} {here:?} {answers}");
    }
}

#[test]
fn a_lab_that_stands_keeps_the_origin_of_its_images() {
    let (built, public) = (Origin::Packages("older".into()), Origin::Registry("q".into()));
    let lost = "the lab's image for wordpress came from q, which is not in Docker, and no registry answers; \
                it can be moved to images from packages";
    // what the lab has, what Docker has, a registry answers -> the way
    let table = [
        (&built, NOTHING, true, "build"),
        (&built, NOTHING, false, "build"),
        (&built, BUILT, true, "has built"),
        (&built, PUBLIC, true, "build"),
        (&built, BOTH, true, "has built"),
        (&public, NOTHING, true, "pull"),
        (&public, NOTHING, false, lost),
        (&public, BUILT, true, "pull"),
        (&public, BUILT, false, lost),
        (&public, PUBLIC, false, "has public"),
        (&public, BOTH, false, "has public"),
    ];
    let facts = able();
    for (origin, here, registry, wanted) in table {
        let kept = Kept::from([(Role::Wordpress, origin.clone()), (Role::Tool, Origin::Packages("tool".into()))]);
        for prefer in [Prefer::Packages, Prefer::Registry] {
            let now = Circumstances { source: &ImageSource::Auto, facts: &facts, registry, kept: &kept };
            let way = |role, now| shown(choose(role, &source(prefer), here, now));
            assert_eq!(way(Role::Wordpress, now), wanted, "{origin} {here:?} {registry} {prefer:?}");
            assert!(!may_change_sides(Role::Wordpress, now) && may_change_sides(Role::Nfs, now));
            // Of another role nothing is kept.
            let nothing = Kept::new();
            assert_eq!(way(Role::Nfs, now), way(Role::Nfs, Circumstances { kept: &nothing, ..now }));
            // What is asked for goes before.
            let explicit = |source| way(Role::Wordpress, Circumstances { source, ..now });
            assert_eq!(explicit(&ImageSource::Packages), if here.built { "has built" } else { "build" });
            assert_eq!(explicit(&ImageSource::Registry), if here.public { "has public" } else { "pull" });
            assert_eq!(explicit(&ImageSource::Bundle("x".into())), "Bundle");
        }
    }
}

#[test]
fn the_public_node_image_is_taken_only_where_it_can_run() {
    let node = |facts: HostFacts, source: &ImageSource, here| {
        // Not even a lab that stands makes it run.
        let kept = Kept::from([(Role::Node, Origin::Registry("p".into()))]);
        let now = Circumstances { source, facts: &facts, registry: true, kept: &kept };
        let choice = choose(Role::Node, &self::source(Prefer::Registry), here, now);
        let because = choice.as_ref().map(|c| c.because.clone()).unwrap_or_default();
        (shown(choice), because)
    };
    let auto = &ImageSource::Auto;
    assert_eq!(node(able(), auto, NOTHING).0, "pull");
    let unable = [
        (HostFacts { kernel_nfs: false, ..able() }, "the kernel has no NFS client"),
        (HostFacts { cgroup_version: 1, ..able() }, "cgroup v1"),
        (HostFacts { sys_resource: false, ..able() }, "CAP_SYS_RESOURCE"),
    ];
    for (facts, why) in unable {
        let (way, because) = node(facts.clone(), auto, PUBLIC);
        assert!(way == "build" && because.contains(why), "{way} because {because}");
        assert_eq!(node(facts.clone(), auto, BOTH).0, "has built");
        assert_eq!(node(facts.clone(), &ImageSource::Registry, BUILT).0, "pull");
        assert_eq!(unfit(Role::Mysql, &facts), None);
    }
}

#[test]
fn what_was_asked_for_is_done() {
    let (facts, kept) = (HostFacts::default(), Kept::new());
    let way = |wanted, here, registry| {
        let now = Circumstances { source: wanted, facts: &facts, registry, kept: &kept };
        shown(choose(Role::Nfs, &source(Prefer::Registry), here, now))
    };
    assert_eq!(way(&ImageSource::Packages, PUBLIC, true), "build");
    assert_eq!(way(&ImageSource::Registry, BUILT, false), "pull");
    assert_eq!(way(&ImageSource::Bundle("x".into()), BOTH, true), "Bundle");
}

#[test]
fn what_exists_only_at_a_registry_is_never_built() {
    let (facts, kept) = (able(), Kept::new());
    let only = RoleSource { recipe: None, ..source(Prefer::Registry) };
    let percona = |wanted, here, registry| {
        let now = Circumstances { source: wanted, facts: &facts, registry, kept: &kept };
        shown(choose(Role::Percona, &only, here, now))
    };
    assert_eq!(percona(&ImageSource::Auto, PUBLIC, false), "has public");
    assert_eq!(percona(&ImageSource::Auto, NOTHING, true), "pull");
    assert_eq!(percona(&ImageSource::Registry, NOTHING, false), "pull");
    let only = "the image for percona cannot be built from packages: it exists only as p";
    assert_eq!(
        percona(&ImageSource::Auto, NOTHING, false),
        format!("{only}, and no registry answers; flavour mariadb can be built")
    );
    assert_eq!(percona(&ImageSource::Packages, PUBLIC, true), format!("{only}; flavour mariadb can be built"));
}

#[test]
fn the_catalogue_prefers_what_is_quick_and_proven_from_packages_and_the_rest_from_a_registry() {
    let catalogue = super::super::catalogue::Catalogue::embedded().expect("parses");
    let prefers = |wanted| {
        let of = |&role: &Role| catalogue.role(role).is_some_and(|source| source.prefer == wanted);
        Role::ALL.into_iter().filter(of).map(Role::name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(prefers(Prefer::Packages), "mysql mariadb wordpress nfs prometheus mysqld-exporter versitygw");
    assert_eq!(prefers(Prefer::Registry), "node percona etcd metrics-server");
}
