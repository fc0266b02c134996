//! The devices of a base and its values.

use super::value::{Join, PlannedValue, ValuePlacement};
use crate::device::Placement;
use crate::error::Result;
use crate::open_checkpoint::OpenCheckpoint;
use crate::placement::{ModelDevices, ModelPlacement, ModelToPlace, Planner};

/// Places a base and values; `planner` remembers the memory that they take.
///
/// # Errors
/// [`Error::UnknownPlace`](crate::Error::UnknownPlace), [`Error::DeviceList`](crate::Error::DeviceList), and errors of the models'
/// files.
pub(crate) fn place_models(
    planner: &mut Planner,
    base: &OpenCheckpoint,
    values: &[PlannedValue],
) -> Result<(ModelPlacement, Vec<ValuePlacement>)> {
    planner.check_names(values.iter().map(|value| value.name.as_str()))?;
    // Two for each value: its weights, and its reference.
    let mut models = Vec::with_capacity(2 * values.len());
    for value in values {
        let own = if shares_base(value, base, planner) { None } else { Some(to_place(value, &value.value)) };
        models.extend([own, reference_of(value).map(|reference| to_place(value, reference))]);
    }
    let (base, mut placed) = planner.place(base_to_place(base), &models)?;
    let mut placed = placed.drain(..);
    let of_value = |value| ValuePlacement {
        value: placed.next().expect("two placements for each value"),
        reference: placed.next().filter(|_| reference_of(value).is_some()),
    };
    Ok((base, values.iter().map(of_value).collect()))
}

/// Places a base that has no values.
///
/// # Errors
/// As [`place_models`].
pub(crate) fn place_base(planner: &mut Planner, base: &OpenCheckpoint) -> Result<ModelPlacement> {
    Ok(planner.place(base_to_place(base), &[])?.0)
}

/// Places one more value on a base.
///
/// # Errors
/// As [`place_models`].
pub(super) fn place_value(
    planner: &mut Planner,
    (base, placement): (&OpenCheckpoint, &ModelPlacement),
    value: &PlannedValue,
) -> Result<ValuePlacement> {
    let home: Placement = placement.of_head(base.checkpoint.config().embedding.tied).clone();
    let own = if shares_base(value, base, planner) {
        placement.clone()
    } else {
        planner.place_value(to_place(value, &value.value), &home)?
    };
    let reference =
        reference_of(value).map(|reference| planner.place_value(to_place(value, reference), &home));
    let reference = reference.transpose()?;
    Ok(ValuePlacement { value: own, reference })
}

/// Whether a value is adapters that use the base's weights in memory, where these are.
fn shares_base(value: &PlannedValue, base: &OpenCheckpoint, planner: &Planner) -> bool {
    value.value.adapts(&base.path) && !planner.has_place(&value.name)
}

fn reference_of(value: &PlannedValue) -> Option<&OpenCheckpoint> {
    match &value.join {
        Join::OverBytes { reference, .. } => Some(reference),
        Join::Cascade(_) | Join::SameIds | Join::Mapped(_) => None,
    }
}

fn base_to_place(base: &OpenCheckpoint) -> ModelToPlace<'_> {
    ModelToPlace { name: ModelDevices::BASE, checkpoint: base.weights() }
}

/// A model of a value, which is placed by the value's name.
fn to_place<'a>(value: &'a PlannedValue, model: &'a OpenCheckpoint) -> ModelToPlace<'a> {
    ModelToPlace { name: &value.name, checkpoint: model.weights() }
}
