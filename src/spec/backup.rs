//! Backups as a lab file asks for them: where they go, for whom they are readable, when they are made and which of them are kept.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::{Timestamp, Zoned, civil::ISOWeekDate, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{destination::Destination, problem::quoted};

/// Backups, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BackupSpec {
    /// Where they go.
    pub destination: Place,
    /// Who can read them.
    pub encrypt_for: Readers,
    /// When one is made.
    pub schedule: Schedule,
    /// Which of the scheduled ones are kept.
    pub keep: Keep,
    /// When the newest one is proven.
    pub verify: Schedule,
    /// Whether what is written after a backup is archived, too, so that a lab can be put back to any moment.
    #[serde(default)]
    pub archive: Switch,
}

/// Where backups go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// The S3 server beside the labs of this machine.
    #[default]
    Store,
    /// Somewhere else.
    At(Destination),
}

impl Place {
    /// Reads `store` or an address.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Place, String> {
        match text {
            "store" => Ok(Place::Store),
            "" => Err("'' is no place for backups: write store, s3://…, gs://…, https://… or file:///…".to_owned()),
            address => Destination::new(address).map(Place::At),
        }
    }
}

/// As [`Place::new`] reads it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Store => f.write_str("store"),
            Place::At(destination) => destination.fmt(f),
        }
    }
}

/// For whom backups are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Readers(Vec<String>);

impl Readers {
    /// Reads `everybody` (nothing is encrypted), or age's public keys (`age1…`) with spaces or commas between them.
    ///
    /// # Errors
    /// A sentence that names the one that is none.
    pub fn new(text: &str) -> Result<Readers, String> {
        if text == "everybody" {
            return Ok(Readers::default());
        }
        let keys: Vec<String> = text.split([' ', ',']).filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let wrong =
            |key: &str| format!("{} is no public key of age: write age1… (of age-keygen), or everybody", quoted(key));
        match keys.iter().find(|key| age::x25519::Recipient::from_str(key).is_err()) {
            Some(key) => Err(wrong(key)),
            None if keys.is_empty() => Err(wrong(text)),
            None => Ok(Readers(keys)),
        }
    }

    /// The public keys; none where everybody may read.
    pub fn keys(&self) -> &[String] {
        &self.0
    }
}

/// As [`Readers::new`] reads it.
impl fmt::Display for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("everybody") } else { f.write_str(&self.0.join(" ")) }
    }
}

/// When something is done again and again, in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule(Option<String>);

impl Schedule {
    /// Reads `never`, or the five fields of a cron expression (minute, hour, day, month, day of the week).
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Schedule, String> {
        if text == "never" {
            return Ok(Schedule(None));
        }
        match cron(text) {
            // One that is never due is a mistake, too (the 31st of February).
            Ok(cron) if cron.find_next(Timestamp::now()).is_ok() => Ok(Schedule(Some(text.to_owned()))),
            _ => Err(format!(
                "{} is no schedule: write never, or minute, hour, day, month and day of the week as cron has them, such as \"30 3 * * *\"",
                quoted(text)
            )),
        }
    }

    /// Whether anything is to be done at all.
    pub fn is_never(&self) -> bool {
        self.0.is_none()
    }

    /// When it is due next after a moment.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let cron = cron(self.0.as_ref()?).ok()?;
        cron.find_next(moment).ok().map(|next| next.timestamp())
    }
}

impl Schedule {
    /// The last moment after `since` and up to `now` at which it was due: what was missed is due once.
    pub fn due(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let next = |after| self.after(after).filter(|next| *next <= now);
        let mut due = next(since)?;
        while let Some(later) = next(due) {
            due = later;
        }
        Some(due)
    }
}

fn cron(text: &str) -> Result<cronexpr::Crontab, cronexpr::Error> {
    let mut options = cronexpr::ParseOptions::default();
    options.fallback_timezone_option = cronexpr::FallbackTimezoneOption::UTC;
    cronexpr::parse_crontab_with(text, options)
}

/// As [`Schedule::new`] reads it.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("never"))
    }
}

/// Which backups are kept: the newest of so many hours, days, weeks and months in which there are any, and the last ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keep {
    last: u16,
    hourly: u16,
    daily: u16,
    weekly: u16,
    monthly: u16,
}

impl Keep {
    /// Reads `all`, or numbers of `last`, `hourly`, `daily`, `weekly` and `monthly` ones with commas between them.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Keep, String> {
        let mut keep = Keep::default();
        if text == "all" {
            return Ok(keep);
        }
        let wrong = || {
            format!(
                "{} is no rule for what is kept: write all, or numbers of last, hourly, daily, weekly and monthly ones, such as 7 daily, 4 weekly",
                quoted(text)
            )
        };
        for part in text.split(',') {
            let (number, unit) = part.trim().split_once(' ').ok_or_else(wrong)?;
            let of = match unit.trim() {
                "last" => &mut keep.last,
                "hourly" => &mut keep.hourly,
                "daily" => &mut keep.daily,
                "weekly" => &mut keep.weekly,
                "monthly" => &mut keep.monthly,
                _ => return Err(wrong()),
            };
            match number.parse() {
                Ok(number) if *of == 0 && number > 0 => *of = number,
                _ => return Err(wrong()),
            }
        }
        Ok(keep)
    }

    /// Which of these (the moments at which backups were begun, in any order) are not kept any more. Days, weeks (from Monday)
    /// and months are those of UTC.
    pub fn superfluous(self, begun: &[Timestamp]) -> Vec<Timestamp> {
        if self == Keep::default() {
            return Vec::new();
        }
        let mut newest_first = begun.to_vec();
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        let mut kept: BTreeSet<Timestamp> = newest_first.iter().take(self.last.into()).copied().collect();
        type Period = fn(&Zoned) -> (i16, i16, i8);
        let periods: [(u16, Period); 4] = [
            (self.hourly, |at| (at.year(), at.day_of_year(), at.hour())),
            (self.daily, |at| (at.year(), at.day_of_year(), 0)),
            (self.weekly, |at| {
                let week = ISOWeekDate::from(at.date());
                (week.year(), week.week().into(), 0)
            }),
            (self.monthly, |at| (at.year(), at.month().into(), 0)),
        ];
        for (wanted, period) in periods {
            let mut seen = BTreeSet::new();
            for moment in &newest_first {
                if seen.len() < wanted.into() && seen.insert(period(&moment.to_zoned(TimeZone::UTC))) {
                    kept.insert(*moment);
                }
            }
        }
        newest_first.retain(|moment| !kept.contains(moment));
        newest_first
    }
}

/// As [`Keep::new`] reads it.
impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            (self.last, "last"),
            (self.hourly, "hourly"),
            (self.daily, "daily"),
            (self.weekly, "weekly"),
            (self.monthly, "monthly"),
        ];
        let some: Vec<String> =
            named.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number} {unit}")).collect();
        if some.is_empty() { f.write_str("all") } else { f.write_str(&some.join(", ")) }
    }
}

/// Why nothing is archived of one kind of server.
pub const NO_ARCHIVE: &str =
    "what the members of a Percona XtraDB Cluster log is not archived yet: it was never tried with a real one";

/// Something that is done or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Switch {
    /// It is done.
    On,
    /// It is not done.
    #[default]
    Off,
}

impl Switch {
    /// Reads `on` or `off`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Switch, String> {
        match text {
            "on" => Ok(Switch::On),
            "off" => Ok(Switch::Off),
            other => Err(format!("{} is neither on nor off: write on or off", quoted(other))),
        }
    }

    /// Whether it is done.
    pub fn is_on(self) -> bool {
        self == Switch::On
    }
}

/// As [`Switch::new`] reads it.
impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "on" } else { "off" })
    }
}

as_text!(Place, Readers, Schedule, Keep, Switch);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_due_once() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let nightly = Schedule::new("30 3 * * *").expect("a schedule");
        let due = |since, now| nightly.due(at(since), at(now));
        assert_eq!(due("2026-11-30T00:00:00Z", "2026-11-30T03:29:59Z"), None);
        assert_eq!(due("2026-11-30T00:00:00Z", "2026-11-30T03:30:00Z"), Some(at("2026-11-30T03:30:00Z")));
        assert_eq!(due("2026-11-30T03:30:00Z", "2026-11-30T23:00:00Z"), None, "somebody has asked for it");
        assert_eq!(due("2026-11-20T03:30:00Z", "2026-11-30T23:00:00Z"), Some(at("2026-11-30T03:30:00Z")));
        assert_eq!(Schedule::default().due(at("2026-11-20T03:30:00Z"), at("2026-11-30T23:00:00Z")), None);
    }

    #[test]
    fn what_is_asked_for_is_written_as_it_is_read() {
        for text in ["store", "s3://shop/lab", "file:///srv/backups"] {
            assert_eq!(Place::new(text).expect(text).to_string(), text);
        }
        let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        for text in ["everybody", key, &format!("{key} {key}")] {
            assert_eq!(Readers::new(text).expect(text).to_string(), text);
        }
        for text in ["never", "30 3 * * *", "*/5 * * * MON-FRI"] {
            assert_eq!(Schedule::new(text).expect(text).to_string(), text);
        }
        for text in ["all", "7 daily, 4 weekly", "3 last, 24 hourly, 12 monthly"] {
            assert_eq!(Keep::new(text).expect(text).to_string(), text);
        }
        assert_eq!(Keep::new("4 weekly,7 daily").expect("any order").to_string(), "7 daily, 4 weekly");
    }

    #[test]
    fn what_cannot_be_is_told_with_what_can() {
        for text in ["", "age1", "ssh-ed25519 AAAA", "nobody"] {
            assert!(Readers::new(text).expect_err(text).contains("age1…"), "{text}");
        }
        for text in ["", "30 3 * *", "61 * * * *", "0 0 31 2 *", "@daily", "0 3 * * * *"] {
            assert!(Schedule::new(text).expect_err(text).contains("30 3 * * *"), "{text}");
        }
        for text in ["", "7", "7 days", "0 daily", "7 daily, 8 daily", "-1 last", "7 daily,"] {
            assert!(Keep::new(text).expect_err(text).contains("7 daily, 4 weekly"), "{text}");
        }
    }

    #[test]
    fn a_schedule_is_in_utc() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let nightly = Schedule::new("30 3 * * *").expect("a schedule");
        assert_eq!(nightly.after(at("2026-11-30T03:29:59Z")), Some(at("2026-11-30T03:30:00Z")));
        assert_eq!(nightly.after(at("2026-11-30T03:30:00Z")), Some(at("2026-12-01T03:30:00Z")));
        assert_eq!(Schedule::default().after(at("2026-11-30T03:30:00Z")), None);
    }

    #[test]
    fn the_newest_of_each_period_is_kept() {
        let at = |text: &str| format!("{text}:00Z").parse::<Timestamp>().expect("a time");
        let begun = [
            "2026-11-02T03:30", // Monday
            "2026-11-08T03:30", // Sunday of the same week
            "2026-11-09T03:30",
            "2026-11-28T03:30",
            "2026-11-29T03:30",
            "2026-11-29T15:00",
            "2026-11-30T03:30",
        ]
        .map(at);
        let gone = |rule: &str| Keep::new(rule).expect("a rule").superfluous(&begun);
        assert_eq!(gone("all"), []);
        assert_eq!(gone("7 daily"), [at("2026-11-29T03:30")], "days without any do not count");
        let older = ["2026-11-29T03:30", "2026-11-28T03:30", "2026-11-02T03:30"].map(at);
        assert_eq!(gone("2 daily, 4 weekly"), older, "one of a day and of a week is the newest of it");
        assert_eq!(gone("1 last").len(), 6);
        assert_eq!(gone("1 monthly").len(), 6);
    }
}
