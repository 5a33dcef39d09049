//! What the module is called, and where root managers keep modules.

/// `id` of module.prop: the name of the module's directory.
pub const ID: &str = "droidspaces-supervisor";

/// Where root managers keep modules and their own programs.
pub const MANAGERS: &str = "/data/adb";
