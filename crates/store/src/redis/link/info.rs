//! Information that a server gives of itself.

use crate::url::ServerAddress;

/// The answer to `INFO`.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Info(String);

/// A replica as its master sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Follower {
    pub at: ServerAddress,
    /// It has the data and was heard of just now.
    pub follows: bool,
}

/// How old a sign of a replica may be, in seconds: it gives one each second.
const LAG_MAX: u64 = 2;

/// Role of a server at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    /// Of the server at this place.
    Replica(String),
    Sentinel,
}

impl Info {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The value of a field.
    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
    }

    /// The value of a field that is a number.
    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.get(field)?.parse().ok()
    }

    /// Major and minor version of the server.
    pub(crate) fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.get("redis_version")?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    pub(super) fn role(&self) -> Role {
        if self.get("redis_mode") == Some("sentinel") {
            return Role::Sentinel;
        }
        if self.get("role") == Some("master") {
            return Role::Master;
        }
        let part = |field| self.get(field).unwrap_or("?");
        Role::Replica(format!("{}:{}", part("master_host"), part("master_port")))
    }

    /// The replicas of a master.
    pub(super) fn followers(&self) -> Vec<Follower> {
        let rows = self.0.lines().filter_map(|line| line.strip_prefix("slave")?.split_once(':'));
        rows.filter(|(number, _)| number.parse::<u32>().is_ok())
            .filter_map(|(_, row)| follower(row))
            .collect()
    }

    /// Whether it is a node of a Cluster.
    pub(crate) fn in_cluster(&self) -> bool {
        self.get("cluster_enabled") == Some("1")
    }

    /// Whether it is still reading its data set.
    pub(crate) fn is_loading(&self) -> bool {
        self.get("loading") == Some("1")
    }
}

/// `ip=10.0.0.2,port=6379,state=online,offset=1234,lag=0`
fn follower(row: &str) -> Option<Follower> {
    let field = |name: &str| row.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let at = ServerAddress { host: field("ip")?.to_owned(), port: field("port")?.parse().ok()? };
    let is_heard = field("lag")?.parse::<u64>().is_ok_and(|lag| lag <= LAG_MAX);
    Some(Follower { at, follows: is_heard && field("state") == Some("online") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_of_a_master_are_told_apart() {
        let row =
            |number: u32, port: u16, rest: &str| format!("slave{number}:ip=10.0.0.2,port={port},{rest}\r\n");
        let text = [
            "slave_repl_offset:7\r\nslaves:3\r\n".to_owned(),
            row(0, 1, "state=online,offset=10,lag=0"),
            row(1, 2, "state=online,offset=10,lag=3"),
            row(2, 3, "state=wait_bgsave,offset=0,lag=0"),
        ];
        let found = Info::new(text.concat()).followers();
        let told: Vec<_> = found.iter().map(|of| (of.at.to_string(), of.follows)).collect();
        let at = |port: u16| format!("10.0.0.2:{port}");
        assert_eq!(told, [(at(1), true), (at(2), false), (at(3), false)]);
    }

    #[test]
    fn fields_are_found_whole() {
        let text = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\r\n# Replication\r\n\
                    role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\ncluster_enabled:1\r\n";
        let info = Info::new(text.to_owned());
        assert_eq!(info.version(), Some((7, 0)));
        assert_eq!(info.role(), Role::Replica("10.0.0.1:6379".to_owned()));
        assert_eq!(info.get("cluster"), None, "part of a field's name");
        assert!(info.in_cluster());
        assert!(!info.is_loading());
        assert_eq!(Info::new("redis_mode:sentinel\r\n".to_owned()).role(), Role::Sentinel);
        assert_eq!(Info::new("role:master\r\n".to_owned()).role(), Role::Master);
    }
}
