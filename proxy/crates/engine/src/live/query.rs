//! What is asked about live requests, in its wire form (JSON, see `proxy/live.py`).

use serde::Deserialize;

use super::Phase;
use crate::limits::{LIVE_CONDITIONS_MAX, LIVE_ROWS_MAX};

/// Which live requests, in which order, how many of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// All must hold.
    pub conditions: Vec<Condition>,
    pub age_min_us: u64,
    pub sort: Sort,
    /// The smallest first.
    pub ascending: bool,
    /// What is counted beyond it is not shown.
    pub limit: usize,
    /// Only what an answer by age would have behind this one.
    pub after: Option<Place>,
    /// Who answers, as each row is to say.
    pub instance: String,
}

/// What a request must be, or must not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub field: Field,
    pub value: String,
    pub negated: bool,
}

/// What conditions can be about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    Id,
    TraceId,
    Namespace,
    Kind,
    Phase,
    Method,
    Host,
    Route,
    Ingress,
    Service,
    Endpoint,
    Pod,
    Node,
    Client,
}

/// By what the answer is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    Age,
    PhaseAge,
    Received,
    Sent,
}

/// A place in the order of age.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub start_ns: u64,
    pub id: String,
}

impl Query {
    /// Reads a question.
    ///
    /// # Errors
    /// One sentence: what cannot be read, or is over its bound.
    pub fn decode(json: &[u8]) -> Result<Self, String> {
        let query: Self = serde_json::from_slice(json).map_err(|err| err.to_string())?;
        if query.conditions.len() > LIVE_CONDITIONS_MAX {
            return Err(format!(
                "there are more than {LIVE_CONDITIONS_MAX} conditions"
            ));
        }
        if query.limit > LIVE_ROWS_MAX {
            return Err(format!("the limit is above {LIVE_ROWS_MAX}"));
        }
        Ok(query)
    }
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; super::PHASES] = [
        Self::Head,
        Self::Route,
        Self::Queue,
        Self::Connect,
        Self::Send,
        Self::Wait,
        Self::Stream,
        Self::Respond,
    ];

    /// The name in questions and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Route => "route",
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Wait => "wait",
            Self::Stream => "stream",
            Self::Respond => "respond",
        }
    }
}
