//! Bytes a point of whole stores, by kind of value.

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_KEYS};
use crate::peer::pco_alone;
use crate::report::Measured;
use crate::scratch::{Scratch, disk_bytes};
use crate::stream::{Stream, Values};

const POINTS: usize = 10_000_000;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let decimals = store_bytes(context, Values::Decimals)? as f64;
    let mut points = Vec::with_capacity(POINTS);
    Stream::new(Values::Decimals, BATCH_KEYS).fill(&mut points, POINTS, |point| point);
    let alone = pco_alone::bytes(&points, BATCH_KEYS)? as f64;
    context.tell(
        Measured::new("size.decimals", decimals / alone)
            .own(format!("{:.3} B a point", decimals / POINTS as f64))
            .beside(format!("pco alone {:.3} B a point", alone / POINTS as f64))
            .note("pco with its default level over whole columns of step, time and value"),
    );
    for (name, values) in [("size.constant", Values::Constant), ("size.cosine", Values::Cosine)] {
        let bytes = store_bytes(context, values)? as f64;
        context.tell(Measured::new(name, bytes / POINTS as f64).note(format!("{POINTS} points, {BATCH_KEYS} keys")));
    }
    Ok(())
}

fn store_bytes(context: &Context<'_>, values: Values) -> Result<u64> {
    context.progress(&format!("{values:?}"));
    let scratch = Scratch::new(context.dir, "size")?;
    let store = engine::create(&scratch.join("store"), 1)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    engine::log_stream(&store.run(engine::run_id(0))?, &keys, &mut Stream::new(values, BATCH_KEYS), POINTS)?;
    engine::compact_and_close(store)?;
    Ok(disk_bytes(&scratch.join("store"))?)
}
