//! Tests of the supervisor's decisions.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn exit(reason: ExitReason, uptime_s: u64) -> Exit {
    Exit { reason, code: Some(1), signal: None, message: None, at: 0, uptime_s }
}

/// A policy with one container that runs, started by the user.
fn running(container: &str) -> Policy {
    let mut policy = Policy::default();
    policy.on(seconds(0), PolicyEvent::Watched(name(container)));
    policy.on(seconds(0), PolicyEvent::Status(name(container), State::Running));
    policy
}

/// The container ends and is swept; returns the time of its restart.
fn ends(policy: &mut Policy, now: u64, exit: Exit, restart: RestartPolicy) -> Option<u64> {
    assert_eq!(
        policy.on(seconds(now), PolicyEvent::Gone(name("web"), exit, restart)),
        [Action::Sweep(name("web"))]
    );
    assert!(policy.on(seconds(now), PolicyEvent::Swept(name("web"), true)).is_empty());
    policy.deadline().map(|at| at.as_secs() - now)
}

/// The deadline expires, and the container starts and runs.
fn comes_up(policy: &mut Policy, now: u64) {
    assert_eq!(policy.on(seconds(now), PolicyEvent::Tick), [Action::Start(name("web"))]);
    policy.on(seconds(now), PolicyEvent::Watched(name("web")));
    policy.on(seconds(now), PolicyEvent::Status(name("web"), State::Running));
    assert!(
        policy.on(seconds(now), PolicyEvent::StartEnded(name("web"), true, RestartPolicy::Always)).is_empty()
    );
}

#[test]
fn the_policy_word_decides_which_end_is_followed_by_a_start() {
    use ExitReason::{Exited, Killed, Lost, PoweredOff, StartFailed, Stopped};
    for (reason, on_failure, always) in [
        (Stopped, false, false),
        (PoweredOff, false, true),
        (Exited, true, true),
        (Killed, true, true),
        (Lost, true, true),
        (StartFailed, true, true),
    ] {
        for (restart, expected) in [
            (RestartPolicy::No, false),
            (RestartPolicy::OnFailure, on_failure),
            (RestartPolicy::Always, always),
        ] {
            let mut policy = running("web");
            let again = ends(&mut policy, 10, exit(reason, 5), restart);
            assert_eq!(again, expected.then_some(1), "{reason:?} {restart:?}");
            assert_eq!(policy.containers.is_empty(), !expected, "no record is kept after a clean end");
        }
    }
    let mut policy = running("web");
    let clean = Exit { code: Some(0), ..exit(Exited, 5) };
    assert_eq!(ends(&mut policy, 10, clean, RestartPolicy::OnFailure), None);
}

#[test]
fn the_waits_double_up_to_five_minutes_and_start_over_after_ten_minutes_up() {
    let mut policy = running("web");
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..11 {
        let wait = ends(&mut policy, now, exit(ExitReason::Killed, 599), RestartPolicy::OnFailure).unwrap();
        waits.push(wait);
        now += wait;
        comes_up(&mut policy, now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(ends(&mut policy, now, exit(ExitReason::Killed, 600), RestartPolicy::OnFailure), Some(1));
}

#[test]
fn a_failed_start_of_ours_is_repeated_and_one_of_the_user_is_not() {
    let mut policy = Policy::default();
    policy.on(seconds(0), PolicyEvent::Watched(name("web")));
    assert_eq!(ends(&mut policy, 0, exit(ExitReason::StartFailed, 0), RestartPolicy::Always), None);

    let mut policy = running("web");
    assert_eq!(ends(&mut policy, 0, exit(ExitReason::Killed, 3), RestartPolicy::Always), Some(1));
    assert_eq!(policy.on(seconds(1), PolicyEvent::Tick), [Action::Start(name("web"))]);
    assert!(policy.is_starting(&name("web")));
    // No monitor ever existed.
    policy.on(seconds(1), PolicyEvent::StartEnded(name("web"), false, RestartPolicy::Always));
    assert_eq!(policy.restarts(), BTreeMap::from([(name("web"), seconds(3))]));
    assert_eq!(policy.on(seconds(3), PolicyEvent::Tick), [Action::Start(name("web"))]);
    // If there was one, its end is reported before or after that of the start.
    policy.on(seconds(3), PolicyEvent::Watched(name("web")));
    let failed = exit(ExitReason::StartFailed, 0);
    policy.on(seconds(3), PolicyEvent::Gone(name("web"), failed, RestartPolicy::Always));
    policy.on(seconds(3), PolicyEvent::StartEnded(name("web"), false, RestartPolicy::Always));
    assert_eq!(policy.restarts(), BTreeMap::new(), "the sweep is first");
    policy.on(seconds(3), PolicyEvent::Swept(name("web"), true));
    assert_eq!(policy.restarts(), BTreeMap::from([(name("web"), seconds(7))]));
}

#[test]
fn a_start_by_hand_takes_the_place_of_the_pending_one_and_clears_the_record() {
    let mut policy = running("web");
    for _ in 0..4 {
        ends(&mut policy, 0, exit(ExitReason::Killed, 1), RestartPolicy::Always);
        policy.on(seconds(0), PolicyEvent::Watched(name("web")));
        assert_eq!(policy.deadline(), None);
    }
    policy.on(seconds(0), PolicyEvent::Status(name("web"), State::Running));
    assert_eq!(ends(&mut policy, 0, exit(ExitReason::Killed, 1), RestartPolicy::Always), Some(1));
}

#[test]
fn a_stop_cancels_what_is_pending_and_what_is_under_way() {
    let mut policy = running("web");
    ends(&mut policy, 0, exit(ExitReason::Killed, 1), RestartPolicy::Always);
    policy.on(seconds(0), PolicyEvent::Cancelled(name("web")));
    assert_eq!(policy.deadline(), None);
    assert!(policy.containers.is_empty());

    let mut policy = running("web");
    ends(&mut policy, 0, exit(ExitReason::Killed, 1), RestartPolicy::Always);
    policy.on(seconds(1), PolicyEvent::Tick);
    policy.on(seconds(1), PolicyEvent::Cancelled(name("web")));
    policy.on(seconds(1), PolicyEvent::StartEnded(name("web"), false, RestartPolicy::Always));
    assert!(policy.containers.is_empty());
}

#[test]
fn a_monitor_that_dies_while_it_stops_is_not_a_failure() {
    let mut policy = running("web");
    policy.on(seconds(1), PolicyEvent::Status(name("web"), State::Stopping));
    assert_eq!(ends(&mut policy, 1, exit(ExitReason::Lost, 1), RestartPolicy::Always), None);
    // A restart passes through stopping, too, and ends it.
    let mut policy = running("web");
    policy.on(seconds(1), PolicyEvent::Status(name("web"), State::Stopping));
    policy.on(seconds(1), PolicyEvent::Status(name("web"), State::Running));
    assert_eq!(ends(&mut policy, 1, exit(ExitReason::Lost, 1), RestartPolicy::Always), Some(1));
}

#[test]
fn a_sweep_is_repeated_while_something_is_left_and_given_up_in_the_end() {
    let mut policy = running("web");
    policy.on(seconds(0), PolicyEvent::Gone(name("web"), exit(ExitReason::Lost, 1), RestartPolicy::Always));
    let mut now = seconds(0);
    for _ in 1..SWEEPS {
        policy.on(now, PolicyEvent::Swept(name("web"), false));
        now = policy.deadline().unwrap();
        assert_eq!(policy.on(now, PolicyEvent::Tick), [Action::Sweep(name("web"))]);
    }
    assert_eq!(now.as_millis(), 6350);
    policy.on(now, PolicyEvent::Swept(name("web"), false));
    assert_eq!(policy.restarts().len(), 1, "remains do not prevent the restart");
}

#[test]
fn groups_start_one_after_another_and_equal_priorities_together() {
    let candidate = |text: &str, priority| Candidate { name: name(text), priority };
    let mut policy = running("there");
    let all = vec![
        candidate("late", 20),
        candidate("b", 10),
        candidate("there", 5),
        candidate("a", 10),
        candidate("first", -1),
        candidate("last", 30),
    ];
    let started = policy.on(seconds(0), PolicyEvent::Autostart(all));
    assert_eq!(started, [Action::Start(name("first"))]);
    // The group of the running container is skipped; a failure does not delay the others.
    let started = policy.on(seconds(1), PolicyEvent::StartEnded(name("first"), false, RestartPolicy::No));
    assert_eq!(started, [Action::Start(name("a")), Action::Start(name("b"))]);
    assert!(policy.on(seconds(2), PolicyEvent::StartEnded(name("b"), true, RestartPolicy::No)).is_empty());
    policy.on(seconds(2), PolicyEvent::Cancelled(name("late")));
    let started = policy.on(seconds(3), PolicyEvent::StartEnded(name("a"), true, RestartPolicy::No));
    assert_eq!(started, [Action::Start(name("last"))]);
}

#[test]
fn a_limit_holds_the_rest_of_a_group_back() {
    let candidate = |text: &str, priority| Candidate { name: name(text), priority };
    let ended = |text: &str| PolicyEvent::StartEnded(name(text), true, RestartPolicy::No);
    let mut policy = Policy::new(Some(2));
    let all = vec![candidate("a", 1), candidate("b", 1), candidate("c", 1), candidate("d", 2)];
    let started = policy.on(seconds(0), PolicyEvent::Autostart(all));
    assert_eq!(started, [Action::Start(name("a")), Action::Start(name("b"))]);
    assert_eq!(policy.on(seconds(0), ended("b")), [Action::Start(name("c"))]);
    assert!(policy.on(seconds(0), ended("a")).is_empty(), "the next group waits for c");
    assert_eq!(policy.on(seconds(0), ended("c")), [Action::Start(name("d"))]);
}

fn any_event() -> impl Strategy<Value = PolicyEvent> {
    let names = prop_oneof![Just(name("a")), Just(name("b")), Just(name("c"))];
    let reasons = prop_oneof![
        Just(ExitReason::Stopped),
        Just(ExitReason::Killed),
        Just(ExitReason::StartFailed),
        Just(ExitReason::Lost)
    ];
    let policies =
        prop_oneof![Just(RestartPolicy::No), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Always)];
    prop_oneof![
        names.clone().prop_map(PolicyEvent::Watched),
        names.clone().prop_map(|name| PolicyEvent::Status(name, State::Running)),
        (names.clone(), reasons, 0..1200_u64, policies.clone()).prop_map(
            |(name, reason, uptime, restart)| PolicyEvent::Gone(name, exit(reason, uptime), restart)
        ),
        (names.clone(), any::<bool>()).prop_map(|(name, clean)| PolicyEvent::Swept(name, clean)),
        (names.clone(), any::<bool>(), policies)
            .prop_map(|(name, running, restart)| PolicyEvent::StartEnded(name, running, restart)),
        names.clone().prop_map(PolicyEvent::Cancelled),
        names.prop_map(PolicyEvent::Stale),
        Just(PolicyEvent::Tick),
    ]
}

proptest! {
    #[test]
    fn nothing_is_started_twice_or_while_it_runs(events in prop::collection::vec((any_event(), 0..400_u64), 1..60)) {
        let mut policy = Policy::default();
        let mut now = Duration::ZERO;
        let mut starting = BTreeSet::new();
        let mut watched = BTreeSet::new();
        for (event, pause) in events {
            now += seconds(pause);
            match &event {
                PolicyEvent::Watched(name) => drop(watched.insert(name.clone())),
                PolicyEvent::Gone(name, ..) => drop(watched.remove(name)),
                PolicyEvent::StartEnded(name, ..) => drop(starting.remove(name)),
                _ => {}
            }
            for action in policy.on(now, event) {
                if let Action::Start(name) = action {
                    prop_assert!(!watched.contains(&name), "{name} runs");
                    prop_assert!(starting.insert(name), "started twice");
                }
            }
        }
    }
}

/// A model of the supervisor: the actions in progress.
#[derive(Debug, Default)]
struct UnderWay {
    sweeps: BTreeMap<Name, u32>,
    starts: BTreeMap<Name, u32>,
}

impl UnderWay {
    /// Records the actions of the policy; a container has at most one sweep and one start in progress.
    fn begin(&mut self, actions: Vec<Action>) -> Result<(), TestCaseError> {
        for action in actions {
            let (name, count) = match action {
                Action::Sweep(name) => (name.clone(), self.sweeps.entry(name).or_default()),
                Action::Start(name) => (name.clone(), self.starts.entry(name).or_default()),
            };
            *count += 1;
            prop_assert_eq!(*count, 1, "two at once for {}", name);
        }
        Ok(())
    }

    /// Whether the event can happen: only an action in progress can end.
    fn allows(&mut self, event: &PolicyEvent) -> bool {
        match event {
            PolicyEvent::Swept(name, _) => self.sweeps.remove(name).is_some(),
            PolicyEvent::StartEnded(name, ..) => self.starts.remove(name).is_some(),
            _ => true,
        }
    }
}

#[test]
fn a_sweep_that_never_ends_is_not_joined_by_another() {
    let mut policy = running("web");
    let gone = || PolicyEvent::Gone(name("web"), exit(ExitReason::Lost, 1), RestartPolicy::No);
    assert_eq!(policy.on(seconds(0), gone()), [Action::Sweep(name("web"))]);
    for now in 0..1000 {
        assert!(policy.on(seconds(now), PolicyEvent::Tick).is_empty());
    }
    assert_eq!(policy.deadline(), None, "nothing is due while it is in progress");
    // The container starts and ends again in the meantime.
    policy.on(seconds(1), PolicyEvent::Watched(name("web")));
    assert!(policy.on(seconds(2), gone()).is_empty());
    assert_eq!(policy.on(seconds(3), PolicyEvent::Swept(name("web"), true)), [Action::Sweep(name("web"))]);
    assert!(policy.on(seconds(4), PolicyEvent::Swept(name("web"), true)).is_empty());
    assert!(policy.containers.is_empty());
}

proptest! {
    #[test]
    fn no_state_emits_work_without_being_moved_by_it(
        events in prop::collection::vec((any_event(), 0..400_u64), 1..80)
    ) {
        let mut policy = Policy::default();
        let mut under_way = UnderWay::default();
        let mut now = Duration::ZERO;
        for (event, pause) in events {
            now += Duration::from_millis(pause * 10);
            if !under_way.allows(&event) {
                continue;
            }
            under_way.begin(policy.on(now, event))?;
            under_way.begin(policy.on(now, PolicyEvent::Tick))?;
            prop_assert_eq!(policy.on(now, PolicyEvent::Tick), [], "the first tick has done everything that is due");
            prop_assert!(policy.deadline().is_none_or(|at| at > now), "an expired deadline is not reported");
        }
        // Every sweep leaves something, and the repetition still ends.
        let mut rounds = 0;
        while let Some(container) = under_way.sweeps.keys().next().cloned() {
            under_way.sweeps.remove(&container);
            under_way.begin(policy.on(now, PolicyEvent::Swept(container, false)))?;
            now = policy.deadline().unwrap_or(now).max(now);
            let due = policy.on(now, PolicyEvent::Tick);
            under_way.begin(due.into_iter().filter(|action| matches!(action, Action::Sweep(_))).collect())?;
            rounds += 1;
            prop_assert!(rounds <= 3 * 2 * SWEEPS, "the sweeps do not end");
        }
    }
}
