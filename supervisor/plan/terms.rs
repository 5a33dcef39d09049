//! The settings for every process of a container, however it is started: at boot, by `ds run`, `ds enter` or `ds
//! shell`.
//!
//! Owns these settings. A running container keeps those of its start: its monitor reports them, so a session does not
//! read the configuration, which may have changed or been deleted since.

use serde::{Deserialize, Serialize};

use super::privileges::{self, Capability, Filter};
use super::profiles;
use crate::config::Config;
use crate::host::Host;

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Environment, before that of a user is added.
    pub environment: Vec<(String, String)>,
    /// Capabilities to drop from the bounding set.
    pub dropped: Vec<Capability>,
    /// System call filters.
    pub filters: Vec<Filter>,
    /// `oom_score_adj`.
    pub oom_score: i32,
}

impl Terms {
    /// The meaning of a configuration on this machine.
    #[must_use]
    pub fn new(config: &Config, host: &Host) -> Self {
        Self {
            environment: environment(config),
            dropped: privileges::dropped(config),
            filters: privileges::filters(config, host),
            oom_score: config.container.oom_score,
        }
    }
}

/// Environment of every process in a container, before that of a user is added.
#[must_use]
pub fn environment(config: &Config) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("TERM", "linux"),
        ("container", "droidspaces"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    environment.push(("container_uuid".into(), config.container.uuid.to_string()));
    environment
        .extend(profiles::environment(config).map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (name, value) in &config.environment {
        environment.retain(|(other, _)| other != name.as_str());
        environment.push((name.as_str().to_owned(), value.clone()));
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Hierarchies, Namespaces};

    #[test]
    fn terms_survive_the_way_through_a_socket() {
        let name = "web".parse().unwrap();
        let set = [("rootfs", "/srv/web"), ("environment.PATH", "/bin"), ("oom-score", "7")];
        let config = Config::transient(&name, &set).unwrap();
        let host = Host {
            android: false,
            release: "4.14.0".into(),
            machine: "aarch64".into(),
            namespaces: Namespaces(!0),
            answers: false,
            ipc: true,
            cgroups: Hierarchies::default(),
        };
        let terms = Terms::new(&config, &host);
        assert!(terms.dropped.iter().any(|capability| capability.name == "CAP_SYS_MODULE"));
        assert!(terms.filters.len() > 1);
        assert_eq!(terms.environment.iter().filter(|(name, _)| name == "PATH").count(), 1);
        let text = serde_json::to_string(&terms).unwrap();
        assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), terms);
    }
}
