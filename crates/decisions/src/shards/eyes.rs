//! Approvals that moves of shards need, and changes that would have it be fewer: four eyes on the rule of four eyes.

use super::spec::{Automation, CheckedRebalancePolicy};

/// Fields in which a policy asks for fewer approvals than the one before; none, where whoever proposes may approve anyway.
///
/// `configured`: whether who proposed a plan may approve it where a policy does not say (`mesh.shards.selfApproval`).
pub fn fields_that_lower(
    before: &CheckedRebalancePolicy,
    after: &CheckedRebalancePolicy,
    configured: bool,
) -> Vec<&'static str> {
    if before.self_approval.unwrap_or(configured) {
        return Vec::new();
    }
    // What this daemon is configured by is not what the others are.
    let lets_approve = match after.self_approval {
        Some(allowed) => allowed,
        None => configured || before.self_approval.is_some(),
    };
    let unasked = |before: Automation, after: Automation| after == Automation::Automatic && before != after;
    let waits = |policy: &CheckedRebalancePolicy| policy.brake.is_none() && policy.brake_milli < 1000;
    // A brake that goes on later asks of fewer.
    let brakes_less = !waits(after) || after.brake_milli > before.brake_milli;
    let fields = [
        ("selfApproval", lets_approve),
        ("evacuation", unasked(before.evacuation, after.evacuation)),
        ("balance", unasked(before.balance, after.balance)),
        ("relief", unasked(before.relief, after.relief)),
        ("brake", waits(before) && brakes_less),
    ];
    fields.into_iter().filter(|(_, lowers)| *lowers).map(|(field, _)| field).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_asks_for_fewer_approvals_is_found() {
        let policy = |change: fn(&mut CheckedRebalancePolicy)| {
            let mut policy = CheckedRebalancePolicy::default();
            change(&mut policy);
            policy
        };
        let (as_is, four) = (policy(|_| {}), policy(|policy| policy.self_approval = Some(false)));
        let alone = policy(|policy| policy.self_approval = Some(true));
        let asking = policy(|policy| policy.balance = Automation::Propose);
        let proposed = policy(|policy| policy.evacuation = Automation::Propose);
        let braked = policy(|policy| policy.brake = None);
        let later = policy(|policy| (policy.brake, policy.brake_milli) = (None, 999));
        let never = policy(|policy| (policy.brake, policy.brake_milli) = (None, 1000));
        let slower = policy(|policy| policy.cooldown = Duration::from_secs(1));
        let cases: [(&str, &CheckedRebalancePolicy, &CheckedRebalancePolicy, bool, &[&str]); 16] = [
            ("alone, where four eyes are the rule", &as_is, &alone, false, &["selfApproval"]),
            ("alone, where four eyes were demanded", &four, &alone, true, &["selfApproval"]),
            ("no more said, and asked of each daemon", &four, &as_is, true, &["selfApproval"]),
            (
                "no more said, and other daemons may have it otherwise",
                &four,
                &as_is,
                false,
                &["selfApproval"],
            ),
            ("said as it is", &as_is, &four, false, &[]),
            ("alone was allowed by the configuration", &as_is, &alone, true, &[]),
            ("alone was allowed", &alone, &as_is, false, &[]),
            ("more eyes", &alone, &four, false, &[]),
            ("the controller need not ask", &asking, &as_is, false, &["balance"]),
            ("it has to ask", &as_is, &asking, false, &[]),
            ("it need not ask any more", &proposed, &as_is, false, &["evacuation"]),
            ("the brake ends by itself", &braked, &as_is, false, &["brake"]),
            ("the brake goes on later", &braked, &later, false, &["brake"]),
            ("the brake goes on earlier", &later, &braked, false, &[]),
            ("there is no brake any more", &braked, &never, false, &["brake"]),
            ("what asks nobody", &as_is, &slower, false, &[]),
        ];
        for (what, before, after, configured, expected) in cases {
            assert_eq!(fields_that_lower(before, after, configured), expected, "{what}");
        }
    }
}
