//! What a server says of itself.

/// The answer to `INFO`.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Info(String);

/// What a server is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    /// Of the server at this place.
    Replica(String),
    Sentinel,
}

impl Info {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The value of a field.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
    }

    /// The value of a field that is a number.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.get(field)?.parse().ok()
    }

    /// Major and minor version of the server.
    pub fn version(&self) -> Option<(u32, u32)> {
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

    /// Whether it is a node of a Cluster.
    pub fn in_cluster(&self) -> bool {
        self.get("cluster_enabled") == Some("1")
    }

    /// Whether it is still reading its data set.
    pub fn is_loading(&self) -> bool {
        self.get("loading") == Some("1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
