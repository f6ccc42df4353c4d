//! Reads the load averages: those of a live sampler, or extrapolated ones.
#![forbid(unsafe_code)]

use crate::cpu_time::Sample;
use crate::load::average::{Averages, Reading};
use crate::shared_state::{LOST_AFTER_US, Store};
use crate::values::Load;

/// The averages of a live sampler; `None` without one. `now_us` is the age of the container.
pub fn live_averages(store: &Store<'_>, now_us: u64) -> Option<Load> {
    let last = store.sampled(now_us).sampled?.averages;
    let since_us = now_us.saturating_sub(last.last_sample_age_us);
    (since_us < LOST_AFTER_US).then_some(last.load)
}

/// The container's averages at the moment of `sample`. Calls `may_start` only without a live sampler, and `start`
/// if this process gets the start claim.
pub fn load(
    store: &Store<'_>,
    sample: &Sample<'_>,
    may_start: impl FnOnce() -> bool,
    start: impl FnOnce(),
) -> Load {
    let found = store.sampled(sample.age_us);
    let may_start = found.wants_sampler && may_start();
    if may_start && store.claim_start(sample.age_us) {
        start();
    }
    let last = found
        .sampled
        .map_or(Averages::default(), |sampled| sampled.averages);
    if found.sampled.is_some()
        && sample.age_us.saturating_sub(last.last_sample_age_us) < LOST_AFTER_US
    {
        return last.load;
    }
    let estimate = last.estimate(&Reading::of(sample));
    // Where no sampler may run, the readers keep the averages: each stores what it extrapolated.
    if found.wants_sampler && !may_start {
        store.publish_estimate(estimate, sample.age_us);
    }
    estimate.load
}
