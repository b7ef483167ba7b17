//! Tells the generated passwords to who asks for them; showing them is the command line's business.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::{actions::standing, cluster::NotComplete, host::docker::Docker, run::advice::Trouble, spec::LabName};

/// What one logs in with. No `Debug`, so that it cannot end in a message.
#[derive(Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Credentials {
    /// WordPress' login page.
    pub login_url: String,
    /// WordPress' administrator.
    pub admin_user: String,
    /// The administrator's password.
    pub admin_password: String,
    /// The database's `root` password.
    pub database_root_password: String,
    /// The password of the database user `wordpress`.
    pub database_wordpress_password: String,
}

/// Reads a lab's Secrets.
///
/// # Errors
/// [`crate::actions::standing::NoSuchLab`], the cluster does not answer, or there are no Secrets yet.
pub async fn credentials(lab: &LabName) -> Result<Credentials> {
    let url = standing::url(&Docker::connect().await?, lab).await?;
    let cluster = standing::connect(lab).await?;
    let (site, database) = tokio::try_join!(cluster.secret("wordpress-credentials"), cluster.secret("db-credentials"))?;
    from_secrets(lab, &url, site, database)
}

type Values = Option<BTreeMap<String, String>>;

fn from_secrets(lab: &LabName, url: &str, site: Values, database: Values) -> Result<Credentials> {
    let take = |values: &mut Values, secret: &str, key: &str| {
        let value = values.as_mut().and_then(|values| values.remove(key));
        let lacks = || NotComplete { lab: lab.clone(), lacks: format!("it has no {key} in Secret {secret} yet") };
        value.ok_or_else(|| Trouble::from(lacks()))
    };
    let (mut site, mut database) = (site, database);
    Ok(Credentials {
        login_url: format!("{url}/wp-login.php"),
        admin_user: take(&mut site, "wordpress-credentials", "admin-user")?,
        admin_password: take(&mut site, "wordpress-credentials", "admin-password")?,
        database_root_password: take(&mut database, "db-credentials", "root-password")?,
        database_wordpress_password: take(&mut database, "db-credentials", "wordpress-password")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn both_secrets_make_the_credentials_and_a_missing_one_is_named() {
        let site = values(&[("admin-user", "admin"), ("admin-password", "one"), ("auth-key", "never told")]);
        let database =
            values(&[("root-password", "two"), ("wordpress-password", "three"), ("replication-password", "four")]);
        let found = from_secrets(&LabName::default(), "http://127.0.0.1:8080", site.clone(), database)
            .unwrap_or_else(|_| panic!("complete"));
        let json = serde_json::to_value(&found).expect("JSON");
        assert_eq!(json["login-url"], "http://127.0.0.1:8080/wp-login.php");
        assert_eq!((&json["admin-password"], &json["database-root-password"]), (&"one".into(), &"two".into()));
        assert_eq!(json.as_object().expect("an object").len(), 5);
        let error = from_secrets(&LabName::default(), "", site, None).err().expect("incomplete").to_string();
        assert!(error.contains("no root-password in Secret db-credentials") && !error.contains("one"), "{error}");
    }
}
