//! A transport policy as it is judged by: what it does not say is as by default.

use std::collections::{BTreeMap, BTreeSet};

use omnirelay_core::names::check_node_name;
use omnirelay_core::text::{is_unseen, shown};
use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::timestamp::{Timestamp, millis};
use prost::Message as _;

use super::pairing::{ProtocolPairing, WireEncoding, WireTransport};
use crate::field_changes::field_changes;

/// Traffic between the nodes of a mesh: what no policy may loosen is of it.
pub const MESH_INTERNAL: &str = "mesh-internal";
pub const CONTROL_PLANE: &str = "control-plane";
pub const DIAGNOSTICS: &str = "diagnostics";
pub const EDGE: &str = "edge";

/// The encoded size of a policy in bytes: a record holds the last ones.
pub(super) const POLICY_BYTES_MAX: usize = 32 * 1024;
pub(super) const ENDPOINTS_MAX: usize = 256;
const CATEGORIES_MAX: usize = 32;
const EXCEPTIONS_MAX: usize = 64;
/// How many there can be at most is nine.
const PAIRINGS_MAX: usize = 16;
/// The most names and principals in one list.
const WORDS_MAX: usize = 64;
const WORDS_BYTES_MAX: usize = 512;
const NAME_CHARS_SHOWN: usize = 64;
/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

const RAW_ENDPOINTS_MAX: u32 = 0;
const LEGACY_PAIRINGS_MAX: u32 = 2;

const HTTP3_PROTOBUF: ProtocolPairing = ProtocolPairing::new(WireTransport::Http3, WireEncoding::Protobuf);
const HTTP2_PROTOBUF: ProtocolPairing = ProtocolPairing::new(WireTransport::Http2, WireEncoding::Protobuf);
const HTTP3_JSON: ProtocolPairing = ProtocolPairing::new(WireTransport::Http3, WireEncoding::Json);
const HTTP2_JSON: ProtocolPairing = ProtocolPairing::new(WireTransport::Http2, WireEncoding::Json);
const HTTP1_JSON: ProtocolPairing = ProtocolPairing::new(WireTransport::Http1, WireEncoding::Json);
const HTTP3_RAW: ProtocolPairing = ProtocolPairing::new(WireTransport::Http3, WireEncoding::Raw);
const HTTP2_RAW: ProtocolPairing = ProtocolPairing::new(WireTransport::Http2, WireEncoding::Raw);

/// What every endpoint inside the mesh offers: the one that is preferred, and what is spoken where it cannot be.
pub(super) const OF_THE_MESH: [ProtocolPairing; 2] = [HTTP3_PROTOBUF, HTTP2_PROTOBUF];

/// Category of endpoints, and the pairings that they may speak.
pub(super) struct TransportPolicyCategory {
    pub allowed: Vec<ProtocolPairing>,
    pub preferred: Option<ProtocolPairing>,
    pub requires_preferred: bool,
}

/// Exception to a policy: pairings that some endpoints may speak besides, for a time.
pub(super) struct PolicyException {
    pub name: String,
    pub category: String,
    pub endpoints: Vec<String>,
    pub pairings: Vec<ProtocolPairing>,
    /// Whether it says why, who has agreed and until when.
    pub is_complete: bool,
    pub expires_at: Millis,
}

/// A policy whose words are known to mean something.
pub(super) struct CheckedTransportPolicy {
    pub categories: BTreeMap<String, TransportPolicyCategory>,
    pub exceptions: Vec<PolicyException>,
    pub legacy: Vec<(WireTransport, Option<WireEncoding>)>,
    pub raw_endpoints_max: u32,
    pub legacy_pairings_max: u32,
}

/// Default policy: it stands for a policy that says nothing.
pub fn defaults() -> pb::TransportPolicy {
    let all = [HTTP3_PROTOBUF, HTTP2_PROTOBUF, HTTP3_JSON, HTTP2_JSON, HTTP1_JSON];
    let raw = [HTTP3_RAW, HTTP2_RAW];
    let category =
        |name: &str, allowed: &[ProtocolPairing], preferred: ProtocolPairing, requires_preferred| {
            let allowed = allowed.iter().map(|pairing| pairing.message()).collect();
            let preferred = Some(preferred.message());
            pb::TransportCategory {
                name: name.to_owned(),
                allowed,
                preferred,
                requires_preferred,
                unknown_fields: Default::default(),
            }
        };
    pb::TransportPolicy {
        categories: vec![
            category(MESH_INTERNAL, &OF_THE_MESH, HTTP3_PROTOBUF, true),
            category(CONTROL_PLANE, &all, HTTP3_PROTOBUF, false),
            category(DIAGNOSTICS, &[HTTP3_JSON, HTTP2_JSON, HTTP1_JSON], HTTP3_JSON, false),
            category(EDGE, &[all.as_slice(), &raw].concat(), HTTP3_PROTOBUF, false),
        ],
        exceptions: Vec::new(),
        legacy: vec![pb::TransportPairing {
            transport: WireTransport::Http1.word().to_owned(),
            encoding: String::new(),
            unknown_fields: Default::default(),
        }],
        budgets: Some(pb::TransportBudgets {
            raw_endpoints_max: Some(RAW_ENDPOINTS_MAX),
            legacy_pairings_max: Some(LEGACY_PAIRINGS_MAX),
            unknown_fields: Default::default(),
        }),
        unknown_fields: Default::default(),
    }
}

/// A policy with what it does not say, which is as by default.
pub fn effective(policy: &pb::TransportPolicy) -> pb::TransportPolicy {
    let mut whole = defaults();
    for category in &policy.categories {
        match whole.categories.iter_mut().find(|known| known.name == category.name) {
            Some(known) => known.clone_from(category),
            None => whole.categories.push(category.clone()),
        }
    }
    whole.exceptions.clone_from(&policy.exceptions);
    if !policy.legacy.is_empty() {
        whole.legacy.clone_from(&policy.legacy);
    }
    let said = policy.budgets.clone().unwrap_or_default();
    if let Some(budgets) = &mut whole.budgets {
        budgets.raw_endpoints_max = said.raw_endpoints_max.or(budgets.raw_endpoints_max);
        budgets.legacy_pairings_max = said.legacy_pairings_max.or(budgets.legacy_pairings_max);
    }
    whole
}

/// Reads a policy; what it does not say is as by default.
///
/// # Errors
/// What of it means nothing.
pub(super) fn read(policy: &pb::TransportPolicy) -> Result<CheckedTransportPolicy, String> {
    check_limits(policy)?;
    let whole = effective(policy);
    let mut categories = BTreeMap::new();
    for category in &whole.categories {
        let of = |what: String| format!("category `{}`: {what}", shown(&category.name, NAME_CHARS_SHOWN));
        check_node_name(&category.name).map_err(|error| of(format!("`name`: {error}")))?;
        let preferred = category.preferred.as_ref().map(ProtocolPairing::parse).transpose().map_err(of)?;
        let of = |what: String| format!("category `{}`: {what}", category.name);
        let allowed = pairings(&category.allowed).map_err(of)?;
        let requires_preferred = category.requires_preferred;
        categories.insert(
            category.name.clone(),
            TransportPolicyCategory { allowed, preferred, requires_preferred },
        );
    }
    let exceptions: Result<_, String> = whole.exceptions.iter().map(exception).collect();
    let legacy = |pairing: &pb::TransportPairing| {
        let encoding = match pairing.encoding.as_str() {
            "" => None,
            word => Some(WireEncoding::parse(word)?),
        };
        Ok((WireTransport::parse(&pairing.transport)?, encoding))
    };
    let legacy: Result<_, String> = whole.legacy.iter().map(legacy).collect();
    let budgets = whole.budgets.unwrap_or_default();
    Ok(CheckedTransportPolicy {
        categories,
        exceptions: exceptions?,
        legacy: legacy.map_err(|what| format!("`legacy`: {what}"))?,
        raw_endpoints_max: budgets.raw_endpoints_max.unwrap_or(RAW_ENDPOINTS_MAX),
        legacy_pairings_max: budgets.legacy_pairings_max.unwrap_or(LEGACY_PAIRINGS_MAX),
    })
}

/// That there is not too much of anything, and nothing twice.
fn check_limits(policy: &pb::TransportPolicy) -> Result<(), String> {
    if policy.encoded_len() > POLICY_BYTES_MAX {
        return Err(format!("it is longer than {POLICY_BYTES_MAX} bytes"));
    }
    let lengths = [
        ("categories", policy.categories.len(), CATEGORIES_MAX),
        ("exceptions", policy.exceptions.len(), EXCEPTIONS_MAX),
        ("legacy", policy.legacy.len(), PAIRINGS_MAX),
    ];
    if let Some((name, length, max)) = lengths.into_iter().find(|(_, length, max)| length > max) {
        return Err(format!("`{name}` are {length}, at most {max} are allowed"));
    }
    none_twice("category", policy.categories.iter().map(|category| category.name.as_str()))?;
    none_twice("exception", policy.exceptions.iter().map(|exception| exception.name.as_str()))
}

/// That no name stands there twice, of whatever it is the name.
fn none_twice<'a>(of: &str, mut names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(twice) => Err(format!("{of} `{}` stands there twice", shown(twice, NAME_CHARS_SHOWN))),
        None => Ok(()),
    }
}

fn exception(asked: &pb::TransportException) -> Result<PolicyException, String> {
    let of = |what: String| format!("exception `{}`: {what}", shown(&asked.name, NAME_CHARS_SHOWN));
    check_node_name(&asked.name).map_err(|error| of(format!("`name`: {error}")))?;
    check_node_name(&asked.category).map_err(|error| of(format!("`category`: {error}")))?;
    if asked.endpoints.len() > WORDS_MAX {
        return Err(of(format!("it names more than {WORDS_MAX} endpoints")));
    }
    for name in &asked.endpoints {
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 || parts.iter().any(|part| check_node_name(part).is_err()) {
            let name = shown(name, NAME_CHARS_SHOWN);
            return Err(of(format!(
                "`{name}` is no endpoint: write NAMESPACE/NAME, or NAME of the daemon's own"
            )));
        }
    }
    let pairings = pairings(&asked.pairings).map_err(of)?;
    if pairings.is_empty() {
        return Err(of("it names no `pairings`".to_owned()));
    }
    let words = [("reason", &asked.reason), ("approvedBy", &asked.approved_by)];
    for (name, words) in words {
        if words.len() > WORDS_BYTES_MAX || words.chars().any(is_unseen) {
            return Err(of(format!("`{name}` is longer than {WORDS_BYTES_MAX} bytes, or cannot be seen")));
        }
    }
    if asked.expires_at.as_ref().is_some_and(|at| !is_told(at)) {
        return Err(of("`expiresAt` is no time between 1970 and 9999".to_owned()));
    }
    let has_words = words.iter().all(|(_, words)| !words.trim().is_empty());
    Ok(PolicyException {
        name: asked.name.clone(),
        category: asked.category.clone(),
        endpoints: asked.endpoints.clone(),
        pairings,
        is_complete: has_words && asked.expires_at.is_some(),
        expires_at: asked.expires_at.as_ref().map_or(Millis(u64::MAX), millis),
    })
}

/// Whether everybody can be told of a time: over gRPC any number can come.
fn is_told(at: &Timestamp) -> bool {
    (0..=LAST_SECOND).contains(&at.seconds) && (0..1_000_000_000).contains(&at.nanos)
}

fn pairings(all: &[pb::TransportPairing]) -> Result<Vec<ProtocolPairing>, String> {
    if all.len() > PAIRINGS_MAX {
        return Err(format!("it names more than {PAIRINGS_MAX} pairings"));
    }
    all.iter().map(ProtocolPairing::parse).collect()
}

/// An endpoint whose words mean something.
pub struct CheckedEndpoint {
    pub name: String,
    pub namespace: String,
    pub category: String,
    pub profiles: Vec<ProtocolPairing>,
    pub has_acl: bool,
}

impl CheckedEndpoint {
    /// As exceptions name it, and people.
    pub fn id(&self) -> String {
        match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}/{}", self.name),
        }
    }
}

/// Reads endpoints.
///
/// # Errors
/// What of one means nothing.
pub fn read_endpoints(endpoints: &[pb::TransportEndpoint]) -> Result<Vec<CheckedEndpoint>, String> {
    if endpoints.len() > ENDPOINTS_MAX {
        return Err(format!("there are {} endpoints, at most {ENDPOINTS_MAX} are allowed", endpoints.len()));
    }
    let endpoints: Vec<CheckedEndpoint> = endpoints.iter().map(endpoint).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    match endpoints.iter().map(CheckedEndpoint::id).find(|id| !seen.insert(id.clone())) {
        Some(twice) => Err(format!("endpoint `{twice}` stands there twice")),
        None => Ok(endpoints),
    }
}

fn endpoint(asked: &pb::TransportEndpoint) -> Result<CheckedEndpoint, String> {
    let of = |what: String| format!("endpoint `{}`: {what}", shown(&asked.name, NAME_CHARS_SHOWN));
    check_node_name(&asked.name).map_err(|error| of(format!("`name`: {error}")))?;
    if !asked.namespace.is_empty() {
        check_node_name(&asked.namespace).map_err(|error| of(format!("`namespace`: {error}")))?;
    }
    check_node_name(&asked.category).map_err(|error| of(format!("`category`: {error}")))?;
    let profiles = pairings(&asked.profiles).map_err(of)?;
    if profiles.is_empty() {
        return Err(of("it has no `profiles`: say what it speaks".to_owned()));
    }
    if asked.acl.len() > WORDS_MAX {
        return Err(of(format!("`acl` names more than {WORDS_MAX}")));
    }
    // Who is named is somebody: a word for everybody would be no list of who may.
    let is_named = |who: &String| {
        let parts = who.split_once(':').filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
        parts.is_some() && who.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
    };
    if let Some(who) = asked.acl.iter().find(|who| !is_named(who)) {
        let who = shown(who, NAME_CHARS_SHOWN);
        return Err(of(format!("`acl`: `{who}` is nobody; write who may, such as service:orders")));
    }
    Ok(CheckedEndpoint {
        name: asked.name.clone(),
        namespace: asked.namespace.clone(),
        category: asked.category.clone(),
        profiles,
        has_acl: !asked.acl.is_empty(),
    })
}

/// Differences between two policies, a line each.
pub fn differences(before: &pb::TransportPolicy, after: &pb::TransportPolicy) -> Vec<String> {
    let (before, after) = (effective(before), effective(after));
    let mut lines = Vec::new();
    let names = |policy: &pb::TransportPolicy| -> BTreeSet<String> {
        policy.categories.iter().map(|category| category.name.clone()).collect()
    };
    for name in names(&before).union(&names(&after)) {
        let of = |policy: &pb::TransportPolicy| {
            policy.categories.iter().find(|category| category.name == *name).map(described)
        };
        let (was, is) = (of(&before), of(&after));
        if was != is {
            let said = |what: Option<String>| what.unwrap_or_else(|| "none".to_owned());
            lines.push(format!("category {name}: {} -> {}", said(was), said(is)));
        }
    }
    let exceptions = |policy: &pb::TransportPolicy| pb::TransportPolicy {
        exceptions: policy.exceptions.clone(),
        ..Default::default()
    };
    lines.extend(field_changes("", &exceptions(&before), &exceptions(&after)));
    if before.legacy != after.legacy {
        lines.push(format!("legacy: {} -> {}", words(&before.legacy), words(&after.legacy)));
    }
    let (was, is) = (before.budgets.unwrap_or_default(), after.budgets.unwrap_or_default());
    let budgets = [
        ("rawEndpointsMax", was.raw_endpoints_max, is.raw_endpoints_max),
        ("legacyPairingsMax", was.legacy_pairings_max, is.legacy_pairings_max),
    ];
    let changed = budgets.into_iter().filter(|(_, was, is)| was != is);
    lines.extend(changed.map(|(name, was, is)| {
        format!("budgets.{name}: {} -> {}", was.unwrap_or_default(), is.unwrap_or_default())
    }));
    lines
}

/// `http3+protobuf, http2+json; prefers http3+protobuf`.
fn described(category: &pb::TransportCategory) -> String {
    let allowed = words(&category.allowed);
    let preferred = category.preferred.as_ref().map(|one| words(std::slice::from_ref(one)));
    let verb = if category.requires_preferred { "requires" } else { "prefers" };
    preferred.map_or_else(|| allowed.clone(), |preferred| format!("{allowed}; {verb} {preferred}"))
}

/// `http3+protobuf, http1`.
pub fn words(pairings: &[pb::TransportPairing]) -> String {
    let word = |pairing: &pb::TransportPairing| match pairing.encoding.as_str() {
        "" => pairing.transport.clone(),
        encoding => format!("{}+{encoding}", pairing.transport),
    };
    let all: Vec<String> = pairings.iter().map(word).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
