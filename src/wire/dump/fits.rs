//! What must be written in another way for the other kind of server, and what it cannot have. MariaDB knows most of MySQL's collations by
//! name and takes what stands in comments for later MySQLs as comments; MySQL knows less of MariaDB. Rows are the same on both.

use crate::wire::sql::words::quoted;

/// Which kind a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    MySql,
    MariaDb,
}

impl Kind {
    /// Of a server as a dump's first line names it.
    pub(super) fn of(server: &str) -> Option<Kind> {
        match server.split(' ').next() {
            Some("mysql") => Some(Kind::MySql),
            Some("mariadb") => Some(Kind::MariaDb),
            _ => None,
        }
    }
}

/// Languages of MySQL's `utf8mb4_LANGUAGE_0900_…` that MariaDB has no order for.
const UNKNOWN_LANGUAGES: [&str; 10] = ["bg", "bs", "gl", "ja", "mn_cyrl", "nb", "nn", "ru", "sr_latn", "zh"];
/// MariaDB's collations that have another name in MySQL: the same weights of a neighbouring version of Unicode. MySQL tells `a` from `a `
/// where MariaDB does not, so what was unique stays so.
const RENAMED: [(&str, &str); 10] = [
    ("utf8mb4_uca1400_ai_ci", "utf8mb4_0900_ai_ci"),
    ("utf8mb4_uca1400_as_ci", "utf8mb4_0900_as_ci"),
    ("utf8mb4_uca1400_as_cs", "utf8mb4_0900_as_cs"),
    ("utf8mb4_uca1400_nopad_ai_ci", "utf8mb4_0900_ai_ci"),
    ("utf8mb4_uca1400_nopad_as_ci", "utf8mb4_0900_as_ci"),
    ("utf8mb4_uca1400_nopad_as_cs", "utf8mb4_0900_as_cs"),
    ("utf8mb4_nopad_bin", "utf8mb4_0900_bin"),
    ("utf8mb4_unicode_520_nopad_ci", "utf8mb4_0900_ai_ci"),
    ("utf8mb3_uca1400_ai_ci", "utf8mb3_unicode_ci"),
    ("utf8mb3_uca1400_as_cs", "utf8mb3_bin"),
];
/// Types that only MariaDB has, or that both have differently.
const OWN_TYPES: [&str; 5] = ["uuid", "inet4", "inet6", "vector", "xmltype"];
/// What a `sql_mode` may say on both.
const MODES: [&str; 14] = [
    "ALLOW_INVALID_DATES",
    "ANSI_QUOTES",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "HIGH_NOT_PRECEDENCE",
    "IGNORE_SPACE",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_BACKSLASH_ESCAPES",
    "NO_ENGINE_SUBSTITUTION",
    "NO_UNSIGNED_SUBTRACTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ONLY_FULL_GROUP_BY",
    "PIPES_AS_CONCAT",
    "REAL_AS_FLOAT",
];
const MORE_MODES: [&str; 3] = ["STRICT_ALL_TABLES", "STRICT_TRANS_TABLES", "PAD_CHAR_TO_FULL_LENGTH"];

/// A statement's words, names, strings, comments and white space; put together they are the statement.
fn tokens(sql: &str) -> Vec<&str> {
    let (mut all, mut rest) = (Vec::new(), sql);
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    while let Some(first) = rest.chars().next() {
        let length = match first {
            quote @ ('`' | '\'' | '"') => quoted(rest.as_bytes(), quote as u8),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if c.is_whitespace() => rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()),
            c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, more) = rest.split_at(length);
        all.push(token);
        rest = more;
    }
    all
}

/// The same statement without line breaks.
pub(super) fn one_line(sql: &str) -> String {
    let line = |token: &str| match token.chars().next() {
        Some('\'' | '"') => token.replace('\r', "\\r").replace('\n', "\\n"),
        _ => token.replace(['\r', '\n'], " "),
    };
    tokens(sql).into_iter().map(line).collect()
}

/// A CREATE TABLE of the one kind as the other has it. What it cannot have is added to `unfit`.
pub(super) fn table(sql: &str, from: Kind, to: Kind, unfit: &mut Vec<String>) -> String {
    if from == to {
        return sql.to_owned();
    }
    let all = without_introducers(tokens(sql), to);
    let name = all.iter().find(|token| token.starts_with('`')).map_or("", |name| name.trim_matches('`'));
    let (Some(open), Some(close)) = (all.iter().position(|token| *token == "("), end_of_list(&all)) else {
        unfit.push(format!("table {name} is written in a way that is not known"));
        return sql.to_owned();
    };
    let definitions = all[open + 1..close].to_vec();
    let definitions: Vec<String> = parts(&definitions)
        .into_iter()
        .filter_map(|definition| {
            let mut why = Vec::new();
            let text = match to {
                Kind::MariaDb => for_mariadb(definition, &mut why),
                Kind::MySql => for_mysql(definition, &mut why),
            };
            let of = definition.iter().find(|token| token.starts_with('`')).map_or("", |name| name.trim_matches('`'));
            unfit.extend(why.into_iter().map(|why| format!("{name}.{of}: {why}")));
            text
        })
        .collect();
    let mut why = Vec::new();
    let rest: Vec<String> = all[close..].iter().map(|token| collation(token, to, &mut why)).collect();
    unfit.extend(why.into_iter().map(|why| format!("table {name}: {why}")));
    let rest = if to == Kind::MySql { without_own_options(rest) } else { rest };
    format!("{}{}{}", all[..=open].concat(), definitions.join(","), rest.concat())
}

/// Any other statement of the one kind as the other has it.
pub(super) fn other(sql: &str, from: Kind, to: Kind, unfit: &mut Vec<String>) -> String {
    if from == to {
        return sql.to_owned();
    }
    if let Some(modes) = sql.strip_prefix("SET sql_mode='") {
        let known = |mode: &&str| MODES.contains(mode) || MORE_MODES.contains(mode);
        let modes: Vec<&str> = modes.trim_end_matches('\'').split(',').filter(known).collect();
        return format!("SET sql_mode='{}'", modes.join(","));
    }
    without_introducers(tokens(sql), to).into_iter().map(|token| collation(token, to, unfit)).collect()
}

/// MariaDB forgets the escapes of a string behind `_utf8mb4`, which says what is so anyway.
fn without_introducers(mut all: Vec<&str>, to: Kind) -> Vec<&str> {
    if to == Kind::MariaDb {
        let strings: Vec<bool> = all.iter().skip(1).map(|next| next.starts_with('\'')).chain([false]).collect();
        let mut before_string = strings.into_iter();
        all.retain(|token| !(before_string.next().unwrap_or(false) && *token == "_utf8mb4"));
    }
    all
}

/// Where the parenthesis ends that begins first.
fn end_of_list(all: &[&str]) -> Option<usize> {
    let mut depth = 0_i32;
    all.iter().position(|token| {
        depth += i32::from(*token == "(") - i32::from(*token == ")");
        *token == ")" && depth == 0
    })
}

/// A list at its outer commas.
fn parts<'a, 't>(all: &'a [&'t str]) -> Vec<&'a [&'t str]> {
    let mut depth = 0_i32;
    all.split(|token| {
        depth += i32::from(*token == "(") - i32::from(*token == ")");
        *token == "," && depth == 0
    })
    .collect()
}

fn collation(token: &str, to: Kind, unfit: &mut Vec<String>) -> String {
    let unknown = match to {
        Kind::MariaDb => token
            .strip_prefix("utf8mb4_")
            .and_then(|rest| rest.split_once("_0900_"))
            .is_some_and(|(language, _)| UNKNOWN_LANGUAGES.contains(&language)),
        Kind::MySql => match RENAMED.iter().find(|(theirs, _)| *theirs == token) {
            Some((_, ours)) => return (*ours).to_owned(),
            None => token.starts_with("utf8") && (token.contains("_uca1400_") || token.contains("_nopad_")),
        },
    };
    if unknown {
        unfit.push(format!("there is no collation {token}"));
    }
    token.to_owned()
}

fn for_mariadb(definition: &[&str], unfit: &mut Vec<String>) -> Option<String> {
    let first = words(definition);
    if let [column, kind, ..] = first[..]
        && column.starts_with('`')
    {
        if kind.eq_ignore_ascii_case("vector") {
            unfit.push("the type vector is another one".to_owned());
        }
    } else if definition.iter().any(|token| token.contains("NOT ENFORCED")) {
        // It would be enforced.
        return None;
    } else if !["CONSTRAINT", "CHECK"].contains(first.first().unwrap_or(&"")) && has_expression(&first) {
        unfit.push("there are no indexes of expressions".to_owned());
    }
    Some(definition.iter().map(|token| collation(token, Kind::MariaDb, unfit)).collect())
}

/// Whether a part of an index is not a column: `KEY `k` ((…))`.
fn has_expression(words: &[&str]) -> bool {
    let depth = words.iter().scan(0_i32, |depth, word| {
        let before = *depth;
        *depth += i32::from(*word == "(") - i32::from(*word == ")");
        Some((before, *word))
    });
    depth.into_iter().any(|(before, word)| before == 1 && word == "(") && {
        // `a`(10) is a prefix of a column: there the parenthesis follows a name.
        words.windows(2).any(|two| matches!(two, ["(" | ",", "("]))
    }
}

fn words<'t>(definition: &[&'t str]) -> Vec<&'t str> {
    definition.iter().copied().filter(|token| !token.trim().is_empty()).collect()
}

fn for_mysql(definition: &[&str], unfit: &mut Vec<String>) -> Option<String> {
    let first = words(definition);
    let is_column = first.first().is_some_and(|first| first.starts_with('`'));
    if is_column && OWN_TYPES.iter().any(|own| first.get(1).is_some_and(|kind| kind.eq_ignore_ascii_case(own))) {
        unfit.push(format!("there is no type {}, or another one", first[1]));
    }
    if first.starts_with(&["PERIOD"]) || first.windows(2).any(|two| two == ["WITHOUT", "OVERLAPS"]) {
        unfit.push("there are no periods".to_owned());
    }
    let mut text: Vec<String> = definition.iter().map(|token| collation(token, Kind::MySql, unfit)).collect();
    if is_column {
        default_in_parentheses(&first, &mut text);
    } else if let ["CONSTRAINT", name, "CHECK", ..] = first[..]
        && name.starts_with("`CONSTRAINT_")
    {
        // MariaDB's own names are those of a table, MySQL's those of the database.
        for token in text.iter_mut().take_while(|token| *token != "CHECK") {
            if token == "CONSTRAINT" || token == name {
                token.clear();
            }
        }
    } else {
        for token in text.iter_mut().filter(|token| *token == "IGNORED") {
            *token = "INVISIBLE".to_owned();
        }
    }
    Some(text.concat())
}

/// MySQL wants parentheses around a default that is computed, and around one of a text that may be long.
fn default_in_parentheses(words: &[&str], text: &mut [String]) {
    let long = words.get(1).is_some_and(|kind| {
        let kind = kind.to_lowercase();
        kind.ends_with("text") || kind.ends_with("blob")
    });
    let Some(at) = text.iter().position(|token| token == "DEFAULT") else { return };
    let Some(begin) = (at + 1..text.len()).find(|index| !text[*index].trim().is_empty()) else { return };
    let value = text[begin].as_str();
    let called = text.get(begin + 1).is_some_and(|next| next == "(");
    let now = ["current_timestamp", "now", "localtimestamp", "localtime"].contains(&value.to_lowercase().as_str());
    let end = match value {
        _ if value.starts_with('\'') && long => begin,
        _ if called && !now => {
            let rest: Vec<&str> = text[begin..].iter().map(String::as_str).collect();
            begin + end_of_list(&rest).unwrap_or(0)
        }
        _ => return,
    };
    text[begin].insert(0, '(');
    text[end].push(')');
}

/// Without options of MariaDB's own storage, which stand between backticks.
fn without_own_options(rest: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut tokens = rest.into_iter().peekable();
    let mut partitions = false;
    while let Some(token) = tokens.next() {
        partitions |= token.eq_ignore_ascii_case("PARTITION");
        let own = token.starts_with('`') || ["PAGE_CHECKSUM", "TRANSACTIONAL"].contains(&token.as_str());
        if own && !partitions && tokens.next_if_eq("=").is_some() {
            tokens.next();
        } else {
            kept.push(token);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn mapped(sql: &str, from: Kind, to: Kind) -> (String, Vec<String>) {
        let mut unfit = Vec::new();
        (table(sql, from, to, &mut unfit), unfit)
    }

    #[test]
    fn tokens_are_the_statement() {
        let sql = "a`b``c`'it''s \\' x'(1,/* ` */2) \n é=\"q\\\"\"`open";
        let all = tokens(sql);
        assert_eq!(all.concat(), sql);
        assert!(all.contains(&"`b``c`") && all.contains(&"'it''s \\' x'") && all.contains(&"/* ` */"), "{all:?}");
        assert_eq!(one_line("a\n  'b\nc' `d`\n"), "a   'b\\nc' `d` ");
    }

    #[test]
    fn nothing_changes_for_the_same_kind() {
        let sql = "CREATE TABLE `t` ( `u` uuid ) COLLATE=utf8mb4_ja_0900_as_cs";
        for kind in [Kind::MySql, Kind::MariaDb] {
            assert_eq!(mapped(sql, kind, kind), (sql.to_owned(), vec![]));
        }
        assert_eq!(Kind::of("mariadb 11.8.9-MariaDB"), Some(Kind::MariaDb));
        assert_eq!(Kind::of("oracle 23"), None);
    }

    #[test]
    fn mysqls_tables_for_mariadb() {
        let sql = "CREATE TABLE `t` (  `a` int DEFAULT NULL /*!80023 INVISIBLE */,  `s` varchar(9) COLLATE utf8mb4_0900_bin,  \
                   KEY `k` (`s`(3)), `t` text DEFAULT (_utf8mb4'it\\'s'), CONSTRAINT `c` CHECK ((`a` > 0)),  CONSTRAINT `d` CHECK ((`a` > 9)) /*!80016 NOT ENFORCED */) \
                   ENGINE=InnoDB COLLATE=utf8mb4_0900_ai_ci";
        let expected =
            sql.replace(",  CONSTRAINT `d` CHECK ((`a` > 9)) /*!80016 NOT ENFORCED */", "").replace("_utf8mb4'", "'");
        assert_eq!(mapped(sql, Kind::MySql, Kind::MariaDb), (expected, vec![]));
        let sql = "CREATE TABLE `t` ( `v` vector(3), `r` varchar(9) COLLATE utf8mb4_ru_0900_ai_ci, KEY `f` ((lower(`r`))), \
                   UNIQUE KEY `g` (`r`,(`v` + 1)) ) COLLATE=utf8mb4_ja_0900_as_cs";
        let (_, unfit) = mapped(sql, Kind::MySql, Kind::MariaDb);
        assert_eq!(
            unfit,
            [
                "t.v: the type vector is another one",
                "t.r: there is no collation utf8mb4_ru_0900_ai_ci",
                "t.f: there are no indexes of expressions",
                "t.g: there are no indexes of expressions",
                "table t: there is no collation utf8mb4_ja_0900_as_cs",
            ]
        );
    }

    #[test]
    fn mariadbs_tables_for_mysql() {
        let sql = "CREATE TABLE `t` ( `a` text DEFAULT 'x,(', `b` varchar(9) DEFAULT 'IGNORED', `c` char(36) DEFAULT uuid(), \
                   `d` datetime DEFAULT current_timestamp() ON UPDATE current_timestamp(), \
                   `j` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`j`)), \
                   KEY `k` (`b`) IGNORED, CONSTRAINT `CONSTRAINT_1` CHECK (`b` > 0), CONSTRAINT `mine` CHECK (`b` > 0) ) \
                   ENGINE=InnoDB COLLATE=utf8mb4_uca1400_ai_ci `PAGE_COMPRESSED`='ON' COMMENT='`x`=1'";
        let expected = sql
            .replace("DEFAULT 'x,('", "DEFAULT ('x,(')")
            .replace("DEFAULT uuid()", "DEFAULT (uuid())")
            .replace("(`b`) IGNORED", "(`b`) INVISIBLE")
            .replace("CONSTRAINT `CONSTRAINT_1` ", "  ")
            .replace("utf8mb4_uca1400_ai_ci `PAGE_COMPRESSED`='ON'", "utf8mb4_0900_ai_ci ");
        assert_eq!(mapped(sql, Kind::MariaDb, Kind::MySql), (expected, vec![]));
        let sql = "CREATE TABLE `t` ( `u` uuid NOT NULL, `s` text COLLATE utf8mb4_uca1400_turkish_as_cs )";
        let (_, unfit) = mapped(sql, Kind::MariaDb, Kind::MySql);
        assert_eq!(
            unfit,
            ["t.u: there is no type uuid, or another one", "t.s: there is no collation utf8mb4_uca1400_turkish_as_cs"]
        );
    }

    #[test]
    fn modes_and_views_are_mapped_too() {
        let mut unfit = Vec::new();
        let mut map = |sql| other(sql, Kind::MariaDb, Kind::MySql, &mut unfit);
        assert_eq!(map("SET sql_mode='NO_AUTO_CREATE_USER,ANSI_QUOTES'"), "SET sql_mode='ANSI_QUOTES'");
        let view = "CREATE VIEW v AS select 'utf8mb4_uca1400_ai_ci' collate utf8mb4_uca1400_ai_ci";
        assert_eq!(map(view), "CREATE VIEW v AS select 'utf8mb4_uca1400_ai_ci' collate utf8mb4_0900_ai_ci");
        assert!(unfit.is_empty());
    }
}
