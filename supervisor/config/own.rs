//! Paths in a container's own directory, which are written as `./…`, so that a rename of the directory is atomic.
//!
//! Owns both directions, writing ([`Place::localise`]) and reading ([`Place::expand`]), for the keys below. Older
//! versions wrote absolute paths and changed them after the rename of the directory; if such a rename was interrupted,
//! the file contains the old name, which is translated here. Checks whether files exist, and opens none. rename(2).

use std::fs;
use std::path::{Path, PathBuf};

use super::ini::Document;
use super::value::{BindList, HostPath, Name};

/// The keys whose values are paths of the host, in section `container`.
const ROOTS: [&str; 2] = ["rootfs", "image"];
/// The prefix of a path in the container's own directory.
const HERE: &str = "./";
/// The beginning of the first line that older versions wrote to a new file; the container's name follows.
const OLD_HEADING: &str = "# Container ";

/// The directory of a container.
#[derive(Debug)]
pub(super) struct Place {
    containers: PathBuf,
    name: Name,
}

impl Place {
    /// The directory of the container `name`, from its configuration `file`. While a container is created, the file is
    /// in another directory next to the final one. `None` for a configuration without a file.
    pub fn of(file: &Path, name: &Name) -> Option<Self> {
        let containers = file.parent()?.parent()?;
        let is_somewhere = containers.is_absolute();
        is_somewhere.then(|| Self { containers: containers.to_owned(), name: name.clone() })
    }

    fn directory(&self) -> PathBuf {
        self.containers.join(self.name.as_str())
    }

    /// Makes all paths absolute.
    pub fn expand(&self, document: &mut Document) {
        let created_as = created_as(document);
        change_in(document, &|path| match path.strip_prefix(HERE) {
            Some(below) => Some(self.directory().join(below).to_str()?.to_owned()),
            None => self.moved(path, created_as.as_deref()),
        });
    }

    /// Makes all paths in the container's own directory relative to it.
    pub fn localise(&self, document: &mut Document) {
        let created_as = created_as(document);
        let mut own = vec![self.directory()];
        own.extend(fs::canonicalize(&self.containers).map(|containers| containers.join(self.name.as_str())));
        change_in(document, &|path| {
            let path = self.moved(path, created_as.as_deref()).unwrap_or_else(|| path.to_owned());
            let below = own.iter().find_map(|own| Path::new(&path).strip_prefix(own).ok())?;
            let below = below.to_str()?;
            Some(format!("{HERE}{below}"))
        });
    }

    /// Translates a path with a previous name of this container's directory to the current one, unless
    /// another container has that name today.
    fn moved(&self, path: &str, created_as: Option<&str>) -> Option<String> {
        let below = Path::new(path).strip_prefix(&self.containers).ok()?;
        let mut parts = below.components();
        let old = parts.next()?.as_os_str().to_str()?;
        if old == self.name.as_str() || old.parse::<Name>().is_err() || parts.as_path().as_os_str().is_empty()
        {
            return None;
        }
        let is_old_name = created_as == Some(old) || !self.containers.join(old).is_dir();
        let here = self.directory().join(parts.as_path());
        (is_old_name && here.symlink_metadata().is_ok()).then(|| here.to_str().map(str::to_owned))?
    }
}

/// Replaces the paths for which `change` returns another text. An invalid value stays; the reader reports it.
fn change_in(document: &mut Document, change: &dyn Fn(&str) -> Option<String>) {
    // Repeated slashes are equivalent to one.
    let change = |path: &str| match path.parse::<HostPath>() {
        Ok(path) => change(path.as_str()),
        Err(_) => change(path),
    };
    for key in ROOTS {
        if let Some(path) = document.get("container", key).and_then(change) {
            let _ = document.set("container", key, &path);
        }
    }
    if let Some(list) = document.get("mounts", "bind").and_then(|list| BindList::with_sources(list, &change))
    {
        let _ = document.set("mounts", "bind", &list);
    }
}

/// The name in the first line from an older version.
fn created_as(document: &Document) -> Option<String> {
    let text = document.to_string();
    let (name, _) = text.lines().next()?.strip_prefix(OLD_HEADING)?.split_once(". ")?;
    Some(name.to_owned())
}

/// The text of a file without the first line from this or an older version.
pub(super) fn without_heading<'a>(text: &'a [u8], heading: &str) -> &'a [u8] {
    if let Some(rest) = text.strip_prefix(heading.as_bytes()) {
        return rest;
    }
    let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
    let (first, rest) = text.split_at(end);
    let is_ours = first.starts_with(OLD_HEADING.as_bytes()) && first.ends_with(b"changes one here.\n");
    if is_ours { rest } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, RootSource};

    const NONE: [(&str, &str); 0] = [];

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// Writes the configuration of a container whose directory has a tree.
        fn container(&self, name: &str, text: &str) -> PathBuf {
            let directory = self.0.path().join(name);
            fs::create_dir_all(directory.join("rootfs")).unwrap();
            let text = text.replace("ALL", self.0.path().to_str().unwrap());
            fs::write(directory.join("container.ini"), text).unwrap();
            directory.join("container.ini")
        }

        fn all(&self, below: &str) -> PathBuf {
            self.0.path().join(below)
        }
    }

    fn load(file: &Path, name: &str) -> Config {
        Config::load(file, &name.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_lies_in_the_own_directory_is_written_without_its_name() {
        let machine = Machine::new();
        let before = "[container]\nrootfs = ALL//web/rootfs/\n[mounts]\nbind = /srv:/a, ALL/web/a\\,b:/c:ro,ALL/webs:/d\n";
        let file = machine.container("web", before);
        let name = "web".parse().unwrap();
        let (loaded, edited) = (load(&file, "web"), Config::edit(&file, &name, &NONE).unwrap());
        assert_eq!(loaded, edited);
        let text = fs::read_to_string(&file).unwrap();
        let webs = machine.all("webs");
        let expected = format!(
            "[container]\nrootfs = ./rootfs\n[mounts]\nbind = /srv:/a, ./a\\,b:/c:ro,{}:/d\n",
            webs.display()
        );
        assert_eq!(text, expected);
        fs::rename(machine.all("web"), machine.all("www")).unwrap();
        let moved = load(&machine.all("www/container.ini"), "www");
        assert_eq!(moved.container.root.path().as_path(), machine.all("www/rootfs"));
        let sources: Vec<_> = moved.mounts.bind.iter().map(|bind| bind.source.as_path().to_owned()).collect();
        assert_eq!(sources, ["/srv".into(), machine.all("www/a,b"), webs]);
        assert_eq!(moved.get("rootfs").unwrap(), machine.all("www/rootfs").display().to_string());
    }

    #[test]
    fn a_new_container_has_its_paths_before_its_directory() {
        let machine = Machine::new();
        let file = machine.container(".new-web-0123456789abcdef", "x");
        fs::remove_file(&file).unwrap();
        let image = machine.all("web/disk.img").display().to_string();
        let config = Config::create(&file, &"web".parse().unwrap(), &[("image", image.as_str())]).unwrap();
        assert!(matches!(&config.container.root, RootSource::Image(path) if path.as_str() == image));
        assert!(fs::read_to_string(&file).unwrap().contains("\nimage = ./disk.img\n"));
    }

    #[test]
    fn a_path_that_an_interrupted_rename_left_behind_is_understood() {
        let machine = Machine::new();
        let text = "[container]\nrootfs = ALL/old/rootfs\n";
        let file = machine.container("new", text);
        let root = |file: &Path| load(file, "new").container.root.path().as_path().to_owned();
        assert_eq!(root(&file), machine.all("new/rootfs"));
        // If a new container has the old name, the first line decides.
        machine.container("old", text);
        assert_eq!(root(&file), machine.all("old/rootfs"), "shared on purpose");
        let heading =
            "# Container old. 'ds get old' shows all settings, 'ds set old KEY=VALUE' changes one here.\n";
        let file = machine.container("new", &format!("{heading}{text}"));
        assert_eq!(root(&file), machine.all("new/rootfs"));
        Config::edit(&file, &"new".parse().unwrap(), &NONE).unwrap();
        assert!(fs::read_to_string(&file).unwrap().ends_with("rootfs = ./rootfs\n"));
        // Paths elsewhere belong to another container.
        fs::remove_dir(machine.all("new/rootfs")).unwrap();
        let file = machine.container("third", &format!("{heading}{text}"));
        fs::remove_dir(machine.all("third/rootfs")).unwrap();
        assert_eq!(load(&file, "third").container.root.path().as_path(), machine.all("old/rootfs"));
    }

    #[test]
    fn a_copy_of_the_text_means_the_same_elsewhere() {
        let machine = Machine::new();
        let text = b"# mine\n[container]\nrootfs = ./rootfs\n[mounts]\nbind = ./a:/b\n";
        let (file, name) = (machine.all("web/container.ini"), "web".parse().unwrap());
        let all = machine.0.path().display();
        let detached = Config::detached(text, &file, &name).unwrap();
        assert_eq!(
            detached,
            format!("# mine\n[container]\nrootfs = {all}/web/rootfs\n[mounts]\nbind = {all}/web/a:/b\n")
        );
        let old =
            "# Container web. 'ds get web' shows all settings, 'ds set web KEY=VALUE' changes one here.\n";
        assert_eq!(without_heading(format!("{old}x\n").as_bytes(), "# new\n"), b"x\n");
        assert_eq!(without_heading(b"# new\nx\n", "# new\n"), b"x\n");
        assert_eq!(without_heading(b"# Container ships\nx\n", "# new\n"), b"# Container ships\nx\n");
    }

    #[test]
    fn relative_paths_without_a_place_are_refused() {
        for path in ["./rootfs", "rootfs"] {
            let error = Config::transient(&"web".parse().unwrap(), &[("rootfs", path)]).unwrap_err();
            assert!(error.to_string().contains("is not absolute; begin it with '/'"), "{error}");
        }
    }
}
