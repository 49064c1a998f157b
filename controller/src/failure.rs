//! [`Failure`]: how a reconcile failed, and whether trying again may help.

use std::{error::Error as StdError, fmt, time::Duration};

/// How a reconcile failed.
///
/// The question mark turns an error into [`Failure::Retry`]: any standard error where the reconciler's error is
/// [`AnyError`], the default, and otherwise an error of exactly the reconciler's own type.
///
/// # Examples
/// ```
/// use informer_controller::Failure;
///
/// fn replicas(text: &str) -> Result<u32, Failure> {
///     let replicas = text.parse::<u32>()?; // tried again, with a growing delay
///     if replicas > 100 {
///         return Err(Failure::terminal("more than 100 replicas are never going to be valid"));
///     }
///     Ok(replicas)
/// }
/// assert!(matches!(replicas("x"), Err(Failure::Retry(_))));
/// assert!(matches!(replicas("200"), Err(Failure::Terminal(_))));
/// ```
///
/// # Source
/// controller-runtime `reconcile.TerminalError`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure<E = AnyError> {
    /// Trying again may help: after the delay the queue's rate limiter gives.
    Retry(E),
    /// Trying again may help, but not before this delay: a server that sends `Retry-After`, say.
    RetryAfter(E, Duration),
    /// Trying again can't help before something changes: the key is dropped until its next trigger.
    Terminal(E),
}

impl<E> Failure<E> {
    /// The error.
    pub fn error(&self) -> &E {
        match self {
            Self::Retry(error) | Self::RetryAfter(error, _) | Self::Terminal(error) => error,
        }
    }

    /// The error, taken out.
    pub fn into_error(self) -> E {
        match self {
            Self::Retry(error) | Self::RetryAfter(error, _) | Self::Terminal(error) => error,
        }
    }

    /// Another error in the same class.
    pub fn map<F>(self, map: impl FnOnce(E) -> F) -> Failure<F> {
        match self {
            Self::Retry(error) => Failure::Retry(map(error)),
            Self::RetryAfter(error, delay) => Failure::RetryAfter(map(error), delay),
            Self::Terminal(error) => Failure::Terminal(map(error)),
        }
    }
}

impl Failure {
    /// A failure to be tried again, from an error or a message.
    #[must_use]
    pub fn retry(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Retry(AnyError(error.into()))
    }

    /// A failure that trying again can't mend, from an error or a message.
    #[must_use]
    pub fn terminal(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Terminal(AnyError(error.into()))
    }
}

impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Self::Retry(error)
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure<AnyError> {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

/// Any error: what a reconciler fails with that needs no type of its own.
///
/// It is not an error itself, so that every error can become one by the question mark; [`AnyError::as_error`] gives
/// the error inside.
pub struct AnyError(Box<dyn StdError + Send + Sync>);

impl AnyError {
    /// The error inside.
    #[must_use]
    pub fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for AnyError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl From<AnyError> for Box<dyn StdError + Send + Sync> {
    fn from(error: AnyError) -> Self {
        error.0
    }
}

impl fmt::Display for AnyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for AnyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
