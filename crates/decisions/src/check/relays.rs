//! Checks of relays: what agents send is taken, and others know where they are.

use super::facts::MeshFacts;
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};

/// The items of a relay's readiness: where telemetry goes, what it says of itself to others, and by which way.
const SINKS: &str = "sinks";
const PUBLICATION: &str = "publication";
const REGISTRY: &str = "registry";

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "relays",
    page: "runbooks/relay.md",
    checks: &[
        CheckDefinition::new(
            "relays-sinks",
            "every sink of every relay takes telemetry",
            "A relay cannot write somewhere. Where it must be written before it is acknowledged, agents keep it and \
             send it again.",
            CheckJudge::Nodes(sinks),
        ),
        CheckDefinition::new(
            "relays-registered",
            "every relay is known to the registry",
            "A relay cannot tell the registry of itself and its agents: who asks where a drone is, is not sent there.",
            CheckJudge::Nodes(registered),
        ),
        CheckDefinition::new(
            "relays-published",
            "the keys that others read are fresh",
            "The mirror of who flies where in a Redis for outsiders is not written; the registry itself is right.",
            CheckJudge::Nodes(published),
        ),
    ],
    items: &[SINKS, PUBLICATION, REGISTRY],
};

fn sinks(facts: &MeshFacts) -> CheckResult {
    of_item(facts, SINKS, "every sink takes telemetry", "omnirelay drones list    # which relay is behind")
}

fn registered(facts: &MeshFacts) -> CheckResult {
    of_item(
        facts,
        REGISTRY,
        "relays are known to the registry",
        "omnirelay relays list    # those that are known",
    )
}

fn published(facts: &MeshFacts) -> CheckResult {
    of_item(
        facts,
        PUBLICATION,
        "published keys are fresh",
        "omnirelay explain relays-published    # then the relay's log, and the Redis that it publishes to",
    )
}

fn of_item(facts: &MeshFacts, name: &str, fine: &str, next: &str) -> CheckResult {
    CheckResult::of_item(facts, name, CheckVerdict::Warn, fine, "no node that was asked runs a relay")
        .about_themselves()
        .next(next)
}
