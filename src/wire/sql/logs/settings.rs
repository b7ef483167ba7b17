//! What a session was set to when it made a statement, as far as what the statement does may depend on it. It stands in the statement's
//! event, as numbered variables (source: `statement_events.h` of MySQL, `log_event.h` of MariaDB). The library reads them but for those of MariaDB's
//! own, and seconds' fractions.

use mysql_async::binlog::events::QueryEvent;

use crate::wire::sql::literal;

const FLAGS: u8 = 0;
const SQL_MODE: u8 = 1;
const AUTO_INCREMENT: u8 = 3;
const CHARACTER_SETS: u8 = 4;
const TIME_ZONE: u8 = 5;
const MICROSECONDS: u8 = 13;
const EXPLICIT_DEFAULTS: u8 = 16;
/// MariaDB's microseconds.
const HRNOW: u8 = 128;
/// MariaDB's collations of character sets for which none is named. It is not there where a session has none of its own.
const COLLATIONS: u8 = 131;

/// By a collation's number, which MariaDB takes for a character set only where it is the usual one.
const CHARACTER_SET: &str = "SELECT CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY";
/// Of the flags (source: `query_options.h`): keys to other tables are not looked at, and what is to be unique need not be.
const NO_FOREIGN_KEY_CHECKS: u32 = 1 << 26;
const RELAXED_UNIQUE_CHECKS: u32 = 1 << 27;

/// What makes a session the same to a statement that was made in this second; `mysqlbinlog` says as much.
pub(super) fn settings(query: &QueryEvent<'_>, second: u32, mariadb: bool) -> String {
    let (mut flags, mut micros, mut counts, mut collations) = (0, 0, (1, 1), false);
    let mut more = String::new();
    for (key, value) in Variables(query.status_vars_raw()) {
        match (key, value) {
            (FLAGS, &[a, b, c, d]) => flags = u32::from_le_bytes([a, b, c, d]),
            (SQL_MODE, &[a, b, c, d, e, f, g, h]) => {
                more += &format!(", sql_mode = {}", u64::from_le_bytes([a, b, c, d, e, f, g, h]));
            }
            (AUTO_INCREMENT, &[a, b, c, d]) => counts = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
            (CHARACTER_SETS, &[a, b, c, d, e, f]) => {
                let [client, connection, server] = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
                let client =
                    if mariadb { format!("({CHARACTER_SET} WHERE ID = {client})") } else { client.to_string() };
                more += &format!(
                    ", character_set_client = {client}, collation_connection = {connection}, collation_server = {server}"
                );
            }
            (TIME_ZONE, [_, zone @ ..]) if !zone.is_empty() => {
                more += &format!(", time_zone = {}", literal(&String::from_utf8_lossy(zone)));
            }
            (EXPLICIT_DEFAULTS, &[explicit]) => more += &format!(", explicit_defaults_for_timestamp = {explicit}"),
            (MICROSECONDS | HRNOW, &[a, b, c]) => micros = u32::from_le_bytes([a, b, c, 0]),
            (COLLATIONS, _) => collations = true,
            _ => {}
        }
    }
    if mariadb {
        more += if collations { ", character_set_collations = DEFAULT" } else { ", character_set_collations = ''" };
    }
    let checks = |off| u8::from(flags & off == 0);
    format!(
        "SET timestamp = {second}.{micros:06}, foreign_key_checks = {}, unique_checks = {}, \
         auto_increment_increment = {}, auto_increment_offset = {}{more}",
        checks(NO_FOREIGN_KEY_CHECKS),
        checks(RELAXED_UNIQUE_CHECKS),
        counts.0,
        counts.1,
    )
}

/// The variables of a statement, of which this is what is left. As at the servers, they end with the first one that is not known.
struct Variables<'a>(&'a [u8]);

impl<'a> Iterator for Variables<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = self.0.split_first()?;
        let text = |at: usize| Some(1 + usize::from(*rest.get(at)?));
        let length = match *key {
            EXPLICIT_DEFAULTS | 19 | 20 => 1,
            7 | 8 | 18 | 130 => 2,
            MICROSECONDS | HRNOW => 3,
            FLAGS | AUTO_INCREMENT | 10 => 4,
            CHARACTER_SETS => 6,
            SQL_MODE | 9 | 17 | 129 => 8,
            TIME_ZONE | 6 => text(0)?,
            // A user and a host.
            11 => text(0)? + text(text(0)?)?,
            // Databases; too many are not named.
            12 => {
                let (count, names) = rest.split_first()?;
                let names = names.split_inclusive(|byte| *byte == 0).take(usize::from(count % 254));
                1 + names.map(<[u8]>::len).sum::<usize>()
            }
            COLLATIONS => 1 + 4 * usize::from(*rest.first()?),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[u8], mariadb: bool) -> String {
        settings(&QueryEvent::new(variables, &b"site"[..]), 1_700_000_000, mariadb)
    }

    #[test]
    fn a_session_is_made_what_another_one_was() {
        let plain = "SET timestamp = 1700000000.000000, foreign_key_checks = 1, unique_checks = 1, \
                     auto_increment_increment = 1, auto_increment_offset = 1";
        assert_eq!(said(&[], false), plain);
        let all = [
            &[0, 0, 0, 0, 4][..],
            &[1, 4, 0, 0, 0, 0, 0, 0, 0],
            &[6, 3, b's', b't', b'd', 3, 7, 0, 3, 0, 4, 8, 0, 8, 0, 255, 0],
            &[5, 6, b'+', b'0', b'5', b':', b'3', b'0'],
            &[11, 1, b'u', 2, b'h', b'h', 12, 2, b'a', 0, b'b', b'c', 0, 13, 1, 0, 1],
            &[16, 1],
        ]
        .concat();
        assert_eq!(
            said(&all, false),
            "SET timestamp = 1700000000.065537, foreign_key_checks = 0, unique_checks = 1, auto_increment_increment = 7, \
             auto_increment_offset = 3, sql_mode = 4, character_set_client = 8, collation_connection = 8, collation_server = 255, \
             time_zone = '+05:30', explicit_defaults_for_timestamp = 1"
        );
    }

    #[test]
    fn a_mariadb_says_more_of_it() {
        let usual = [&[128, 1, 0, 0, 130, 0, 0, 131, 1][..], &[45, 0, 0, 9]].concat();
        let text = said(&usual, true);
        assert!(text.contains(".000001,") && text.ends_with(", character_set_collations = DEFAULT"), "{text}");
        let text = said(&[4, 0, 9, 8, 0, 8, 0], true);
        assert!(text.contains("WHERE ID = 2304), collation_connection = 8, collation_server = 8"), "{text}");
        assert!(said(&[], true).ends_with(", character_set_collations = ''"));
    }

    #[test]
    fn what_is_not_known_or_breaks_off_ends_it() {
        let text = said(&[0, 0, 0, 0, 4, 200, 13, 1, 0, 0], false);
        assert!(text.contains("foreign_key_checks = 0") && text.contains(".000000"), "{text}");
        assert!(said(&[12, 254, 13, 1, 0, 0], false).contains(".000001"), "too many databases");
        assert!(said(&[0, 0, 0], false).contains("foreign_key_checks = 1"));
        assert!(said(&[11, 200], false).contains("unique_checks = 1"));
    }
}
