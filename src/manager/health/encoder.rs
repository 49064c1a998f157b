//! Numbers in the text format of Prometheus, gathered when asked for.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// Something whose numbers `/metrics` shows.
///
/// It is asked on each scrape and reads counters that are there anyway; nothing is recorded twice and nothing costs
/// while nobody looks. Every closure `Fn(&mut Encoder)` is one. It must not block.
///
/// # Examples
///
/// ```
/// use informer::manager::health::{Encoder, Health};
///
/// let health = Health::new();
/// health.collect("jobs", |out: &mut Encoder| {
///     out.counter("jobs_total", "Jobs done.", &[("kind", "nightly")], 7);
/// });
/// assert!(health.metrics().contains("jobs_total{kind=\"nightly\"} 7\n"));
/// ```
pub trait Collect: Send + Sync + 'static {
    /// Adds its samples.
    fn collect(&self, out: &mut Encoder);
}

impl<F: Fn(&mut Encoder) + Send + Sync + 'static> Collect for F {
    fn collect(&self, out: &mut Encoder) {
        self(out);
    }
}

/// Takes samples from any number of [collectors](Collect) and writes them family by family.
///
/// # Ordering & consistency
///
/// Families are in the order of their names, samples in the order in which they came. Of two samples with one name and
/// the same labels the first stays. The help and type of a family are those of its first sample; a sample of another
/// type under its name is left out.
///
/// # Memory
///
/// At most 100,000 lines; what comes after is left out and counted in `informer_metrics_dropped_samples`.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    families: BTreeMap<String, Family>,
    samples: usize,
    dropped: u64,
}

#[derive(Clone, Debug)]
struct Family {
    kind: &'static str,
    help: String,
    /// Labels of samples that are there.
    seen: std::collections::BTreeSet<String>,
    text: String,
}

impl Encoder {
    /// Adds a number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        self.sample("counter", name, help, labels, |family, name, labels| {
            let _ = writeln!(family, "{name}{} {value}", braces(labels));
            1
        });
    }

    /// Adds a number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample("gauge", name, help, labels, |family, name, labels| {
            let _ = writeln!(family, "{name}{} {}", braces(labels), float(value));
            1
        });
    }

    /// Adds durations by buckets, in seconds: `(upper bound, how many took no longer)`, cumulative, without the bucket
    /// that has no bound.
    pub fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        buckets: impl IntoIterator<Item = (Duration, u64)>,
        sum: Duration,
        count: u64,
    ) {
        self.sample("histogram", name, help, labels, |family, name, labels| {
            let mut lines = 3;
            let comma = if labels.is_empty() { "" } else { "," };
            for (bound, count) in buckets {
                let bound = float(seconds(bound));
                let _ = writeln!(family, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
                lines += 1;
            }
            let _ = writeln!(family, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
            let _ = writeln!(
                family,
                "{name}_sum{} {}",
                braces(labels),
                float(sum.as_secs_f64())
            );
            let _ = writeln!(family, "{name}_count{} {count}", braces(labels));
            lines
        });
    }

    /// Adds a sum and how many made it up, without saying how they are spread.
    pub fn summary(&mut self, name: &str, help: &str, labels: &[(&str, &str)], sum: f64, count: u64) {
        self.sample("summary", name, help, labels, |family, name, labels| {
            let _ = writeln!(family, "{name}_sum{} {}", braces(labels), float(sum));
            let _ = writeln!(family, "{name}_count{} {count}", braces(labels));
            2
        });
    }

    /// Everything that was added, as `text/plain; version=0.0.4`.
    pub fn finish(mut self) -> String {
        if self.dropped > 0 {
            let dropped = self.dropped;
            self.samples = 0;
            self.gauge(DROPPED, "Samples left out of this answer.", &[], dropped as f64);
        }
        let mut text = String::new();
        for (name, family) in self.families {
            let _ = writeln!(text, "# HELP {name} {}", family.help);
            let _ = writeln!(text, "# TYPE {name} {}", family.kind);
            text.push_str(&family.text);
        }
        text
    }

    fn sample(
        &mut self,
        kind: &'static str,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        write: impl FnOnce(&mut String, &str, &str) -> usize,
    ) {
        if self.samples >= LIMIT {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let name = identifier(name, true);
        let labels = encode(labels);
        let family = self.families.entry(name.clone()).or_insert_with(|| Family {
            kind,
            help: help.replace('\\', "\\\\").replace('\n', "\\n"),
            seen: std::collections::BTreeSet::new(),
            text: String::new(),
        });
        if family.kind != kind || !family.seen.insert(labels.clone()) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.samples += write(&mut family.text, &name, &labels);
    }
}

fn braces(labels: &str) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    }
}

/// `name="value",…` with names made valid and values escaped.
fn encode(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&identifier(name, false));
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

/// A name that Prometheus takes: what it would refuse becomes `_`. Colons are for the names of metrics only.
fn identifier(name: &str, colons: bool) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let mut text: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if text.starts_with(|c: char| c.is_ascii_digit()) || text.is_empty() {
        text.insert(0, '_');
    }
    text
}

/// Seconds with the fewest digits: a quotient of integers rounds once, so 10 ns is 1e-8 and not its neighbour.
fn seconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e9
}

/// A number as Go writes it, so that bounds of buckets have one name everywhere.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-4..1e21).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}

/// The name of the count of what did not fit.
const DROPPED: &str = "informer_metrics_dropped_samples";

/// The most lines of one answer: several megabytes, more than any server should be made to scrape.
const LIMIT: usize = 100_000;
