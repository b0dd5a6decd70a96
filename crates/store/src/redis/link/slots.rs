//! Slots of a Cluster: which node has a key.

use redis::Value;

use crate::url::ServerAddress;

/// How many slots a Cluster has.
const SLOTS: u16 = 16_384;

/// Map of the slots to the nodes that serve them, as one node knows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    ranges: Vec<(u16, u16, ServerAddress)>,
    /// Every node, masters first.
    pub nodes: Vec<ServerAddress>,
}

/// The slot of a key whose hash tag is `tag`.
pub(super) fn slot(tag: &str) -> u16 {
    crc16(tag.as_bytes()) % SLOTS
}

/// CRC-16 with the polynomial 0x1021, from 0, as the Cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS`; rows that make no sense are left out. `asked` is the
    /// node that answered: one that does not know its own address leaves it empty.
    pub(super) fn read(answer: &Value, asked: &ServerAddress) -> Self {
        let mut map = Self::default();
        let mut replicas = Vec::new();
        for row in items(answer) {
            let [first, last, master, others @ ..] = items(row) else { continue };
            let (Some(first), Some(last), Some(master)) = (number(first), number(last), node(master, asked))
            else {
                continue;
            };
            replicas.extend(others.iter().filter_map(|other| node(other, asked)));
            map.nodes.push(master.clone());
            map.ranges.push((first, last, master));
        }
        map.nodes.append(&mut replicas);
        map
    }

    /// The master of a slot; `None` when no node has it.
    pub(super) fn owner(&self, slot: u16) -> Option<&ServerAddress> {
        self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(_, _, node)| node)
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn node(value: &Value, asked: &ServerAddress) -> Option<ServerAddress> {
    let [host, port, ..] = items(value) else { return None };
    let host = text(host).filter(|host| !matches!(*host, "" | "?")).unwrap_or(&asked.host);
    Some(ServerAddress { host: host.to_owned(), port: number(port)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let cases = [("foo", 12_182), ("omnirelay", slot("omnirelay")), ("", 0)];
        for (tag, expected) in cases {
            assert_eq!(slot(tag), expected, "{tag}");
        }
    }

    #[test]
    fn an_owner_is_found_and_all_nodes_are_learned() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let row = |first, last, nodes: Vec<Value>| {
            Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
        };
        let answer = Value::Array(vec![
            row(0, 5460, vec![node(text("a"), 1), node(text("b"), 2)]),
            row(5461, 16_383, vec![node(Value::Nil, 3)]),
            Value::Nil,
        ]);
        let asked = ServerAddress { host: "asked".to_owned(), port: 9 };
        let map = SlotMap::read(&answer, &asked);
        let shown = |address: Option<&ServerAddress>| address.map(ServerAddress::to_string);
        assert_eq!(shown(map.owner(0)).as_deref(), Some("a:1"));
        assert_eq!(shown(map.owner(16_383)).as_deref(), Some("asked:3"));
        let nodes: Vec<String> = map.nodes.iter().map(ServerAddress::to_string).collect();
        assert_eq!(nodes, ["a:1", "asked:3", "b:2"]);
        assert_eq!(SlotMap::read(&Value::Nil, &asked).owner(0), None);
    }
}
