//! The conditions of a filter's rules on arguments. Owns the types; `filter` compiles them.

/// The condition of a rule. Arguments are compared by their lower half: each one here is an `int`, or flags below bit
/// 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// The first argument contains any of these bits.
    Any(u32),
    /// The first argument has this value.
    Is(u32),
    /// The first argument has another value.
    IsNot(u32),
    /// The second argument has this value.
    SecondIs(u32),
    /// The second argument has another value.
    SecondIsNot(u32),
    /// The second argument has any of these bits.
    SecondAny(u32),
    /// The third argument has this value.
    ThirdIs(u32),
    /// The third argument has any of these bits.
    ThirdAny(u32),
}
