//! Two tokenisations of one text, matched by the bytes at which their tokens end.

/// For each base position, the value position whose context ends at the same byte, if there is one.
///
/// `base_ends[i]` and `value_ends[j]` say how many bytes of the text are complete after token `i` of the base and token
/// `j` of the value; neither ever decreases. Tokens that add nothing (a beginning, an end, the first half of a
/// character) end where the token before them ended. Of several that end at one byte, the first of one side meets the
/// first of the other, the second the second: the last letter of a text meets the last letter, its end token the end
/// token.
///
/// # Example: a value with longer tokens
///
/// ```
/// use ivl_core::cross_tokenizer::match_positions;
///
/// // base: <s> | un | der | stand | ing     value: <s> | under | standing
/// assert_eq!(match_positions(&[0, 2, 5, 10, 13], &[0, 5, 13]), [Some(0), None, Some(1), None, Some(2)]);
/// ```
pub fn match_positions(base_ends: &[usize], value_ends: &[usize]) -> Vec<Option<usize>> {
    let mut next = 0;
    let mut meet = |&end: &usize| {
        while value_ends.get(next).is_some_and(|&other| other < end) {
            next += 1;
        }
        let met = value_ends.get(next) == Some(&end);
        next += usize::from(met);
        met.then(|| next - 1)
    };
    base_ends.iter().map(&mut meet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_that_add_nothing_meet_in_order() {
        // <s> a </s> on both sides; then a base that writes a space of its own first.
        assert_eq!(match_positions(&[0, 1, 1], &[0, 1, 1]), [Some(0), Some(1), Some(2)]);
        assert_eq!(match_positions(&[0, 0, 1], &[0, 1]), [Some(0), None, Some(1)]);
        assert_eq!(match_positions(&[1, 2], &[]), [None, None]);
    }

    proptest! {
        #[test]
        fn matches_are_those_of_a_search(mut base in prop::collection::vec(0usize..9, 0..12), mut value in prop::collection::vec(0usize..9, 0..12)) {
            base.sort_unstable();
            value.sort_unstable();
            let matched = match_positions(&base, &value);
            for (i, met) in matched.iter().enumerate() {
                let rank = base[..i].iter().filter(|&&end| end == base[i]).count();
                let expected = (0..value.len()).filter(|&j| value[j] == base[i]).nth(rank);
                prop_assert_eq!(*met, expected);
            }
        }
    }
}
