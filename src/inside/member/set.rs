//! `wplab member set`, executed in a member's pod: options are given to the server that runs, all of them or none. What it does not
//! take while it runs is told with the reason, and left for a restart. Nothing is persisted: the option file is where options are.

use std::{collections::BTreeMap, io::Write, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::pod::{self, RUN};
use crate::wire::sql::{Session, Way, error_code, literal, name, refusal};

/// How long the server may take for one statement; a smaller buffer pool is given back in the background.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a server says of a value of another type than it expects.
const WRONG_TYPE: u16 = 1232;
/// How an option is given back to the server, which then has its own value. No option file can have it: it would be quoted.
const DEFAULT: &str = "DEFAULT";

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// The options that the server has now, with its own words for their values; none where any of them was refused.
    pub has: BTreeMap<String, String>,
    /// Those that it does not take while it runs, and why.
    pub refused: BTreeMap<String, String>,
}

/// Gives the server these options, and writes an [`Outcome`] to standard output. With `probe` it is only asked which it would take: each
/// is given the value that it has. An option without a value is the server's own.
///
/// # Errors
/// The server does not answer.
pub(super) async fn run(wanted: &[(String, Option<String>)], probe: bool) -> Result<()> {
    let outcome = give(wanted, probe).await?;
    let text = serde_json::to_string(&outcome).context("cannot write the outcome")?;
    writeln!(std::io::stdout().lock(), "{text}").context("cannot tell the outcome")
}

async fn give(wanted: &[(String, Option<String>)], probe: bool) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut had = Vec::new();
    for (option, _) in wanted {
        let own = format!("@@GLOBAL.{}", variable(option));
        match said(&[format!("SET GLOBAL {} = {own}", variable(option))]).await? {
            Ok(()) => had.push((option, value(&own).await?)),
            Err(why) => drop(outcome.refused.insert(option.clone(), why)),
        }
    }
    if probe || !outcome.refused.is_empty() {
        return Ok(outcome);
    }
    for (option, to) in wanted {
        let forms = to.as_deref().map_or_else(|| vec![DEFAULT.to_owned()], forms);
        let tries: Vec<String> = forms.iter().map(|to| format!("SET GLOBAL {} = {to}", variable(option))).collect();
        if let Err(why) = said(&tries).await? {
            outcome.refused.insert(option.clone(), why);
            break;
        }
    }
    for (option, before) in had {
        if outcome.refused.is_empty() {
            outcome.has.insert(option.clone(), value(&format!("@@GLOBAL.{}", variable(option))).await?);
        } else {
            // One was refused in the middle: the others are as they were.
            let tries: Vec<String> =
                forms(&before).iter().map(|to| format!("SET GLOBAL {} = {to}", variable(option))).collect();
            said(&tries).await?.map_err(anyhow::Error::msg).context("cannot put an option back")?;
        }
    }
    Ok(outcome)
}

/// Tries one form after the other until the server takes one; what it says of the last one. A connection that refused something is
/// not used again.
async fn said(tries: &[String]) -> Result<Result<(), String>> {
    let mut last = Ok(());
    for statement in tries {
        let mut session = connect().await?;
        let Err(error) = session.run(statement).await else { return Ok(Ok(())) };
        let Some(why) = refusal(&error) else { return Err(error.context("the server did not answer")) };
        last = Err(why);
        if error_code(&error) != Some(WRONG_TYPE) {
            break;
        }
    }
    Ok(last)
}

async fn value(variable: &str) -> Result<String> {
    let value = connect().await?.value(&format!("SELECT {variable}")).await;
    Ok(value.context("cannot read an option back")?.unwrap_or_default())
}

async fn connect() -> Result<Session> {
    let way = Way::Socket([RUN, "mysqld.sock"].iter().collect());
    Session::connect(&way, "root", &pod::password("root")?, None, PATIENCE).await
}

/// An option as a variable: the prefix that lets a server pass over what it does not know is not part of its name. What has a point
/// in it belongs to a component.
fn variable(option: &str) -> String {
    let bare = option.strip_prefix("loose_").unwrap_or(option);
    bare.split('.').map(name).collect::<Vec<_>>().join(".")
}

/// The value of an option file in the forms in which a statement may have it, the likeliest first: files know `64M` and `true`.
fn forms(text: &str) -> Vec<String> {
    let quoted = literal(text);
    if let Some(bytes) = crate::spec::size(text) {
        return vec![bytes.to_string(), quoted];
    }
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        return vec![text.to_owned(), quoted];
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" => vec!["1".to_owned(), quoted],
        "false" | "no" => vec!["0".to_owned(), quoted],
        _ => vec![quoted],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_an_option_file_becomes_one_of_a_statement() {
        assert_eq!(forms("64M"), ["67108864", "'64M'"]);
        assert_eq!(forms("-1"), ["-1", "'-1'"]);
        assert_eq!(forms("0.5"), ["0.5", "'0.5'"]);
        assert_eq!(forms("True"), ["1", "'True'"]);
        assert_eq!(forms("ON"), ["'ON'"]);
        assert_eq!(forms("a'; DROP"), ["'a''; DROP'"]);
        assert_eq!(forms("inf"), ["'inf'"], "SQL knows no such number");
    }

    #[test]
    fn an_option_is_named_as_a_variable() {
        assert_eq!(variable("max_connections"), "`max_connections`");
        assert_eq!(variable("loose_validate_password.policy"), "`validate_password`.`policy`");
    }
}
