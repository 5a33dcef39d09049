//! The options of a single start, which are not saved.
//!
//! Owns their effect on a configuration. The monitor applies them after each read of the file, so that they stay in
//! effect across reboots until the container stops.

use super::sections::Config;

/// The options of one `ds start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Once {
    /// Keep all changes in memory, regardless of the file.
    pub volatile: bool,
}

impl Once {
    /// Applies them to the settings of the file.
    pub fn apply(self, config: &mut Config) {
        config.container.volatile |= self.volatile;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_start_override_the_file() {
        let config = |set: &str| {
            Config::transient(&"web".parse().unwrap(), &[("rootfs", "/r"), ("volatile", set)]).unwrap()
        };
        for (set, volatile, expected) in
            [("no", false, false), ("no", true, true), ("yes", false, true), ("yes", true, true)]
        {
            let mut config = config(set);
            Once { volatile }.apply(&mut config);
            assert_eq!(config.container.volatile, expected);
        }
    }
}
