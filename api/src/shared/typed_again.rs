//! What a typed call that was made before answered, found by the batch that it made.

use crate::engine::event::payload::Decoded;
use crate::mlflow::Rewound;
use crate::{
    Ended, Error, Event, ExperimentId, GcReport, LocalStore, Lsn, ModelId, Promotion, Result, Rollback, RunId,
};

/// What a call answers that may be made once only, found by the batch that it made.
pub(super) trait Again: Sized {
    fn again(store: &LocalStore, lsn: Lsn) -> Result<Self>;
}

impl Again for () {
    fn again(_store: &LocalStore, _lsn: Lsn) -> Result<Self> {
        Ok(())
    }
}

impl Again for Lsn {
    fn again(_store: &LocalStore, lsn: Lsn) -> Result<Self> {
        Ok(lsn)
    }
}

impl Again for GcReport {
    fn again(_store: &LocalStore, lsn: Lsn) -> Result<Self> {
        // Its batches have no key: a second call finds what the first one left.
        Err(Error::Internal(format!("a garbage collection was taken for the batch at {lsn}")))
    }
}

impl Again for Ended {
    fn again(_store: &LocalStore, lsn: Lsn) -> Result<Self> {
        Ok(Self::Now(lsn))
    }
}

impl Again for Promotion {
    fn again(store: &LocalStore, lsn: Lsn) -> Result<Self> {
        store.promoted_at(lsn)
    }
}

impl Again for Rollback {
    fn again(store: &LocalStore, lsn: Lsn) -> Result<Self> {
        store.rolled_back_at(lsn)
    }
}

impl Again for Rewound {
    fn again(store: &LocalStore, lsn: Lsn) -> Result<Self> {
        store.rewound_at(lsn).map(Self::from)
    }
}

macro_rules! made {
    ($($type:ty: $variant:ident => $field:ident;)*) => {
        $(
            impl Again for $type {
                fn again(store: &LocalStore, lsn: Lsn) -> Result<Self> {
                    let events = store.engine().events_at(lsn)?;
                    let made = events.into_iter().find_map(|record| match record.event {
                        Decoded::Known(Event::$variant(event)) => Some(event.$field),
                        _ => None,
                    });
                    made.ok_or_else(|| Error::Internal(format!("the batch at {lsn} did not make what it was to make")))
                }
            }
        )*
    };
}

made! {
    ExperimentId: ExperimentCreated => experiment;
    RunId: RunCreated => run;
    ModelId: LoggedModelCreated => model;
    u32: ModelVersionCreated => version;
}
