//! Measurements, in the text format of Prometheus.
//!
//! Written here and not with `prometheus-client`: that crate turns on a feature of `parking_lot`, which Burn uses, and another set of
//! features compiles Burn a second time.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ivl_core::decode::SpeculativeRound;
use ivl_core::score::DistributionChange;

/// Upper bounds in seconds.
const SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds in nats.
const NATS: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Name, type, help, and buckets of a histogram.
type Family = (&'static str, &'static str, &'static str, &'static [f64]);

const FAMILIES: &[Family] = &[
    ("ivl_requests_total", "counter", "Requests answered, by endpoint and status.", &[]),
    (
        "ivl_requests_cancelled_total",
        "counter",
        "Requests whose clients went away before the end of the answer, by endpoint.",
        &[],
    ),
    ("ivl_prompt_tokens_total", "counter", "Tokens of prompts, by model.", &[]),
    (
        "ivl_prompt_tokens_cached_total",
        "counter",
        "Tokens of prompts that were known from earlier ones.",
        &[],
    ),
    ("ivl_generated_tokens_total", "counter", "Tokens written, by model.", &[]),
    (
        "ivl_time_to_first_token_seconds",
        "histogram",
        "From the request to the first token, by model.",
        SECONDS,
    ),
    ("ivl_time_per_output_token_seconds", "histogram", "Between tokens of a text, by model.", SECONDS),
    ("ivl_texts_waiting", "gauge", "Texts in the queue.", &[]),
    ("ivl_texts_running", "gauge", "Texts being written.", &[]),
    ("ivl_cache_bytes", "gauge", "Bytes of the caches of texts being written.", &[]),
    ("ivl_prefix_cache_bytes", "gauge", "Bytes of the caches of earlier prompts.", &[]),
    ("ivl_value_kl_nats", "histogram", "KL(fused, base) at a sample of the tokens, by value.", NATS),
    (
        "ivl_value_flips_total",
        "counter",
        "Tokens of the sample whose most probable one the value changed.",
        &[],
    ),
    ("ivl_value_compared_tokens_total", "counter", "Size of the sample, by value.", &[]),
    ("ivl_speculative_drafted_total", "counter", "Tokens that a draft guessed.", &[]),
    ("ivl_speculative_accepted_total", "counter", "Guessed tokens that the models chose too.", &[]),
    ("ivl_speculative_rounds_total", "counter", "Passes of the models that checked guesses.", &[]),
    ("ivl_panics_total", "counter", "Steps of the engine or requests that ended in a panic.", &[]),
];

#[derive(Debug, Default)]
struct Histogram {
    buckets: Vec<u64>,
    sum: f64,
    count: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// By family and labels.
    numbers: BTreeMap<(&'static str, String), u64>,
    histograms: BTreeMap<(&'static str, String), Histogram>,
}

/// The measurements of a server.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Inner>);

impl Metrics {
    /// A request was answered.
    pub(crate) fn request(&self, endpoint: &str, status: u16) {
        let labels = labels(&[("endpoint", endpoint), ("status", &status.to_string())]);
        self.lock().add("ivl_requests_total", labels, 1);
    }

    /// The client of a request went away before the end of the answer.
    pub(crate) fn cancelled(&self, endpoint: &str) {
        self.lock().add("ivl_requests_cancelled_total", labels(&[("endpoint", endpoint)]), 1);
    }

    /// A prompt was accepted.
    pub(crate) fn prompt(&self, model: &str, tokens: usize) {
        self.lock().add("ivl_prompt_tokens_total", labels(&[("model", model)]), tokens as u64);
    }

    /// Counts prompt tokens that came from the cache.
    pub(crate) fn cached(&self, tokens: usize) {
        self.lock().add("ivl_prompt_tokens_cached_total", String::new(), tokens as u64);
    }

    /// A token was written, so long after the one before it, or after the request.
    pub(crate) fn token(&self, model: &str, after: Duration, first: bool) {
        let labels = labels(&[("model", model)]);
        let family =
            if first { "ivl_time_to_first_token_seconds" } else { "ivl_time_per_output_token_seconds" };
        let mut inner = self.lock();
        inner.add("ivl_generated_tokens_total", labels.clone(), 1);
        inner.observe(family, labels, SECONDS, after.as_secs_f64());
    }

    /// Records a comparison of a token with the base without values.
    pub(crate) fn change(&self, value: &str, change: &DistributionChange) {
        let labels = labels(&[("value", value)]);
        let mut inner = self.lock();
        inner.observe("ivl_value_kl_nats", labels.clone(), NATS, f64::from(change.kl));
        inner.add("ivl_value_flips_total", labels.clone(), u64::from(change.flip));
        inner.add("ivl_value_compared_tokens_total", labels, 1);
    }

    /// Guesses were checked, or there were none.
    pub(crate) fn drafted(&self, round: &SpeculativeRound) {
        if round.drafted == 0 {
            return;
        }
        let mut inner = self.lock();
        inner.add("ivl_speculative_drafted_total", String::new(), round.drafted as u64);
        inner.add("ivl_speculative_accepted_total", String::new(), round.accepted as u64);
        inner.add("ivl_speculative_rounds_total", String::new(), 1);
    }

    /// The state of the engine after a round.
    pub(crate) fn engine(&self, waiting: usize, running: usize, cache: usize, prefixes: usize) {
        let gauges = [
            ("ivl_texts_waiting", waiting),
            ("ivl_texts_running", running),
            ("ivl_cache_bytes", cache),
            ("ivl_prefix_cache_bytes", prefixes),
        ];
        let mut inner = self.lock();
        for (name, value) in gauges {
            inner.numbers.insert((name, String::new()), value as u64);
        }
    }

    /// Something panicked and was caught.
    pub(crate) fn panicked(&self) {
        self.lock().add("ivl_panics_total", String::new(), 1);
    }

    /// All measurements, in the text format 0.0.4.
    pub(crate) fn text(&self) -> String {
        let inner = self.lock();
        let mut out = String::new();
        for &(name, kind, help, bounds) in FAMILIES {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((_, labels), value) in inner.numbers.iter().filter(|((family, _), _)| *family == name) {
                let _ = writeln!(out, "{name}{} {value}", braced(labels, None));
            }
            for ((_, labels), histogram) in inner.histograms.iter().filter(|((family, _), _)| *family == name)
            {
                histogram.write(&mut out, name, labels, bounds);
            }
        }
        out
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves at worst one number out of date.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, family: &'static str, labels: String, amount: u64) {
        *self.numbers.entry((family, labels)).or_default() += amount;
    }

    fn observe(&mut self, family: &'static str, labels: String, bounds: &[f64], value: f64) {
        let histogram = self.histograms.entry((family, labels)).or_default();
        histogram.buckets.resize(bounds.len(), 0);
        // Each value is counted in the first bucket that holds it; they are summed up when they are written.
        if let Some(bucket) = bounds.iter().position(|&bound| value <= bound) {
            histogram.buckets[bucket] += 1;
        }
        histogram.sum += value;
        histogram.count += 1;
    }
}

impl Histogram {
    fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64]) {
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(&self.buckets) {
            below += count;
            let _ = writeln!(out, "{name}_bucket{} {below}", braced(labels, Some(&bound.to_string())));
        }
        let _ = writeln!(out, "{name}_bucket{} {}", braced(labels, Some("+Inf")), self.count);
        let _ = writeln!(out, "{name}_sum{} {}", braced(labels, None), self.sum);
        let _ = writeln!(out, "{name}_count{} {}", braced(labels, None), self.count);
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        pairs.iter().map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
    pairs.join(",")
}

fn braced(labels: &str, bound: Option<&str>) -> String {
    let bound = bound.map(|bound| format!("le=\"{bound}\""));
    let all: Vec<&str> =
        [Some(labels).filter(|labels| !labels.is_empty()), bound.as_deref()].into_iter().flatten().collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.request("/v1/completions", 200);
        metrics.request("/v1/completions", 200);
        metrics.token("a\"b", Duration::from_millis(3), true);
        metrics.token("a\"b", Duration::from_mins(10), true);
        let text = metrics.text();
        for line in [
            "ivl_requests_total{endpoint=\"/v1/completions\",status=\"200\"} 2",
            "# TYPE ivl_time_to_first_token_seconds histogram",
            "ivl_time_to_first_token_seconds_bucket{model=\"a\\\"b\",le=\"0.002\"} 0",
            "ivl_time_to_first_token_seconds_bucket{model=\"a\\\"b\",le=\"0.005\"} 1",
            "ivl_time_to_first_token_seconds_bucket{model=\"a\\\"b\",le=\"60\"} 1",
            "ivl_time_to_first_token_seconds_bucket{model=\"a\\\"b\",le=\"+Inf\"} 2",
            "ivl_time_to_first_token_seconds_count{model=\"a\\\"b\"} 2",
        ] {
            assert!(text.lines().any(|got| got == line), "`{line}` is not in {text}");
        }
    }
}
