//! The durations of an election and the relations between them that make it sound.

use std::time::Duration;

/// How long a lease lasts, how often it is renewed and when a leader gives up.
///
/// All times run on the monotonic clock of this process; no clock of another machine is ever compared with it. A
/// leader counts its lease from the moment it *sent* the last renewal that was acknowledged, a contender from the
/// moment it *received* the last change, so a slow network can only shorten a term, never stretch it.
///
/// ```text
/// request sent        renew_deadline          lease_duration - margin     lease_duration
///      |---- renewing, working ----|---- work must stop ----|---- nobody leads ----|---- others may take over
/// ```
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use informer::manager::leader::Timing;
///
/// let timing = Timing::new(Duration::from_secs(30), Duration::from_secs(20), Duration::from_secs(4));
/// assert!(timing.validate().is_ok());
/// assert!(Timing::new(Duration::from_secs(10), Duration::from_secs(10), Duration::from_secs(2)).validate().is_err());
/// ```
///
/// # Source
///
/// client-go `tools/leaderelection` `LeaderElectionConfig`; differs: `margin` and `request_timeout`, and the count
/// from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How long others wait after the last change of the lease before they take it. Whole seconds, since that is what
    /// the record on the server holds. Default: `15 s`.
    pub lease_duration: Duration,
    /// How long a leader goes on without an acknowledged renewal before it stops its work. Default: `10 s`.
    pub renew_deadline: Duration,
    /// How often a leader renews and, with jitter on top, a contender looks. Default: `2 s`.
    pub retry_period: Duration,
    /// How long one request may take. Default: half of `renew_deadline`, so that a renewal that hangs can be tried
    /// again in time.
    pub request_timeout: Duration,
    /// How much earlier than the others a leader considers its lease over: room for clocks that run at slightly
    /// different rates and for the last steps of stopping. Default: a twentieth of `lease_duration`.
    pub margin: Duration,
}

impl Timing {
    /// Takes the three times that client-go has and derives the other two.
    pub const fn new(lease_duration: Duration, renew_deadline: Duration, retry_period: Duration) -> Self {
        Self {
            lease_duration,
            renew_deadline,
            retry_period,
            request_timeout: halved(renew_deadline),
            margin: twentieth(lease_duration),
        }
    }

    /// How long a lease may be relied upon, from the start of the request that took or renewed it.
    pub const fn validity(&self) -> Duration {
        self.lease_duration.saturating_sub(self.margin)
    }

    /// Tells whether the times fit together.
    ///
    /// # Errors
    ///
    /// [`TimingError`] names the rule that is broken.
    pub fn validate(&self) -> Result<(), TimingError> {
        if self.lease_duration.is_zero()
            || self.lease_duration.subsec_nanos() != 0
            || i32::try_from(self.lease_duration.as_secs()).is_err()
        {
            return Err(TimingError::LeaseDuration(self.lease_duration));
        }
        if self.retry_period.is_zero() {
            return Err(TimingError::RetryPeriod);
        }
        if self.renew_deadline >= self.validity() {
            return Err(TimingError::RenewDeadline {
                renew_deadline: self.renew_deadline,
                validity: self.validity(),
            });
        }
        if self.renew_deadline <= self.retry_period.saturating_add(self.retry_period / 5) {
            return Err(TimingError::Retries {
                renew_deadline: self.renew_deadline,
                retry_period: self.retry_period,
            });
        }
        if self.request_timeout.is_zero() || self.request_timeout > self.renew_deadline {
            return Err(TimingError::RequestTimeout(self.request_timeout));
        }
        Ok(())
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::new(
            Duration::from_secs(15),
            Duration::from_secs(10),
            Duration::from_secs(2),
        )
    }
}

/// A relation between the times of an election that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimingError {
    /// The lease duration cannot be written to the record.
    #[error(
        "lease_duration is {0:?}: it must be a whole number of seconds, at least 1 and at most 2147483647"
    )]
    LeaseDuration(Duration),
    /// Retrying without a pause would flood the server.
    #[error("retry_period is zero: it must be longer, 2 s is usual")]
    RetryPeriod,
    /// The work of a leader would have no time to stop.
    #[error(
        "renew_deadline is {renew_deadline:?}: it must be shorter than lease_duration less the margin ({validity:?}), so that work can stop before the lease expires"
    )]
    RenewDeadline {
        /// The renew deadline given.
        renew_deadline: Duration,
        /// The lease duration less the margin.
        validity: Duration,
    },
    /// The leader would give up before a second try.
    #[error(
        "renew_deadline is {renew_deadline:?}: it must be longer than 1.2 times retry_period ({retry_period:?})"
    )]
    Retries {
        /// The renew deadline given.
        renew_deadline: Duration,
        /// The retry period given.
        retry_period: Duration,
    },
    /// A request could outlive the time in which its answer is of use.
    #[error("request_timeout is {0:?}: it must be above zero and at most renew_deadline")]
    RequestTimeout(Duration),
}

const fn halved(duration: Duration) -> Duration {
    match duration.checked_div(2) {
        Some(half) => half,
        None => duration,
    }
}

const fn twentieth(duration: Duration) -> Duration {
    match duration.checked_div(20) {
        Some(part) => part,
        None => duration,
    }
}
