//! Control tokens: by name, then by what they are for.

use std::collections::HashMap;

use ivl_core::Vocab;
use ivl_core::vocab::{Role, Token};

use crate::coverage::Match;

/// Roles in the order in which they decide, each with its substitute: many models end a turn with the
/// token that ends a text.
const ROLES: [(Role, Option<Role>); 6] = [
    (Role::End, Some(Role::TurnEnd)),
    (Role::TurnEnd, Some(Role::End)),
    (Role::Beginning, None),
    (Role::TurnStart, None),
    (Role::Padding, None),
    (Role::Unknown, None),
];

/// For every control token of the base, the control token of the value with the same name, else of the same role.
pub(crate) fn controls(base: &Vocab, value: &Vocab) -> Vec<Option<(u32, Match)>> {
    let control = |token: &&Token| token.is_control();
    let named: HashMap<&[u8], u32> = value
        .iter()
        .enumerate()
        .filter_map(|(id, token)| Some((&*token.filter(control)?.bytes, id as u32)))
        .collect();
    let by_role = |id: u32| {
        let played = ROLES.iter().filter(|(role, _)| base.plays(id, *role));
        let role = |role: Role| value.role(role);
        played.into_iter().find_map(|&(first, second)| role(first).or_else(|| second.and_then(role)))
    };
    let find = |id: u32| {
        let token = base.token(id).filter(control)?;
        match named.get(&*token.bytes) {
            Some(&other) => Some((other, Match::Exact)),
            None => by_role(id).map(|other| (other, Match::Role)),
        }
    };
    (0..base.size() as u32).map(find).collect()
}
