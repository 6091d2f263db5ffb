//! What the benches share: the adapter and criterion's settings.

use std::time::Duration;

use plywood::devices::{Adapter, Adapters};

/// The adapter to measure: what `PLYWOOD_ADAPTER` names as `--adapters` would, else the best.
pub fn adapter(adapters: &Adapters) -> Adapter {
    match std::env::var("PLYWOOD_ADAPTER") {
        Ok(name) => match adapters.choose(&[name]) {
            Ok(chosen) => chosen[0].clone(),
            Err(error) => panic!("PLYWOOD_ADAPTER: {error}"),
        },
        Err(_) => adapters.best().clone(),
    }
}

/// How long each bench takes: long enough for a median on a GPU, short enough for a software adapter.
pub fn settings(criterion: criterion::Criterion) -> criterion::Criterion {
    criterion
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10)
        .without_plots()
}
