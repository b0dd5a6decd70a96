//! The proxies that the environment names: which of them a call goes through.

use hyper_util::client::proxy::matcher::Matcher;

use crate::frame::address::Address;
use crate::frame::env::{self, EnvironmentVariables};

/// The proxies of this machine.
#[derive(Debug)]
pub(super) struct Proxies(Option<Matcher>);

impl Proxies {
    /// Those that the HTTP client would use; with `*` in `NO_PROXY` none, for addresses as for names.
    pub(super) fn of(env: &EnvironmentVariables) -> Self {
        let spared =
            [env::NO_PROXY, env::NO_PROXY_IN_LOWER_CASE].into_iter().filter_map(|name| env.get(name));
        let none = spared.flat_map(|spared| spared.split(',')).any(|spared| spared.trim() == "*");
        Self((!none).then(Matcher::from_system))
    }

    /// The proxy of calls to an address, without what proves who asks; `None`: there is none, as on this machine.
    pub(super) fn to(&self, address: &Address) -> Option<String> {
        let matcher = self.0.as_ref().filter(|_| !address.is_loopback())?;
        let used = matcher.intercept(&address.base().parse().ok()?)?;
        Some(used.uri().to_string().trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_those_that_are_spared_have_none() {
        let proxy = |spared: &str, address: &str| {
            let matcher = Matcher::builder().all("http://ann:secret@proxy.example:3128").no(spared).build();
            Proxies(Some(matcher)).to(&address.parse().unwrap())
        };
        let used = Some("http://proxy.example:3128".to_owned());
        assert_eq!(proxy("", "http://10.0.0.7:17420"), used);
        assert_eq!(proxy("", "https://eu-1.example:17420"), used);
        assert_eq!(proxy("eu-1.example,10.0.0.0/8", "http://10.0.0.7:17420"), None);
        assert_eq!(proxy("", "http://127.0.0.1:17420"), None);
        assert_eq!(proxy("", "unix:/run/x.sock"), None);
    }

    #[test]
    fn a_star_spares_all() {
        for (name, value, none) in [
            ("NO_PROXY", "*", true),
            ("no_proxy", "localhost, *", true),
            ("NO_PROXY", "*.example", false),
            ("NO_PROXY", "", false),
        ] {
            let env = EnvironmentVariables::from_source(|asked| (asked == name).then(|| value.to_owned()));
            assert_eq!(Proxies::of(&env).0.is_none(), none, "{name}={value}");
        }
    }
}
