//! What picking an endpoint needs of a backend, compiled: tiers by place and weight, keys, bounds.

use std::time::Duration;

use super::backend::{Endpoint, HashOn, Prefer};
use super::policy::positive;
use super::wire;
use crate::limits::ENDPOINT_WEIGHT_MAX;
use crate::message::is_token;

/// Where the engine runs; empty where unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locality {
    /// The zone of its node.
    pub zone: Box<str>,
    /// The name of its node.
    pub node: Box<str>,
}

impl Locality {
    pub(super) fn new(wire: &wire::Locality) -> Self {
        Self {
            zone: Box::from(wire.zone.as_str()),
            node: Box::from(wire.node.as_str()),
        }
    }

    /// How near something on that node, in that zone, is.
    pub(super) fn place(&self, node: &str, zone: &str) -> Place {
        if !node.is_empty() && *node == *self.node {
            Place::Node
        } else if !zone.is_empty() && *zone == *self.zone {
            Place::Zone
        } else {
            Place::Other
        }
    }
}

/// How near an endpoint is to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the same node.
    Node,
    /// In the same zone.
    Zone,
    /// Elsewhere, or it is not known where.
    Other,
}

impl Place {
    /// The name in spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Zone => "zone",
            Self::Other => "other",
        }
    }
}

/// Endpoints that are as good as each other; those of the next tier are used when none of these can
/// be.
#[derive(Debug, Clone)]
pub struct Tier {
    /// Indexes in the backend.
    members: Box<[u32]>,
    /// The sum of the weights of each member and those before it; empty if all weigh the same.
    weights_up_to: Box<[u64]>,
    /// That of the lightest member.
    pub weight_min: u32,
}

impl Tier {
    /// Splits `endpoints`: nearest first where that is preferred, those of weight 0 last.
    pub(super) fn split(endpoints: &[Endpoint], prefer: Prefer) -> Box<[Self]> {
        let rank = |endpoint: &Endpoint| match (prefer, endpoint.place) {
            _ if endpoint.weight == 0 => 3,
            (Prefer::Any, _) | (Prefer::Node, Place::Node) => 0,
            (Prefer::Zone, Place::Node | Place::Zone) | (Prefer::Node, Place::Zone) => 1,
            (Prefer::Zone | Prefer::Node, Place::Other) => 2,
        };
        let of_rank = |wanted: u8| {
            let all = (0..).zip(endpoints);
            let members: Vec<(u32, u32)> = all
                .filter(|(_, endpoint)| rank(endpoint) == wanted)
                .map(|(index, endpoint)| (index, endpoint.weight.max(1)))
                .collect();
            Self::new(&members)
        };
        (0..=3).filter_map(of_rank).collect()
    }

    fn new(members: &[(u32, u32)]) -> Option<Self> {
        let weights = || members.iter().map(|(_, weight)| *weight);
        let weight_min = weights().min()?;
        let weights_up_to = weights().scan(0, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        let is_even = weights().all(|weight| weight == weight_min);
        Some(Self {
            members: members.iter().map(|(index, _)| *index).collect(),
            weights_up_to: weights_up_to.filter(|_| !is_even).collect(),
            weight_min,
        })
    }

    /// How many endpoints there are; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Whether all weigh the same.
    #[must_use]
    pub fn is_even(&self) -> bool {
        self.weights_up_to.is_empty()
    }

    /// The endpoint at a position below [`Tier::count`], by its index in the backend.
    #[must_use]
    pub fn member(&self, position: usize) -> usize {
        self.members[position] as usize
    }

    /// The indexes of all members.
    pub fn members(&self) -> impl Iterator<Item = usize> {
        self.members.iter().map(|index| *index as usize)
    }

    /// A position at random, by weight.
    #[must_use]
    pub fn draw(&self) -> usize {
        match self.weights_up_to.last() {
            None => fastrand::usize(..self.members.len()),
            Some(sum) => {
                let point = fastrand::u64(..*sum);
                self.weights_up_to.partition_point(|up_to| *up_to <= point)
            }
        }
    }
}

/// What of a request is hashed; without it the client's address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Client,
    /// The value of the header of that name.
    Header(Box<[u8]>),
    /// The value of the cookie of that name.
    Cookie(Box<[u8]>),
}

impl HashKey {
    pub(super) fn compile(wire: &wire::HashKey) -> Result<Self, String> {
        let name = Box::from(wire.name.as_bytes());
        match wire.on {
            HashOn::Ip => Ok(Self::Client),
            _ if !is_token(&name) => Err(format!("hash_key.name {:?} can be no name", wire.name)),
            HashOn::Header => Ok(Self::Header(name)),
            HashOn::Cookie => Ok(Self::Cookie(name)),
        }
    }
}

/// When an endpoint is left out for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Failures in a row that are needed; at least 1.
    pub errors_consecutive: u32,
    /// The time of the first ejection; that of the n-th is n times it,
    pub ejection: Duration,
    /// but not above this.
    pub ejection_max: Duration,
    /// When more than this share of the endpoints is ejected, all are used.
    pub ejected_percent_max: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            errors_consecutive: 5,
            ejection: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
            ejected_percent_max: 50,
        }
    }
}

impl Health {
    /// `None` where nothing is ever ejected.
    pub(super) fn compile(wire: &wire::Health) -> Result<Option<Self>, String> {
        let errors = u32::try_from(wire.errors_consecutive)
            .map_err(|_| format!("health.errors_consecutive is {}", wire.errors_consecutive))?;
        let percent = u32::try_from(wire.ejected_percent_max).ok();
        let percent = percent.filter(|percent| *percent <= 100).ok_or_else(|| {
            let percent = wire.ejected_percent_max;
            format!("health.ejected_percent_max is {percent}, which is not from 0 to 100")
        })?;
        let health = Self {
            errors_consecutive: errors,
            ejection: positive("health.ejection_ms", wire.ejection_ms)?,
            ejection_max: positive("health.ejection_max_ms", wire.ejection_max_ms)?,
            ejected_percent_max: percent,
        };
        Ok((errors > 0).then_some(health))
    }
}

/// A weight as the table has it.
pub(super) fn weight(weight: i64) -> Option<u32> {
    let weight = u32::try_from(weight).ok()?;
    (weight <= ENDPOINT_WEIGHT_MAX).then_some(weight)
}
