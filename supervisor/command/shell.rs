//! `ds shell`: a shell or one command in a temporary container, without an init system and without a monitor.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::run::conclude;
use crate::call;
use crate::child::name_servers;
use crate::child::program::{Program, Wish};
use crate::cli;
use crate::cli::value::Assignment;
use crate::config::Config;
use crate::config::value::{Name, NetworkMode, UserSpec, Uuid};
use crate::container::shell::{self, ThrowAway};
use crate::exit::ExitCode;
use crate::network::Attachment;
use crate::plan::privileges::without_device_control;
use crate::plan::{seed, shell::build};
use crate::privilege;
use crate::rootfs::root::Root;
use crate::session::{self, terminal};
use crate::worker::Env;

/// Sections of the configuration that apply to a temporary container.
const SECTIONS: [&str; 4] = ["mounts", "network", "security", "environment"];

/// Runs the command or a login shell and returns its exit code.
///
/// # Errors
/// If the command was not started.
pub fn run(arguments: &cli::Shell, env: &Env) -> Result<ExitCode> {
    let asked = env.path(&arguments.directory)?;
    let path = call!(std::fs::canonicalize(&asked), "{}", asked.display())?;
    let root = Root::open(&path)?;
    let mut config = configuration(&path, &arguments.set)?;
    let mut plan = build(&config, &env.host)?;
    plan.operations.extend(seed::boot_id(&Uuid::random().context("generate a boot id")?));
    let mut network = None;
    if matches!(config.network.mode, NetworkMode::Nat | NetworkMode::Gateway) {
        let mut warnings = Vec::new();
        let attachment = Attachment::temporary(&config, &env.paths, &env.host, &mut warnings)?;
        attachment.point_name_servers(&mut config);
        network = Some(attachment);
        plan.operations.extend(name_servers::operations(&config, &env.host, &root));
        plan.warnings.extend(warnings);
    }
    let mut groups = shell::groups(&env.host, &env.paths, &plan)?;
    if let Some(fallback) = without_device_control(&config, &plan.devices, groups.devices()) {
        plan.terms.filters.extend(fallback.filter);
        plan.warnings.push(fallback.warning.to_owned());
    }
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    let user = arguments.user.as_deref().map(str::parse::<UserSpec>).transpose()?;
    let wish = Wish {
        words: &arguments.command,
        user: user.as_ref(),
        directory: arguments.workdir.as_deref(),
        variables: &arguments.env,
        configured: &plan.terms.environment,
        client: &env.environment,
    };
    let program = Program::prepare(&root, &wish, privilege::compile(&plan.terms.filters)?)?.at_home();
    let container = ThrowAway {
        plan: &plan,
        path: &path,
        root: &root,
        groups: &groups,
        base: env.paths.cgroup.clone(),
        program: &program,
        terminal: terminal::is_interactive(),
        network: network.as_ref(),
    };
    let (running, answers) = container.start()?;
    env.supervisor.taken();
    let outcome = session::attend(&env.client, running)?;
    if answers.is_some() {
        // Without a PID namespace, the kernel does not end them with the first process.
        groups.kill();
    }
    drop(answers);
    if let Err(error) = groups.remove() {
        log::warn!("{error:#}");
    }
    Ok(conclude("shell", None, outcome))
}

/// The configuration of a temporary container: the options of the command line, and defaults.
fn configuration(path: &Path, set: &[Assignment]) -> Result<Config> {
    let mut assignments = vec![("rootfs".to_owned(), path.to_string_lossy().into_owned())];
    for assignment in set {
        let key = assignment.key.strip_prefix("container.").unwrap_or(&assignment.key);
        let section = key.split_once('.').map(|(section, _)| section);
        if key != "hostname" && !section.is_some_and(|section| SECTIONS.contains(&section)) {
            bail!("{key}: not supported for a temporary container; use 'ds create' and 'ds start'");
        }
        assignments.push((assignment.key.clone(), assignment.value.clone()));
    }
    Ok(Config::transient(&name(path), &assignments)?)
}

/// A name derived from that of the directory.
fn name(path: &Path) -> Name {
    let text = path.file_name().unwrap_or_default().to_string_lossy();
    let kept = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    let text = text.replace(|character| !kept(character), "-");
    let text = text.trim_start_matches(|first: char| !first.is_ascii_alphanumeric());
    let text: String = text.chars().take(Name::MAX).collect();
    text.parse().or_else(|_| "shell".parse()).unwrap_or_else(|_| name(&PathBuf::from("/shell")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(words: &[&str]) -> Result<Config> {
        let set: Vec<Assignment> = words.iter().map(|word| word.parse().unwrap()).collect();
        configuration(Path::new("/srv/my_tree"), &set)
    }

    #[test]
    fn settings_of_a_life_are_refused() {
        assert_eq!(set(&[]).unwrap().hostname().to_string(), "my-tree");
        assert_eq!(set(&["hostname=web"]).unwrap().hostname().to_string(), "web");
        assert_eq!(set(&["environment.A=b"]).unwrap().environment.len(), 1);
        for (word, part) in [
            ("autostart=yes", "not supported"),
            ("container.restart=always", "not supported"),
            ("limits.memory=1G", "not supported"),
            ("rootfs=/", "not supported"),
            ("security.privilege=yes", "privileged"),
        ] {
            let error = format!("{:#}", set(&[word]).unwrap_err());
            assert!(error.contains(part), "{word}: {error}");
        }
    }

    #[test]
    fn a_directory_gives_the_name() {
        for (path, expected) in [
            ("/a/debian-13", "debian-13"),
            ("/a/..b c", "b-c"),
            ("/a/é", "shell"),
            ("/", "shell"),
            ("/-_-", "shell"),
        ] {
            assert_eq!(name(Path::new(path)).as_str(), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_directory_has_a_name(path in "/\\PC{0,80}") {
            let _ = name(Path::new(&path));
        }
    }
}
