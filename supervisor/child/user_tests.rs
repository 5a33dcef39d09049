use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
    # a comment\n\
    daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
    broken:x:2\n\
    minus:x:-1:-1::/:/bin/sh\n\
    all:x:4294967295:0::/:/bin/sh\n\
    1000:x:77:77:a name of digits:/home/digits:/bin/sh\n\
    alice:x:1000:1000:Alice,,,:/home/alice:/bin/zsh\n\
    alice:x:1001:1001:a second one:/home/other:/bin/sh\n\
    bare:x:1002:100::relative:\n";

const GROUP: &str = "root:x:0:\n\
    sudo:x:27:alice,bob\n\
    video:x:44:bob,alice\n\
    again:x:27:alice\n\
    malice:x:45:malice\n\
    users:x:100:\n\
    alice:x:1000:\n";

fn ids(text: &str) -> Result<(u32, u32, Vec<u32>), String> {
    let wanted = text.parse::<UserSpec>().map_err(|fault| fault.to_string())?;
    let found = resolve(PASSWD, GROUP, Some(&wanted)).map_err(|error| error.to_string())?;
    let groups = found.groups.iter().map(|group| group.as_raw()).collect();
    Ok((found.user.as_raw(), found.group.as_raw(), groups))
}

#[test]
fn users_and_groups_resolve() {
    for (text, user, group, groups) in [
        ("root", 0, 0, vec![0]),
        ("0", 0, 0, vec![0]),
        ("0000", 0, 0, vec![0]),
        ("alice", 1000, 1000, vec![1000, 27, 44]),
        // A number is a user's number and never the name of another.
        ("1000", 1000, 1000, vec![1000, 27, 44]),
        ("77", 77, 77, vec![77]),
        ("alice:users", 1000, 100, vec![100]),
        ("alice:0", 1000, 0, vec![0]),
        ("bare", 1002, 100, vec![100]),
        ("12345", 12345, 65534, vec![65534]),
        ("12345:27", 12345, 27, vec![27]),
        ("4294967294", 4_294_967_294, 65534, vec![65534]),
    ] {
        assert_eq!(ids(text), Ok((user, group, groups)), "{text}");
    }
}

#[test]
fn what_is_not_there_is_refused() {
    for (text, part) in [
        ("nobody", "no user 'nobody'"),
        ("broken", "no user 'broken'"),
        ("minus", "no user 'minus'"),
        ("all", "no user 'all'"),
        ("alice:nobody", "no group 'nobody'"),
        ("4294967295", "out of range"),
        ("-1", "not the name"),
    ] {
        let error = ids(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_rest_of_the_line_comes_along() {
    let alice = resolve(PASSWD, GROUP, Some(&"alice".parse().unwrap())).unwrap();
    assert_eq!((alice.name.as_deref(), alice.home.as_str()), (Some("alice"), "/home/alice"));
    assert_eq!(alice.shell, "/bin/zsh");
    assert!(!alice.may_not_log_in());
    let daemon = resolve(PASSWD, GROUP, Some(&"daemon".parse().unwrap())).unwrap();
    assert!(daemon.may_not_log_in());
    let bare = resolve(PASSWD, GROUP, Some(&"bare".parse().unwrap())).unwrap();
    assert_eq!((bare.home.as_str(), bare.shell.as_str()), ("/", ""));
    let number = resolve(PASSWD, GROUP, Some(&"12345".parse().unwrap())).unwrap();
    assert_eq!((number.name, number.home.as_str()), (None, "/"));
}

#[test]
fn root_needs_no_files() {
    let root = resolve("", "", None).unwrap();
    assert_eq!((root.user.as_raw(), root.group.as_raw(), root.home.as_str()), (0, 0, "/root"));
}

#[test]
fn files_are_read_inside_the_tree_and_bounded() {
    let tree = std::env::temp_dir().join(format!("ds-user-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&tree);
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    let root = Root::open(&tree).unwrap();
    symlink("/other", tree.join("etc/passwd")).unwrap();
    std::fs::write(tree.join("other"), "inside:x:5:6::/h:/s\n").unwrap();
    assert_eq!(look_up(&root, Some(&"inside".parse().unwrap())).unwrap().user.as_raw(), 5);
    std::fs::remove_file(tree.join("etc/passwd")).unwrap();
    nix::unistd::mkfifo(&tree.join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refusal = || format!("{:#}", look_up(&root, Some(&"inside".parse().unwrap())).unwrap_err());
    assert!(refusal().contains("not a regular file"), "{}", refusal());
    assert_eq!(look_up(&root, None).unwrap().home, "/root", "root gets in to repair it");
    std::fs::remove_file(tree.join("etc/passwd")).unwrap();
    let file = std::fs::File::create(tree.join("etc/passwd")).unwrap();
    file.set_len(LARGEST + 1).unwrap();
    assert!(refusal().contains("larger than"), "{}", refusal());
    std::fs::remove_dir_all(&tree).unwrap();
}

proptest! {
    #[test]
    fn any_text_does_not_panic(users in "\\PC{0,200}", groups in "[a-z0-9:,\\n-]{0,200}", wanted in "[a-z0-9]{1,4}") {
        if let Ok(wanted) = wanted.parse::<UserSpec>() {
            let _ = resolve(&users, &groups, Some(&wanted));
        }
    }

    /// Whatever stands in the files, a number means that number, and never root unless it is 0.
    #[test]
    fn a_number_is_that_user(
        lines in prop::collection::vec("[a-z0-9]{1,3}:x:[0-9-]{1,3}:[0-9]{1,3}::/:/bin/sh", 0..6),
        number in 0..400_u32,
    ) {
        let wanted: UserSpec = number.to_string().parse().unwrap();
        let found = resolve(&lines.join("\n"), "", Some(&wanted)).unwrap();
        prop_assert_eq!(found.user.as_raw(), number);
    }

    /// A name is found with the id of its first whole line, or not at all.
    #[test]
    fn a_name_is_its_first_line(
        lines in prop::collection::vec(("[ab]{1,2}", 0..9_u32), 0..6),
        wanted in "[ab]{1,2}",
    ) {
        let file: Vec<String> = lines.iter().map(|(name, id)| format!("{name}:x:{id}:{id}::/:/s")).collect();
        let expected = lines.iter().find(|(name, _)| *name == wanted).map(|(_, id)| *id);
        let found = resolve(&file.join("\n"), "", Some(&wanted.parse().unwrap()));
        prop_assert_eq!(found.ok().map(|identity| identity.user.as_raw()), expected);
    }
}
