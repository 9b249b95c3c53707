//! How requests are traced, compiled from what the table says.

use crate::instant::Instant;

use super::super::wire;
use crate::limits::{RATE_PER_S_MAX, SAMPLING_RULES_MAX};
use crate::trace::bucket::Bucket;
use crate::trace::probability::Threshold;
use crate::trace::sampler::{HeaderMatch, Rule, Share, TracingPolicy};

impl TracingPolicy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// One sentence: which part is wrong, and what it must be.
    pub(crate) fn compile(wire: &wire::TracingPolicy) -> Result<Self, String> {
        if wire.rules.len() > SAMPLING_RULES_MAX {
            let count = wire.rules.len();
            return Err(format!("rules are {count}, more than {SAMPLING_RULES_MAX}"));
        }
        let rules = wire.rules.iter().enumerate().map(|(index, rule)| {
            Rule::compile(rule).map_err(|what| format!("rules[{index}].{what}"))
        });
        Ok(Self {
            is_parent_based: wire.is_parent_based,
            rules: rules.collect::<Result<_, _>>()?,
            share: share(wire.ratio, wire.traces_per_s_min)?,
            limit: bucket("traces_per_s_max", wire.traces_per_s_max)?,
            tail: bucket("tail_spans_per_s", wire.tail_spans_per_s)?,
            phase_spans: wire.phase_spans,
            is_remote: wire.is_remote,
        })
    }
}

impl Rule {
    fn compile(wire: &wire::SamplingRule) -> Result<Self, String> {
        let bytes = |text: &str| (!text.is_empty()).then(|| Box::from(text.as_bytes()));
        if wire.header.is_empty() && !wire.value.is_empty() {
            return Err("value has no header that could have it".to_owned());
        }
        Ok(Self {
            header: bytes(&wire.header).map(|name| HeaderMatch {
                name,
                value: bytes(&wire.value),
            }),
            method: bytes(&wire.method),
            route: (!wire.route.is_empty()).then(|| Box::from(wire.route.as_str())),
            share: share(wire.ratio, wire.traces_per_s_min)?,
        })
    }
}

fn share(ratio: f64, traces_per_s_min: f64) -> Result<Share, String> {
    if !(0.0..=1.0).contains(&ratio) {
        return Err(format!("ratio is {ratio}, which is not from 0 to 1"));
    }
    Ok(Share {
        threshold: Threshold::new(ratio),
        floor: bucket("traces_per_s_min", traces_per_s_min)?,
    })
}

/// A rate that may be absent, which is written as 0.
fn bucket(name: &str, per_s: f64) -> Result<Option<Bucket>, String> {
    if !(0.0..=RATE_PER_S_MAX).contains(&per_s) {
        return Err(format!(
            "{name} is {per_s}, which is not from 0 to {RATE_PER_S_MAX}"
        ));
    }
    Ok((per_s > 0.0).then(|| Bucket::new(per_s, Instant::now())))
}
