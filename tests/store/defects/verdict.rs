//! Whether a rule has noticed a defect, and for the right reason.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Once;

use tokio::task::JoinError;

thread_local! {
    /// The file of this thread's last panic.
    static PANICKED_IN: RefCell<String> = RefCell::default();
}

/// Remembers where panics happen.
pub(crate) fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let file = panic.location().map(|location| location.file().to_owned()).unwrap_or_default();
            PANICKED_IN.set(file);
            print(panic);
        }));
    });
}

/// Wants that the rule has failed by an assertion of the suite, not by one of the broken store or
/// its harness, and that it says each of `says`. The rule ran on this thread.
pub(crate) fn assert_noticed(defect: &str, verdict: Result<(), JoinError>, says: &[&str]) {
    let Err(failure) = verdict else { panic!("a store that {defect} was not noticed") };
    let payload = failure.into_panic();
    let said = payload.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    let file = PANICKED_IN.take();
    assert!(
        Path::new(&file).parent().is_some_and(|dir| dir.ends_with("store/suite")),
        "`{defect}` broke the test in {file}: {said}"
    );
    for part in says {
        assert!(said.contains(part), "`{defect}` was not noticed by `{part}`, but by: {said}");
    }
}
