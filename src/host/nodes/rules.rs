//! Cluster addresses stay on this machine. Until kube-proxy has programmed a Service, a packet to its address follows
//! the node's default route and leaves; where something out there answers, the API server keeps that connection. Two
//! rules per network in Docker's own chain for such rules, DOCKER-USER, reject what would leave.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use crate::host::{
    nodes::config::{PODS, SERVICES},
    process::Cmd,
    programs,
};

/// The chain that Docker leaves to its users.
const CHAIN: &str = "DOCKER-USER";
/// The comment by which we know our rules again.
const COMMENT: &str = "wplab";

/// Whether cluster addresses can leave the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leak {
    /// Rules reject them, ours or somebody else's.
    Closed,
    /// They can, and [`ensure`] can close it.
    Open,
    /// Not known, and why.
    Unknown(String),
}

/// Looks at the rules; needs root.
pub async fn look() -> Leak {
    match missing().await {
        Ok(rules) if rules.is_empty() => Leak::Closed,
        Ok(_) => Leak::Open,
        Err(error) => Leak::Unknown(format!("{error:#}")),
    }
}

/// Adds the rules that are missing and says whether there were any.
///
/// # Errors
/// Not root, no iptables, no DOCKER-USER chain; all of them are no reason to stop.
pub async fn ensure() -> Result<bool> {
    let rules = missing().await?;
    for rule in &rules {
        iptables().args(["-I", CHAIN]).args(rule.clone()).run().await.context("cannot add a rule to DOCKER-USER")?;
    }
    Ok(!rules.is_empty())
}

/// Removes our rules and says whether there were any.
///
/// # Errors
/// As [`ensure`].
pub async fn remove() -> Result<bool> {
    let ours = ours(&chain().await?);
    for rule in &ours {
        iptables()
            .args(["-D", CHAIN])
            .args(rule.clone())
            .run()
            .await
            .context("cannot remove a rule from DOCKER-USER")?;
    }
    Ok(!ours.is_empty())
}

/// What an administrator can type where we cannot do it ourselves.
pub fn by_hand() -> String {
    let line = |net: &str| {
        format!(
            "sudo iptables -I {CHAIN} -o \"$(ip route show default | awk '{{print $5; exit}}')\" -d {net} -j REJECT"
        )
    };
    format!("{}; {}", line(PODS), line(SERVICES))
}

fn iptables() -> Cmd {
    // Another program that changes the rules holds their lock for moments only.
    Cmd::new(programs::find("iptables").unwrap_or_else(|| "iptables".into())).args(["-w", "10"])
}

async fn chain() -> Result<String> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "only root may read the machine's packet filter");
    anyhow::ensure!(programs::find("iptables").is_some(), "there is no iptables on this machine");
    let out = iptables().args(["-S", CHAIN]).run().await.context("cannot read the chain DOCKER-USER")?;
    Ok(out.stdout)
}

async fn missing() -> Result<Vec<Vec<String>>> {
    let routes = std::fs::read_to_string("/proc/net/route").context("cannot read /proc/net/route")?;
    // A machine without a way out has nothing to leak through.
    let Some(out) = default_interface(&routes) else { return Ok(Vec::new()) };
    Ok(wanted(&chain().await?, &out))
}

/// The rules to insert, as iptables arguments; inserted in this order, TCP's reset ends up before the plain rejection.
fn wanted(chain: &str, out: &str) -> Vec<Vec<String>> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let common = |net: &str| format!("-d {net} -o {out}");
    let comment = format!("-m comment --comment {COMMENT}");
    [PODS, SERVICES]
        .into_iter()
        .filter(|net| !chain.lines().any(|line| rejects(line, net, out)))
        .flat_map(|net| {
            let all = format!("{} {comment} -j REJECT", common(net));
            let tcp = format!("{} -p tcp {comment} -j REJECT --reject-with tcp-reset", common(net));
            [words(&all), words(&tcp)]
        })
        .collect()
}

/// Whether a rule as `iptables -S` prints it rejects or drops everything to this network on this way out.
fn rejects(line: &str, net: &str, out: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |flag: &str| words.iter().position(|w| *w == flag).and_then(|i| words.get(i + 1)).copied();
    let narrower = ["-p", "-s", "-i", "!", "--dport", "--ctstate"].iter().any(|flag| words.contains(flag));
    words.first() == Some(&"-A")
        && !narrower
        && matches!(after("-j"), Some("REJECT" | "DROP"))
        && after("-o").is_none_or(|o| o == out)
        && after("-d").is_none_or(|d| covers(d, net))
}

/// Whether the first network holds the second.
fn covers(outer: &str, inner: &str) -> bool {
    let (Some((outer, bits)), Some((inner, inner_bits))) = (network(outer), network(inner)) else { return false };
    bits <= inner_bits && (u64::from(outer ^ inner) >> (32 - bits)) == 0
}

fn network(text: &str) -> Option<(u32, u32)> {
    let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
    Some((address.parse::<Ipv4Addr>().ok()?.to_bits(), bits))
}

/// Our rules as arguments for `iptables -D`.
fn ours(chain: &str) -> Vec<Vec<String>> {
    let mark = format!("--comment {COMMENT} ");
    let rules = chain.lines().filter(|line| line.replace('"', "").contains(&mark));
    rules
        .filter_map(|line| line.strip_prefix("-A ")?.strip_prefix(CHAIN))
        .map(|rule| rule.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect())
        .collect()
}

/// The interface of the default route in /proc/net/route.
fn default_interface(routes: &str) -> Option<String> {
    let fields = routes.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let default = fields.filter(|f| f.len() > 7 && f[1] == "00000000" && f[7] == "00000000");
    default.min_by_key(|f| f[6].parse::<u32>().unwrap_or(u32::MAX)).map(|f| f[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDER: &str = "\
-N DOCKER-USER
-A DOCKER-USER -d 10.244.0.0/16 -o eth0 -p tcp -j REJECT --reject-with tcp-reset
-A DOCKER-USER -d 10.244.0.0/16 -o eth0 -j REJECT --reject-with icmp-port-unreachable
-A DOCKER-USER -d 10.96.0.0/12 -o eth0 -j REJECT --reject-with icmp-port-unreachable
-A DOCKER-USER -j RETURN
";

    #[test]
    fn an_empty_chain_needs_four_rules_and_a_wider_one_none() {
        let rules = wanted("-N DOCKER-USER\n-A DOCKER-USER -j RETURN\n", "eth0");
        assert_eq!(rules.len(), 4);
        assert_eq!(
            rules[1].join(" "),
            "-d 10.244.0.0/16 -o eth0 -p tcp -m comment --comment wplab -j REJECT --reject-with tcp-reset"
        );
        assert_eq!(wanted(WIDER, "eth0"), Vec::<Vec<String>>::new());
        assert_eq!(wanted(WIDER, "wlan0").len(), 4);
    }

    #[test]
    fn a_rule_for_one_protocol_is_not_enough() {
        assert!(!rejects("-A DOCKER-USER -d 10.96.0.0/12 -o eth0 -p tcp -j REJECT", SERVICES, "eth0"));
        assert!(!rejects("-A DOCKER-USER -d 10.96.0.0/24 -o eth0 -j REJECT", SERVICES, "eth0"));
        assert!(!rejects("-A DOCKER-USER -d 10.96.0.0/12 -j ACCEPT", SERVICES, "eth0"));
        assert!(rejects("-A DOCKER-USER -d 0.0.0.0/0 -j DROP", SERVICES, "eth0"));
    }

    #[test]
    fn only_our_own_rules_are_removed() {
        assert!(ours(WIDER).is_empty());
        let mixed = format!(
            "{WIDER}-A DOCKER-USER -d 10.96.0.0/16 -o eth0 -m comment --comment wplab -j REJECT --reject-with icmp-port-unreachable\n-A DOCKER-USER -m comment --comment wplab-other -j RETURN\n"
        );
        let rules = ours(&mixed);
        assert_eq!(rules.len(), 1);
        assert_eq!(
            rules[0].join(" "),
            "-d 10.96.0.0/16 -o eth0 -m comment --comment wplab -j REJECT --reject-with icmp-port-unreachable"
        );
    }

    #[test]
    fn the_default_route_with_the_lowest_metric() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            wlan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_interface(routes).as_deref(), Some("eth0"));
        assert_eq!(default_interface("Iface\tDestination\n"), None);
    }
}
