//! Droidspaces Supervisor.
