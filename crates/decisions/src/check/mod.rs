//! The checks of a mesh: what is judged, by what, and what to do where it is not as it should be.

mod audit;
mod capacity;
#[cfg(test)]
mod check_test;
mod clusters;
mod config;
mod control_api;
pub mod facts;
pub mod finding;
pub mod identity;
mod leadership;
pub mod membership;
pub mod nodes;
mod registers;
mod registry;
mod relays;
mod shards;
pub mod transport;
pub mod versions;

use facts::MeshFacts;
use finding::{CheckDefinition, CheckResult, FindingCategory, checks_of};

/// Every category, in the order of the report.
pub static CATEGORIES: &[&FindingCategory] = &[
    &control_api::CATEGORY,
    &registry::CATEGORY,
    &membership::CATEGORY,
    &transport::CATEGORY,
    &nodes::CATEGORY,
    &leadership::CATEGORY,
    &shards::CATEGORY,
    &registers::CATEGORY,
    &clusters::CATEGORY,
    &relays::CATEGORY,
    &audit::CATEGORY,
    &identity::CATEGORY,
    &config::CATEGORY,
    &capacity::CATEGORY,
    &versions::CATEGORY,
];

/// Every check with its category, in the order of the report.
pub fn all() -> impl Iterator<Item = (&'static FindingCategory, &'static CheckDefinition)> + Clone {
    checks_of(CATEGORIES)
}

/// Judges the mesh by all checks, and returns their results in the order of the report.
pub fn judge(
    facts: &MeshFacts,
) -> impl Iterator<Item = (&'static FindingCategory, &'static CheckDefinition, CheckResult)> {
    all().map(move |(category, check)| (category, check, check.judge(facts)))
}
