use super::*;
use crate::frame::global::GlobalArgs;
use crate::frame::settings::CommandSettings;

/// Sources of proof, of which a case has some.
#[derive(Clone, Copy, PartialEq)]
enum Has {
    Nothing,
    Token,
    Certificate,
    Both,
}

use Has::{Both, Certificate, Nothing, Token};

impl Has {
    fn token(self, name: &str) -> Option<String> {
        matches!(self, Token | Both).then(|| format!("/{name}.token"))
    }

    fn certificate(self, name: &str) -> Option<String> {
        matches!(self, Certificate | Both).then(|| format!("/{name}.pem"))
    }
}

/// The token and the certificate that a command shows, if its flags, the variables and its context have these.
fn shown(
    [flags, variables, context]: [Has; 3],
    address: &str,
    change: impl Fn(&mut GlobalArgs),
) -> Result<(Option<String>, Option<String>), CliError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let line = |key: &str, value: Option<String>| value.map(|value| format!(", {key}: {value}"));
    let (token, tls) = (line("tokenFile", context.token("context")), context.certificate("context"));
    let tls = line("tls", tls.map(|cert| format!("{{cert: {cert}}}")));
    let (token, tls) = (token.unwrap_or_default(), tls.unwrap_or_default());
    let text = format!("currentContext: c\ncontexts:\n- {{name: c, address: '{address}'{token}{tls}}}\n");
    std::fs::write(&path, text).unwrap();
    let env = EnvironmentVariables::from_source(|name| match name {
        "OMNIRELAY_TOKEN_FILE" => variables.token("variable"),
        "OMNIRELAY_TLS_CERT" => variables.certificate("variable"),
        _ => None,
    });
    let mut args = GlobalArgs {
        config: Some(path),
        token_file: flags.token("flag").map(Into::into),
        tls_cert: flags.certificate("flag").map(Into::into),
        ..GlobalArgs::default()
    };
    change(&mut args);
    let target = CommandSettings::resolve(&args, env).unwrap().target?;
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    Ok((target.token_file.as_deref().map(name), target.tls.cert.as_deref().map(name)))
}

/// What a daemon goes by: a token before a certificate, which is shown under TLS only.
fn acting((token, certificate): (Option<String>, Option<String>), address: &str) -> String {
    match (token, certificate.filter(|_| address.starts_with("https:"))) {
        (Some(name), _) => format!("token of the {name}"),
        (None, Some(name)) => format!("certificate of the {name}"),
        (None, None) => "nothing".to_owned(),
    }
}

const UNDER_TLS: &str = "https://h:1";

#[test]
fn the_nearest_source_says_who_acts() {
    let all = [Nothing, Token, Certificate, Both];
    let cases = all.into_iter().flat_map(|flags| {
        all.into_iter().flat_map(move |variables| all.map(|context| [flags, variables, context]))
    });
    for [flags, variables, context] in cases {
        let sources = [("flag", flags), ("variable", variables), ("context", context)];
        let expected = match sources.into_iter().find(|(_, has)| *has != Nothing) {
            Some((name, Certificate)) => format!("certificate of the {name}"),
            Some((name, Token | Both)) => format!("token of the {name}"),
            Some((_, Nothing)) | None => "nothing".to_owned(),
        };
        let shown = shown([flags, variables, context], UNDER_TLS, |_| {}).unwrap();
        let what = format!("flags, variables, context: {:?}", sources.map(|(_, has)| has as u8));
        assert_eq!(acting(shown, UNDER_TLS), expected, "{what}");
    }
}

/// The rows that operators meet, said one by one.
#[test]
fn a_kept_token_goes_where_nothing_else_is_named() {
    let plain: &[&str] = &["unix:/run/control.sock", "http://127.0.0.1:1", "http://h:1"];
    let tls: &[&str] = &[UNDER_TLS];
    let cases = [
        (
            "a certificate by flags drops the kept one",
            tls,
            [Certificate, Nothing, Both],
            (None, Some("flag")),
        ),
        ("a certificate by variables too", tls, [Nothing, Certificate, Both], (None, Some("variable"))),
        ("a flag before a variable", tls, [Certificate, Token, Nothing], (None, Some("flag"))),
        ("a token by flag drops the kept certificate", tls, [Token, Nothing, Both], (Some("flag"), None)),
        ("a token by variable drops it too", tls, [Nothing, Token, Certificate], (Some("variable"), None)),
        ("a token by variable", tls, [Nothing, Token, Token], (Some("variable"), None)),
        (
            "a token by flag, beside a certificate of variables",
            tls,
            [Token, Certificate, Nothing],
            (Some("flag"), None),
        ),
        ("both by flags", tls, [Both, Certificate, Both], (Some("flag"), Some("flag"))),
        (
            "no TLS, a kept certificate: an address of the mesh may speak it",
            plain,
            [Token, Nothing, Certificate],
            (Some("flag"), None),
        ),
        (
            "nothing else: the one that login keeps",
            tls,
            [Nothing, Nothing, Both],
            (Some("context"), Some("context")),
        ),
        // A certificate that nobody is shown says nothing of who acts; at a socket its user would act instead.
        (
            "no TLS, a certificate in variables",
            plain,
            [Nothing, Certificate, Token],
            (Some("context"), Some("variable")),
        ),
    ];
    for (what, addresses, sources, (token, certificate)) in cases {
        for address in addresses {
            let shown = shown(sources, address, |_| {}).unwrap();
            let expected = (token.map(str::to_owned), certificate.map(str::to_owned));
            assert_eq!(shown, expected, "{what}: {address}");
        }
    }
}

#[test]
fn an_address_of_its_own_has_no_kept_token() {
    let at = |address: &'static str| move |args: &mut GlobalArgs| args.addr = Some(address.to_owned());
    let of = |sources, address| shown(sources, UNDER_TLS, at(address)).unwrap().0;
    assert_eq!(of([Nothing, Nothing, Token], "https://other:1"), None);
    assert_eq!(of([Nothing, Token, Token], "https://other:1").as_deref(), Some("variable"));
    let both = |args: &mut GlobalArgs| {
        (args.addr, args.context) = (Some("https://other:1".to_owned()), Some("c".to_owned()));
    };
    let token = |sources| shown(sources, UNDER_TLS, both).unwrap().0;
    assert_eq!(token([Nothing, Nothing, Token]).as_deref(), Some("context"), "the context was named too");
    assert_eq!(token([Certificate, Nothing, Token]), None);
}

#[test]
fn a_key_alone_is_no_certificate() {
    let key = |args: &mut GlobalArgs| args.tls_key = Some("/flag.key".into());
    for address in [UNDER_TLS, "http://127.0.0.1:1"] {
        let found = shown([Nothing, Nothing, Token], address, key).unwrap();
        assert_eq!(found, (Some("context".to_owned()), None), "{address}");
    }
}

#[test]
fn a_certificate_that_would_not_be_shown_is_refused() {
    for address in ["unix:/run/control.sock", "http://127.0.0.1:1"] {
        let error = shown([Certificate, Nothing, Token], address, |_| {}).unwrap_err();
        assert_eq!(error.exit() as u8, 2, "{address}");
        assert!(error.to_text().contains("is shown no certificate"), "{}", error.to_text());
    }
    let mixed = |args: &mut GlobalArgs| {
        (args.addr, args.context) = (Some("http://127.0.0.1:1".to_owned()), Some("c".to_owned()));
    };
    assert!(
        shown([Certificate, Nothing, Token], UNDER_TLS, mixed).is_err(),
        "the address that is asked counts"
    );
}
