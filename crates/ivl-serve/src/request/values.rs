//! Which values a request takes, and how much of each.

use std::collections::HashSet;

use super::fields::{Fields, expected};
use crate::api_error::ApiError;
use crate::catalog::Catalog;

/// Weights that a client may give.
const LARGEST_ALPHA: f64 = 1e6;

/// The weights that `model` and the extension field `ivl` give, and whether the changes are to be explained.
///
/// `{"values": [{"id": .., "alpha": ..}], "explain": true}`: given values replace the one that the model's name stands for;
/// without an alpha they take their usual one.
pub(crate) fn values(
    fields: &Fields,
    catalog: &Catalog,
    model: Option<&str>,
) -> Result<(Vec<f64>, bool), ApiError> {
    let named = catalog.weights_of(model).ok_or_else(|| ApiError::no_model(model.unwrap_or_default()))?;
    let Some(ivl) = fields.object("ivl")? else { return Ok((named, false)) };
    let explain = ivl.flag("explain")?;
    let Some(list) = ivl.get("values") else { return Ok((named, explain)) };
    let list =
        list.as_array().ok_or_else(|| expected("ivl.values", "a list of objects with `id` and `alpha`"))?;
    let mut weights = vec![0.0; catalog.values().len()];
    let mut seen = HashSet::new();
    for entry in list {
        let entry = Fields::from_value(entry).ok_or_else(|| expected("ivl.values", "a list of objects"))?;
        let id = entry.text("id")?.ok_or_else(|| expected("ivl.values", "a list of objects with `id`"))?;
        let index = catalog.value_index(id).ok_or_else(|| {
            let message = format!("there is no value `{id}` here; GET /v1/models lists them");
            ApiError::invalid("ivl.values", message)
        })?;
        if !seen.insert(index) {
            return Err(ApiError::invalid("ivl.values", format!("the value `{id}` is given twice")));
        }
        let alpha = entry
            .number("alpha", -LARGEST_ALPHA, LARGEST_ALPHA)
            .map_err(|_| expected("ivl.values", "given a finite `alpha`"))?;
        weights[index] = alpha.unwrap_or(catalog.values()[index].alpha);
    }
    Ok((weights, explain))
}
