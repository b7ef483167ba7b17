//! A check of what Galera needs of the site's tables: a row without a primary key could not be told apart on the members.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::ResourceExt;

use crate::{
    actions::smoke::check::Check,
    cluster::Cluster,
    parts::database::{self, connect},
    run::advice::Hint,
    spec::{LabSpec, Topology},
};

/// Names of the site's tables without a primary key.
const BARE: &str = "SELECT t.table_name AS name FROM information_schema.tables t \
    LEFT JOIN information_schema.table_constraints c ON c.table_schema = t.table_schema \
    AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY' \
    WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND c.table_name IS NULL";

/// The check, where the topology needs it.
pub(super) fn checks<'a>(cluster: &'a Cluster, spec: &LabSpec) -> Vec<Check<'a>> {
    if spec.database.topology != Topology::Galera {
        return Vec::new();
    }
    let hint = [Hint::words("give the tables that are named a primary key; plugins may have made them")];
    let sentence = "every table has a primary key, and strict mode is on";
    vec![
        Check::new("schema", "database", sentence, Duration::from_secs(60), hint, move || look(cluster))
            .needs("members"),
    ]
}

async fn look(cluster: &Cluster) -> Result<String> {
    let pods = database::pods(cluster).await?;
    let mut looked = Vec::new();
    for pod in &pods {
        let name = pod.name_any();
        let mut at = connect(cluster, &name).await?;
        let rows = at.sql.rows(BARE).await?;
        let bare: Vec<String> = rows.into_iter().filter_map(|mut row| row.remove("name").flatten()).collect();
        ensure!(bare.is_empty(), "tables without a primary key: {}", bare.join(", "));
        let mode = at.sql.value("SELECT @@global.sql_mode").await?.unwrap_or_default();
        ensure!(mode.contains("STRICT_TRANS_TABLES"), "strict mode is off at {name}: {mode}");
        looked.push(name);
    }
    Ok(format!("looked at {}", looked.join(", ")))
}
