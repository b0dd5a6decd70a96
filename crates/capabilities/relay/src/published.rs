//! Published keys: what outsiders find about a drone in the Redis that keys are published in.

/// The key of a drone.
pub fn drone_key(drone_id: &str) -> String {
    format!("drone:{drone_id}")
}

/// Value that stands under the key of a drone: `{"relay_id":"...","session_id":"..."}`.
pub fn drone_value(relay_id: &str, session_id: &str) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    format!("{{\"relay_id\":{},\"session_id\":{}}}", text(relay_id), text(session_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drone_stands_under_its_id_as_outsiders_know_it() {
        assert_eq!(drone_key("a-1"), "drone:a-1");
        assert_eq!(drone_value("relay-1", "sess-0f"), r#"{"relay_id":"relay-1","session_id":"sess-0f"}"#);
        assert_eq!(drone_value("a\"b", "\n"), r#"{"relay_id":"a\"b","session_id":"\n"}"#);
    }
}
