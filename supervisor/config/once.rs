//! What a command line asks of one start alone, and no file keeps.
//!
//! Owns how that is laid over a configuration. The monitor lays it over every reading of the file, so that it holds for
//! reboots in the same life of the container.

use super::sections::Config;

/// The wishes of one `ds start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Once {
    /// Every change is kept in memory, whatever the file says.
    pub volatile: bool,
}

impl Once {
    /// Lays them over what the file says.
    pub fn apply(self, config: &mut Config) {
        config.container.volatile |= self.volatile;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_laid_over_the_file() {
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
