//! What has to be built before a lab can be, judged from the outside.

use crate::{
    host::machine::{needs::Building, observe::Observed},
    spec::{ImageSource, LabSpec},
};

/// What has to be built, as far as it can be told without looking at each image. With `auto` and a registry that
/// answers, that is what is quick to build; and the node, where this machine cannot run the public one.
pub(super) fn building(spec: &LabSpec, seen: &Observed) -> Building {
    match spec.images {
        ImageSource::Registry | ImageSource::Bundle(_) => Building::Nothing,
        ImageSource::Auto | ImageSource::Packages if seen.images => Building::Nothing,
        ImageSource::Auto if seen.registry.is_ok() && seen.facts().unfit_for_public_node().is_none() => {
            Building::Services
        }
        ImageSource::Auto | ImageSource::Packages => Building::Everything,
    }
}

/// Debian itself has to be made from packages, with `mmdebstrap`; where a registry answers, it is pulled.
pub(crate) fn bases_are_made(spec: &LabSpec, seen: &Observed) -> bool {
    building(spec, seen) != Building::Nothing && seen.registry.is_err()
}
