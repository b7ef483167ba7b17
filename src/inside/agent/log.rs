//! The agent's log: one JSON object per line on standard error, so that a machine can read it and a person still can.

use std::io::Write;

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Something that happened.
pub(super) fn info(message: &str, fields: &[(&str, Value)]) {
    tell("info", message, fields);
}

/// Something that should not happen often.
pub(super) fn warn(message: &str, fields: &[(&str, Value)]) {
    tell("warning", message, fields);
}

fn tell(level: &str, message: &str, fields: &[(&str, Value)]) {
    // A log that cannot be written is no reason to stop.
    let _ = writeln!(std::io::stderr().lock(), "{}", line(Timestamp::now(), level, message, fields));
}

fn line(time: Timestamp, level: &str, message: &str, fields: &[(&str, Value)]) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), time.to_string().into());
    object.insert("level".to_owned(), level.into());
    object.insert("message".to_owned(), message.into());
    object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        let line = line(Timestamp::UNIX_EPOCH, "info", "leads\nnow", &[("term", 3.into())]);
        assert!(!line.contains('\n'));
        let parsed: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(parsed["time"], "1970-01-01T00:00:00Z");
        assert_eq!((&parsed["message"], &parsed["term"]), (&Value::from("leads\nnow"), &Value::from(3)));
    }
}
