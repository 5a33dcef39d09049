//! The nearest known word to a mistyped one.
//!
//! Owns the distance between two words: optimal string alignment (Damerau-Levenshtein without overlapping
//! transpositions), in which an insertion, a deletion, a substitution and a transposition cost one each. Messages are
//! up to the caller.

/// Only this number of characters is compared, to limit the time for long input.
const LONGEST: usize = 64;

/// A known word and its distance from the mistyped one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest<'a> {
    /// The known word.
    pub word: &'a str,
    /// Number of edits between the two.
    pub distance: usize,
}

impl Nearest<'_> {
    /// Whether the distance suggests a typing error: one edit for every three letters, but at least one.
    #[must_use]
    pub fn is_typo_of(&self, typed: &str) -> bool {
        self.distance <= (typed.chars().count() / 3).max(1)
    }
}

/// The known word nearest to `typed`; the first one of several with the same distance. `None` if no words are known.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<Nearest<'a>> {
    known
        .into_iter()
        .map(|word| Nearest { word, distance: distance(typed, word) })
        .min_by_key(|candidate| candidate.distance)
}

/// The number of edits that transform one word into the other; letters beyond the 64th are ignored.
#[must_use]
pub fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(LONGEST).collect();
    let to: Vec<char> = to.chars().take(LONGEST).collect();
    // Three rows of the usual table, because a transposition uses the row before the previous one.
    let mut before_last: Vec<usize> = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, left) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, right) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(left != right);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *left == to[column - 1] && from[row - 1] == *right {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = last;
        last = current;
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_edit_costs_one() {
        for (from, to, expected) in [
            ("", "", 0),
            ("wait", "wait", 0),
            ("wiat", "wait", 1),
            ("wat", "wait", 1),
            ("waiit", "wait", 1),
            ("want", "wait", 1),
            ("strat", "start", 1),
            ("", "wait", 4),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn the_first_of_several_equally_near_wins() {
        let found = nearest("ab", ["xb", "ay", "zzzz"]).map(|found| found.word);
        assert_eq!(found, Some("xb"));
        assert_eq!(nearest("ab", []), None);
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(from in ".{0,80}", to in ".{0,80}") {
            let there = distance(&from, &to);
            prop_assert_eq!(there, distance(&to, &from));
            prop_assert!(there <= from.chars().count().max(to.chars().count()));
        }

        #[test]
        fn swapping_two_neighbours_is_one_edit(word in "[a-z]{2,20}", at in any::<prop::sample::Index>()) {
            let mut letters: Vec<char> = word.chars().collect();
            let at = at.index(letters.len() - 1);
            letters.swap(at, at + 1);
            let swapped: String = letters.iter().collect();
            prop_assert_eq!(distance(&word, &swapped), usize::from(swapped != word));
        }
    }
}
