//! Bytes a point of whole stores, by kind of value.

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_KEYS};
use crate::peer::pco_alone;
use crate::report::Measured;
use crate::scratch::{Scratch, breakdown, disk_bytes};
use crate::stream::{Stream, Values};

const POINTS: usize = 10_000_000;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let (decimals, parts) = store_bytes(context, Values::Decimals)?;
    let mut points = Vec::with_capacity(POINTS);
    Stream::new(Values::Decimals, BATCH_KEYS).fill(&mut points, POINTS, |point| point);
    let alone = pco_alone::bytes(&points, BATCH_KEYS)? as f64;
    context.tell(
        Measured::new("size.decimals", decimals / alone)
            .own(format!("{:.3} B a point", decimals / POINTS as f64))
            .beside(format!("pco alone {:.3} B a point", alone / POINTS as f64))
            .note(format!("pco with its default level over whole columns of step, time and value; {parts}")),
    );
    for (name, values) in [("size.constant", Values::Constant), ("size.cosine", Values::Cosine)] {
        let (bytes, parts) = store_bytes(context, values)?;
        let note = format!("{POINTS} points, {BATCH_KEYS} keys; {parts}");
        context.tell(Measured::new(name, bytes / POINTS as f64).note(note));
    }
    Ok(())
}

/// Bytes of a whole store, and what takes them.
fn store_bytes(context: &Context<'_>, values: Values) -> Result<(f64, String)> {
    context.progress(&format!("{values:?}"));
    let scratch = Scratch::new(context.dir, "size")?;
    let store = engine::create(&scratch.join("store"), 1)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    engine::log_stream(&store.run(engine::run_id(0))?, &keys, &mut Stream::new(values, BATCH_KEYS), POINTS)?;
    engine::compact_and_close(store)?;
    let path = scratch.join("store");
    Ok((disk_bytes(&path)? as f64, breakdown(&path)?))
}
