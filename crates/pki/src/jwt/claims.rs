//! Claims of a token, and the check whether they hold.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::JwtError;

/// How far the clocks of issuers and daemons may differ, in seconds.
pub const LEEWAY: i64 = 60;

/// An object of JSON in which no name is twice.
pub(super) type JsonObject = BTreeMap<String, Value>;

struct UniqueNamesObject(JsonObject);

impl<'de> Deserialize<'de> for UniqueNamesObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = UniqueNamesObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<UniqueNamesObject, A::Error> {
                let mut object = JsonObject::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if object.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name is twice in it"));
                    }
                }
                Ok(UniqueNamesObject(object))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// The object that this text is; `None` when it is something else, or has a name twice.
pub(super) fn object(json: &[u8]) -> Option<JsonObject> {
    serde_json::from_slice::<UniqueNamesObject>(json).ok().map(|strict| strict.0)
}

/// Claims of a token whose signature was right.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenClaims(JsonObject);

/// Claims that must be in a token for it to be one of ours.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedClaims<'a> {
    pub issuer: &'a str,
    pub audience: &'a str,
    /// The second of the Unix time.
    pub now: i64,
}

impl TokenClaims {
    pub(super) fn of(object: JsonObject) -> Self {
        Self(object)
    }

    /// Checks that the token is of the issuer, for the audience, and holds now; answers the last second of that.
    ///
    /// # Errors
    /// What of that is not so. A token without an end is refused.
    pub fn check(&self, expected: &ExpectedClaims<'_>) -> Result<i64, JwtError> {
        let now = expected.now;
        if self.text("iss") != Some(expected.issuer) {
            return Err(JwtError::Issuer);
        }
        let is_for = |value: &Value| value.as_str() == Some(expected.audience);
        let heard = match self.0.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_for),
            Some(one) => is_for(one),
            None => false,
        };
        if !heard {
            return Err(JwtError::Audience);
        }
        let end = self.second("exp")?.ok_or(JwtError::Claim("exp"))?;
        for begin in ["nbf", "iat"] {
            if self.second(begin)?.is_some_and(|begin| begin > now.saturating_add(LEEWAY)) {
                return Err(JwtError::NotYet);
            }
        }
        match end.saturating_add(LEEWAY) {
            until if until < now => Err(JwtError::Expired),
            until => Ok(until),
        }
    }

    /// The text that it claims under a name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// The texts that it claims under a name: several, or one; none when they are something else. A name with dots in it
    /// leads into objects, if there is none that is called so as a whole.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        self.texts_and_others(name).0
    }

    /// The same, and whether there is something besides that is no text.
    pub fn texts_and_others(&self, name: &str) -> (Vec<&str>, bool) {
        let whole = self.0.get(name).or_else(|| {
            let mut steps = name.split('.');
            let first = self.0.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.as_object()?.get(step))
        });
        match whole {
            Some(Value::String(one)) => (vec![one], false),
            Some(Value::Array(several)) => {
                let texts: Vec<_> = several.iter().filter_map(Value::as_str).collect();
                let others = texts.len() < several.len();
                (texts, others)
            }
            Some(Value::Null) | None => (Vec::new(), false),
            Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => (Vec::new(), true),
        }
    }

    /// Whether the issuer says that a claim is to be asked for elsewhere (OpenID Connect Core, 5.6.2).
    pub fn is_kept_elsewhere(&self, name: &str) -> bool {
        let names = self.0.get("_claim_names").and_then(Value::as_object);
        names.is_some_and(|names| names.contains_key(name))
    }

    /// A second of the Unix time; parts of it are dropped.
    ///
    /// # Errors
    /// [`JwtError::Claim`] when it is no number of seconds.
    pub fn second(&self, name: &'static str) -> Result<Option<i64>, JwtError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let whole = value.as_i64().or_else(|| {
            let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds))?;
            Some(seconds as i64)
        });
        whole.filter(|second| *second >= 0).map(Some).ok_or(JwtError::Claim(name))
    }
}
