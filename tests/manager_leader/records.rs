//! What the record says and what it does not matter that it says.

use std::{sync::Arc, time::Duration};

use informer::manager::leader::{Elector, ElectorError, Timing, TimingError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::{Instant, sleep};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn first_contender_creates_the_lease_in_the_form_of_client_go() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::ZERO, |builder| builder.label("app", "demo"));
    let token = blue.observer.leading().await.expect("the election runs");
    let lease = ring.server.lease();
    let spec = lease.spec.clone().unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("blue"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.lease_transitions, Some(0));
    assert_eq!(spec.acquire_time, spec.renew_time);
    assert_eq!(lease.metadata.labels.as_ref().unwrap()["app"], "demo");
    assert!(token.matches(&lease));

    sleep(5 * SECOND).await;
    let renewed = ring.server.lease().spec.unwrap();
    assert_eq!(
        (renewed.acquire_time, renewed.lease_transitions),
        (spec.acquire_time, Some(0))
    );
    assert!(
        renewed.renew_time > spec.renew_time,
        "each renewal changes the record"
    );
}

#[tokio::test(start_paused = true)]
async fn times_in_the_record_do_not_matter_only_its_changes_do() {
    for renewed_at in ["1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"] {
        let ring = Ring::new();
        ring.server.edit(|lease| {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some("red".to_owned());
            spec.lease_duration_seconds = Some(40);
            spec.renew_time = Some(MicroTime(renewed_at.parse().unwrap()));
        });
        let start = Instant::now();
        let blue = ring.contend("blue");
        blue.observer.leading().await;
        let waited = start.elapsed();
        assert!(
            waited >= 40 * SECOND,
            "the holder's own duration counts from the first look: {waited:?}"
        );
        assert!(waited < 45 * SECOND, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn record_under_ones_own_name_is_not_ones_own_for_that() {
    let ring = Ring::new();
    ring.server.edit(|lease| {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("blue".to_owned());
        spec.lease_duration_seconds = Some(15);
    });
    let start = Instant::now();
    ring.contend("blue").observer.leading().await;
    assert!(start.elapsed() >= 15 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn relabelling_does_not_keep_a_dead_leader_alive() {
    let ring = Ring::new();
    ring.server.edit(|lease| {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("red".to_owned());
        spec.lease_duration_seconds = Some(15);
    });
    let blue = ring.contend("blue");
    for n in 0..30 {
        sleep(SECOND).await;
        if blue.observer.is_leading() {
            return;
        }
        ring.server.edit(|lease| {
            lease.metadata.labels = Some([("n".to_owned(), n.to_string())].into());
        });
    }
    panic!("blue never led");
}

#[tokio::test(start_paused = true)]
async fn nonsense_in_the_record_is_survived() {
    let ring = Ring::new();
    ring.server.edit(|lease| {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("red".to_owned());
        spec.lease_duration_seconds = Some(-5);
        spec.lease_transitions = Some(-1);
    });
    let start = Instant::now();
    let blue = ring.contend("blue");
    let token = blue.observer.leading().await.unwrap();
    assert!(
        start.elapsed() >= 15 * SECOND,
        "with no duration of the holder's, one's own counts"
    );
    assert_eq!(token.transitions(), 1);
}

#[test]
fn times_that_contradict_each_other_are_refused_with_the_rule() {
    let s = Duration::from_secs;
    let build = |timing: Timing| {
        let path = Path {
            server: Arc::default(),
            network: Arc::default(),
            contender: "x",
        };
        Elector::builder(path).timing(timing).build().map(|_| ())
    };
    assert_eq!(build(Timing::default()), Ok(()));
    let mut odd = Timing::new(Duration::from_millis(15_500), s(10), s(2));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::LeaseDuration(_)))
    ));
    odd = Timing::new(s(10), s(10), s(2));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::RenewDeadline { .. }))
    ));
    odd = Timing::new(s(15), s(10), s(9));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::Retries { .. }))
    ));
    odd = Timing::new(s(15), s(10), s(0));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::RetryPeriod))
    ));
    odd = Timing::new(s(0), s(0), s(0));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::LeaseDuration(_)))
    ));
    odd = Timing::default();
    odd.request_timeout = s(11);
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::RequestTimeout(_)))
    ));
    let path = Path {
        server: Arc::default(),
        network: Arc::default(),
        contender: "x",
    };
    assert_eq!(
        Elector::builder(path).identity("").build().map(|_| ()),
        Err(ElectorError::Identity)
    );
}
