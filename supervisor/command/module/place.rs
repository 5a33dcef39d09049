//! The id of the module, and the directory of modules. Owns only these constants.

/// `id` of module.prop: the name of the module's directory.
pub const ID: &str = "droidspaces-supervisor";

/// The directory of root managers for modules and their own programs.
pub const MANAGERS: &str = "/data/adb";
