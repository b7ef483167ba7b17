//! Writes a lab back as the lab file that describes it, so that a running lab can tell what it was made from.

use serde_json::json;

use super::{ImageSource, LabSpec};

impl LabSpec {
    /// A lab file (JSON, which is YAML) that loads as this very lab; where its images came from is left out, because what
    /// is there is recorded by content.
    pub fn to_file(&self) -> String {
        json!(LabSpec { images: ImageSource::Auto, ..self.clone() }).to_string()
    }
}

/// A span of time, in seconds, as lab files have it.
pub(super) mod seconds {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::spec::validate;

    pub(in crate::spec) fn serialize<S: Serializer>(seconds: &u32, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{seconds}s"))
    }

    pub(in crate::spec) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<u32, D::Error> {
        validate::seconds(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::spec::{
        LabSpec,
        load::{DEFAULT, GALERA, Overrides, parse},
    };

    #[test]
    fn a_lab_keeps_the_form_of_the_file_for_people() {
        let written = LabSpec::default().to_file();
        assert!(
            written.starts_with(r#"{"autoscale":{"cpu":70,"max":6,"min":3,"scale-down-window":"30s"},"#),
            "{written}"
        );
        assert!(
            written.contains(r#""images":"auto","monitoring":false,"name":"wplab","storage":{"size":"1Gi"}"#),
            "{written}"
        );
        assert_eq!(serde_json::from_str::<LabSpec>(&written).expect("the same form"), LabSpec::default());
    }

    #[test]
    fn a_lab_written_back_loads_as_itself() {
        let more = "database: {settings: {max_connections: 61, innodb_buffer_pool_size: 96M}, members: 2}\n\
                    cluster: {workers: 5}\nwordpress: {title: \"A 'lab': #1\"}\nautoscale: {scale-down-window: 2m}\n";
        let galera = "database: {topology: galera, flavour: mariadb, settings: {tmp_table_size: 9M}}\n";
        for text in [DEFAULT, more, GALERA, galera] {
            let spec = parse("lab.yaml", Path::new(""), text, &Overrides::default()).expect("a lab");
            let again =
                parse("again.yaml", Path::new(""), &spec.to_file(), &Overrides::default()).expect("the same lab");
            assert_eq!(again, spec);
        }
    }
}
