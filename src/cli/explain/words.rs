//! The words that stand in the cells of tables: what each means, as the protos say of their enumerations, and as this program says of its
//! own.

use omnirelay_wire::descriptors::ENCODED;
use prost_reflect::{DescriptorPool, EnumDescriptor};

use crate::schema::message::comment_at;

/// Meaning of a word in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WordMeaning {
    pub word: String,
    /// Of what it is said.
    pub of: &'static str,
    pub means: String,
}

/// The enumerations whose words are shown, and of what they are said.
static SHOWN: [(&str, &str); 16] = [
    ("omnirelay.mesh.control.v1.Peer.Status", "status of a peer, by its record"),
    ("omnirelay.mesh.control.v1.PeerHealth.State", "health of a peer, by gossip"),
    ("omnirelay.mesh.control.v1.Tenure.End", "end of a leadership"),
    ("omnirelay.mesh.control.v1.ShardRecord.Status", "status of a shard"),
    ("omnirelay.mesh.control.v1.Namespace.State", "state of a namespace"),
    ("omnirelay.mesh.control.v1.RebalancePlan.State", "state of a plan"),
    ("omnirelay.mesh.control.v1.PlannedMove.Progress", "move of a plan"),
    ("omnirelay.mesh.control.v1.Operation.State", "state of an operation"),
    ("omnirelay.mesh.control.v1.CheckFinding.Result", "result of a check"),
    ("omnirelay.mesh.control.v1.TransportFinding.Level", "finding about an endpoint"),
    ("omnirelay.registers.v1.Advertisement.SyncState", "state of an advertisement"),
    ("omnirelay.registers.v1.AdvertisementSyncState.Status", "status of a pool"),
    ("omnirelay.security.v1.Certificate.Status", "status of a certificate"),
    ("omnirelay.security.v1.JoinToken.Status", "status of a join token"),
    ("omnirelay.security.v1.AuditFinding.Wrong", "finding in the audit trail"),
    ("omnirelay.dev.v1.DevNode.State", "node of omnirelay up"),
];

/// Those that this program makes of several fields.
static OWN: [(&str, &str, &str); 11] = [
    (
        "cordoned",
        "orders of a peer",
        "An operator's order: it leads nothing new and gets no shards; what it has stays. omnirelay mesh peers uncordon takes it back.",
    ),
    (
        "draining",
        "orders of a peer",
        "An operator's order: what it leads and owns is being handed over, and it gets nothing new. omnirelay mesh peers undrain takes it back.",
    ),
    (
        "no-certificate",
        "status of a peer, in its list",
        "The mesh has an authority, and the node has no certificate of it that lives: it leads nothing, owns no shards and advertises nothing. omnirelay mesh join on its host gives it one.",
    ),
    (
        "revoked",
        "status of a peer, in its list",
        "The node was put out of the mesh: its certificate counts no more. omnirelay cert reinstate --node takes that back.",
    ),
    (
        "elsewhere",
        "who asks a node of a federated cluster",
        "Another node of this mesh fetches what it advertises, or none does yet; the one that answers does not.",
    ),
    ("making", "state of a namespace", "Its shards are being made: so many of so many are there."),
    ("removing", "state of a namespace", "It and its shards are being removed."),
    (
        "overloaded",
        "standing of a node with shards",
        "Its workers have reported too much to do for as long as the policy says: it gets no more shards.",
    ),
    ("advertised", "a register", "Other nodes are shown it."),
    ("hidden", "a register", "Its own node alone is shown it. omnirelay registers advertise changes that."),
    ("stale", "an answer", "It is not of this moment: the store is out of reach, or is being restored."),
];

/// Every word, those of the protos first.
pub(super) fn words() -> Vec<WordMeaning> {
    let pool = DescriptorPool::decode(ENCODED).ok();
    let shown = SHOWN.iter().filter_map(|(name, of)| {
        let found = pool.as_ref()?.get_enum_by_name(name)?;
        Some(of_enum(&found, of))
    });
    let own = OWN.iter().map(|(word, of, means)| WordMeaning {
        word: (*word).to_owned(),
        of,
        means: (*means).to_owned(),
    });
    shown.flatten().chain(own).collect()
}

fn of_enum(found: &EnumDescriptor, of: &'static str) -> Vec<WordMeaning> {
    let values = found.values().filter(|value| value.number() != 0 || value.name() != "unspecified");
    let word = |value: prost_reflect::EnumValueDescriptor| WordMeaning {
        word: value.name().to_owned(),
        of,
        means: comment_at(&found.parent_file(), value.path()).unwrap_or_default(),
    };
    values.map(word).collect()
}

/// Meanings of a word wherever it is shown; case and hyphens do not matter.
pub(super) fn meanings(wanted: &str) -> Vec<WordMeaning> {
    let folded = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    words().into_iter().filter(|word| folded(&word.word) == folded(wanted)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_that_is_shown_has_a_meaning() {
        let words = words();
        for (name, of) in SHOWN {
            assert!(words.iter().any(|word| word.of == of), "there is no {name}");
        }
        for word in &words {
            assert!(word.means.ends_with(['.', '?']), "{} ({}): `{}`", word.word, word.of, word.means);
        }
    }

    #[test]
    fn a_word_is_found_wherever_it_is_shown() {
        let of = |word: &str| meanings(word).into_iter().map(|word| word.of).collect::<Vec<_>>();
        assert_eq!(of("SUSPECT"), ["status of a peer, by its record", "health of a peer, by gossip"]);
        assert_eq!(of("fully-replicated"), ["state of an advertisement"]);
        assert!(of("nothing").is_empty());
    }
}
