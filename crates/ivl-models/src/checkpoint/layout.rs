//! Between the layout of a stored tensor and that of our parameter.

use crate::families::weight_map::TensorPlace;

/// Edge of the tiles in which a matrix is transposed, so that both sides stay in the cache.
const TILE: usize = 32;

/// Visits every element of one of our parameters with its index in the stored tensor and its own.
pub(super) fn for_each_pair(place: &TensorPlace, shape: &[usize], mut visit: impl FnMut(usize, usize)) {
    let rule = &place.rule;
    let before = match rule.stacked {
        Some(experts) => rule.stored_shape(shape).iter().product::<usize>() / experts * place.expert,
        None => 0,
    };
    let mut visit = |stored: usize, ours: usize| visit(before + stored, ours);
    match *shape {
        [inputs, outputs] => {
            let total = rule.slice.total(outputs);
            for (row, column) in tiles(inputs, outputs) {
                for input in row..(row + TILE).min(inputs) {
                    for output in column..(column + TILE).min(outputs) {
                        let stored = rule.slice.stored(output);
                        let stored =
                            if rule.transposed { stored * inputs + input } else { input * total + stored };
                        visit(stored, input * outputs + output);
                    }
                }
            }
        }
        _ => (0..shape.iter().product()).for_each(|index| visit(rule.slice.stored(index), index)),
    }
}

fn tiles(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(TILE).flat_map(move |row| (0..columns).step_by(TILE).map(move |column| (row, column)))
}
