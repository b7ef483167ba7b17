//! The command line of mount.nfs, as mount(8) and the kubelet write it.

use fuser::MountOption;
use std::time::Duration;

/// One mount.
pub struct Options {
    /// The server, a name or an address.
    pub host: String,
    /// The exported path, without its leading slash.
    pub path: String,
    pub target: String,
    /// `host:/path` as given.
    pub spec: String,
    pub port: u16,
    /// How long one request may take on a connection.
    pub timeo: Duration,
    /// With `soft`: how often a request is tried again before it fails.
    pub retrans: u32,
    pub soft: bool,
    /// How long the mount itself is tried.
    pub retry: Duration,
    /// How long the kernel may believe names and attributes.
    pub ttl: Duration,
    /// What the kernel has to know.
    pub flags: Vec<MountOption>,
}

impl Options {
    /// How long a call may take once mounted; for ever on a hard mount.
    pub fn limit(&self) -> Option<Duration> {
        self.soft.then(|| self.timeo.saturating_mul(self.retrans.saturating_add(1)))
    }
}

/// Options that do not apply here are passed over, like the kernel's client does with `sloppy`;
/// those that ask for something else than NFSv4.1 with AUTH_SYS are refused.
pub fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut names, mut given, mut args) = (vec![], vec![], args);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-o" => given.extend(args.next().unwrap_or_default().split(',').map(String::from)),
            "-r" => given.push("ro".into()),
            "-t" => drop(args.next()),
            arg if arg.starts_with("-o") => given.extend(arg[2..].split(',').map(String::from)),
            arg if arg.starts_with('-') => (), // -s -v -n -w -f
            _ => names.push(arg),
        }
    }
    let [spec, target] = names.try_into().map_err(|_| "usage: mount.nfs SERVER:/PATH TARGET [-o OPTIONS]")?;
    let (host, path) = spec.split_once(":/").ok_or_else(|| format!("{spec}: not SERVER:/PATH"))?;
    let mut options = Options {
        host: host.trim_matches(['[', ']']).into(),
        path: path.into(),
        target,
        spec: spec.clone(),
        port: 2049,
        timeo: Duration::from_secs(60),
        retrans: 2,
        soft: false,
        retry: Duration::from_secs(120),
        ttl: Duration::from_secs(1),
        flags: vec![],
    };
    let (mut device_files, mut set_uid) = (MountOption::Dev, MountOption::Suid);
    for option in &given {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number: u64 = value.parse().unwrap_or(0);
        match key {
            "nfsvers" | "vers" if !["4", "4.1"].contains(&value) => {
                return Err(format!("NFS version {value} is not supported, only 4.1"));
            }
            "minorversion" if value != "1" => {
                return Err(format!("minor version {value} is not supported, only 1"));
            }
            "sec" if value != "sys" => {
                return Err(format!("sec={value} is not supported, only sys"));
            }
            "timeo" => {
                options.timeo = Duration::from_millis(number.saturating_mul(100).clamp(5_000, 600_000))
            }
            "retrans" => options.retrans = u32::try_from(number).unwrap_or(u32::MAX),
            "soft" => options.soft = true,
            "port" if number != 0 => {
                options.port = u16::try_from(number).map_err(|_| format!("port={value} is not a port"))?;
            }
            // at least one attempt's worth
            "retry" => {
                options.retry = Duration::from_secs(number.min(10_000) * 60).max(Duration::from_secs(1))
            }
            "noac" => options.ttl = Duration::ZERO,
            "actimeo" => options.ttl = Duration::from_secs(number.min(1)),
            "ro" => options.flags.push(MountOption::RO),
            "noatime" => options.flags.push(MountOption::NoAtime),
            "noexec" => options.flags.push(MountOption::NoExec),
            "nodev" => device_files = MountOption::NoDev,
            "nosuid" => set_uid = MountOption::NoSuid,
            _ => (),
        }
    }
    options.flags.extend([
        device_files,
        set_uid,
        MountOption::DefaultPermissions,
        MountOption::FSName(spec),
        MountOption::Subtype("nfs4".into()),
    ]);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn what_the_kubelet_asks_for() {
        let o = parsed("10.96.0.200:/export/wp /mnt -o nfsvers=4.1,hard,noatime,timeo=600").expect("options");
        assert_eq!(
            (o.host.as_str(), o.path.as_str(), o.target.as_str()),
            ("10.96.0.200", "export/wp", "/mnt")
        );
        assert_eq!((o.timeo, o.limit()), (Duration::from_secs(60), None));
        assert!(o.flags.contains(&MountOption::NoAtime));
    }

    #[test]
    fn a_soft_mount_gives_up() {
        let o = parsed("[fd00::1]:/ /mnt -o soft,timeo=50,retrans=1,retry=0").expect("options");
        assert_eq!(o.host, "fd00::1");
        assert_eq!((o.limit(), o.retry), (Some(Duration::from_secs(10)), Duration::from_secs(1)));
    }

    #[test]
    fn other_versions_are_refused() {
        for option in ["nfsvers=3", "vers=4.2", "minorversion=2", "sec=krb5", "port=70000"] {
            assert!(parsed(&format!("host:/e /mnt -o {option}")).is_err(), "{option}");
        }
        assert!(parsed("host:/e").is_err());
        assert!(parsed("host /mnt").is_err());
    }

    #[test]
    fn flags_reach_the_kernel_however_they_are_given() {
        for line in ["-r h:/e /m", "h:/e /m -o ro", "-oro h:/e /m", "h:/e /m -s -v -t nfs4 -o rw,ro"] {
            assert!(parsed(line).expect(line).flags.contains(&MountOption::RO), "{line}");
        }
        let plain = parsed("h:/e /m").expect("options").flags;
        assert!(plain.contains(&MountOption::DefaultPermissions), "the kernel checks modes");
        assert!(plain.contains(&MountOption::Dev) && plain.contains(&MountOption::Suid));
        let safe = parsed("h:/e /m -o nodev,nosuid,noexec").expect("options").flags;
        assert!(safe.contains(&MountOption::NoDev) && !safe.contains(&MountOption::Dev));
        assert!(safe.contains(&MountOption::NoSuid) && !safe.contains(&MountOption::Suid));
        assert!(safe.contains(&MountOption::NoExec));
    }

    #[test]
    fn times_have_sensible_bounds() {
        let timeo = |n: &str| parsed(&format!("h:/e /m -o timeo={n}")).expect("options").timeo;
        assert_eq!(timeo("1"), Duration::from_secs(5), "tenths of a second");
        assert_eq!(timeo("99999999999999999999"), Duration::from_secs(5), "no number");
        assert_eq!(timeo("18446744073709551615"), Duration::from_secs(600));
        assert_eq!(
            parsed("h:/e /m -o soft,timeo=600,retrans=99999999999").expect("options").retrans,
            u32::MAX
        );
        for (option, ttl) in [("noac", 0), ("actimeo=0", 0), ("actimeo=60", 1), ("rw", 1)] {
            let o = parsed(&format!("h:/e /m -o {option}")).expect("options");
            assert_eq!(o.ttl, Duration::from_secs(ttl), "{option}");
        }
    }

    #[test]
    fn what_does_not_apply_is_passed_over() {
        let o =
            parsed("h:/ /m -o rsize=1048576,nolock,vers=4,sec=sys,minorversion=1,,port=0").expect("options");
        assert_eq!((o.path.as_str(), o.port, o.soft), ("", 2049, false));
        assert_eq!(parsed("h:/e /m -o port=12049").expect("options").port, 12049);
    }
}
