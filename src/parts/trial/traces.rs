//! What servers and supervisors write into their logs about how a member came into its cluster. It is shown beside what decides,
//! because versions and flavours word it differently.

/// The longest line that is quoted, in characters.
const LONGEST: usize = 200;

/// Whether this member's supervisor began a cluster.
pub(super) fn began(log: &str) -> bool {
    log.lines().any(|line| line.starts_with("wplab: bootstrapping"))
}

/// What tells of a whole copy: who asked for it, and that it came.
pub(super) fn copy(log: &str) -> Vec<String> {
    quotes(log, &["requested state transfer", "based encryption with socat", "SST succeeded"], 4)
}

/// What tells of single changes.
pub(super) fn changes(log: &str) -> Vec<String> {
    quotes(log, &["Receiving IST:", "IST received:"], 4)
}

/// The connections to another member, as the provider names them: `ssl://…`, or `tcp://…`.
pub(super) fn connections(log: &str) -> Vec<String> {
    quotes(log, &["connection established to"], 1)
}

/// The last errors.
pub(super) fn errors(log: &str) -> Vec<String> {
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    errors.iter().skip(errors.len().saturating_sub(3)).map(|line| quote(line)).collect()
}

fn quotes(log: &str, words: &[&str], most: usize) -> Vec<String> {
    let found = log.lines().filter(|line| words.iter().any(|word| line.contains(word)));
    found.take(most).map(|line| format!("log: {}", quote(line))).collect()
}

/// A line without the time before it.
fn quote(line: &str) -> String {
    let line = line.get(line.find('[').unwrap_or(0)..).unwrap_or(line).trim();
    let short: String = line.chars().take(LONGEST).collect();
    if short.len() < line.len() { short + "…" } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "wplab: joining
2026-11-21 18:37:08 0 [Note] WSREP: (8ec391d3, 'ssl://0.0.0.0:4567') connection established to 8d62be2f ssl://172.20.0.3:4567
WSREP_SST: [INFO] Using openssl based encryption with socat: with key and crt (20261121 18:37:10.220)
2026-11-21 18:37:24 0 [Note] WSREP: SST succeeded for position 8d65856f:2
2026-11-21 18:37:31 2 [Note] WSREP: Receiving IST: 6 writesets, seqnos 5-10
2026-11-21 18:37:31 0 [Note] WSREP: Receiving IST... 0.0% (0/8 events) complete.
2026-11-21 18:37:32 0 [ERROR] WSREP: one
2026-11-21T18:37:32.1Z 0 [ERROR] [MY-000000] [WSREP] two
";

    #[test]
    fn what_matters_is_quoted_without_its_time() {
        assert_eq!(connections(LOG).len(), 1);
        assert_eq!(
            copy(LOG),
            [
                "log: [INFO] Using openssl based encryption with socat: with key and crt (20261121 18:37:10.220)",
                "log: [Note] WSREP: SST succeeded for position 8d65856f:2"
            ]
        );
        assert_eq!(changes(LOG), ["log: [Note] WSREP: Receiving IST: 6 writesets, seqnos 5-10"]);
        assert_eq!(errors(LOG), ["[ERROR] WSREP: one", "[ERROR] [MY-000000] [WSREP] two"]);
    }

    #[test]
    fn who_waits_has_not_begun() {
        assert!(!began(LOG) && !began("wplab: waiting: db-0 is starting the cluster\n"));
        assert!(began("wplab: recovering\nwplab: bootstrapping\n"));
    }

    #[test]
    fn a_long_line_is_cut() {
        let quoted = quote(&"é".repeat(LONGEST + 1));
        assert!(quoted.ends_with("é…") && quoted.chars().count() == LONGEST + 1);
    }
}
