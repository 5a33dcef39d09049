//! The texts of all supported programs, and random ones.

use super::*;
use proptest::prelude::*;

fn read(access: &[u8], default: &[u8]) -> Result<Texts> {
    let mut texts = Texts::default();
    texts.add(access, false)?;
    texts.add(default, true)?;
    Ok(texts)
}

/// The parsed form of a text with the user lisa 1000 and the group staff 50, as text, and the unknown names.
fn resolved(text: &[u8], mode: u32) -> (Acl, Vec<String>) {
    let mut unknown = Vec::new();
    let mut look_up = |user: bool, name: &[u8]| match (user, name) {
        (true, b"lisa") => Some(1000),
        (false, b"staff") => Some(50),
        _ => None,
    };
    let texts = read(text, b"").unwrap();
    let lists = texts.resolve(mode, &mut look_up, &mut |name| {
        unknown.push(String::from_utf8_lossy(name).into_owned());
    });
    (lists.unwrap().0.unwrap(), unknown)
}

#[test]
fn every_spelling_says_the_same() {
    let wanted = "user::rwx\nuser:1000:r--\ngroup::r-x\ngroup:50:-w-\nmask::rwx\nother::---\n";
    for text in [
        &b"user::rwx,user:lisa:r--,group::r-x,group:staff:-w-,mask::rwx,other::---"[..],
        b"user::rwx\nuser:lisa:r--\t#effective:r--\ngroup::r-x\n\ngroup:staff:-w-\nmask::rwx\nother::---\n",
        b"# file: x\n# owner: root\nuser::rwx\nuser:1000:r--\ngroup::r-x\ngroup:50:-w-\nmask::rwx\nother::---\n",
        b"u::rwx,u:lisa:r,g::rx,g:staff:w,m::rwx,o::-",
        b"u::7,u:lisa:4,g::5,g:staff:2,m:7,o:0",
        b"user::rwx, user:other:r--:1000, group::r-x, group:gone:-w-:50, mask:rwx, other:---",
        b"user::rwx:,user:1000:r--:77,group::r-x,group:50:-w-:78,mask::rwx,other::---,",
        b"other::---,mask::rwx,group:staff:-w-,group::r-x,user:lisa:r--,user::rwx",
    ] {
        let shown = String::from_utf8_lossy(text).into_owned();
        assert_eq!((resolved(text, 0o777).0.to_text().as_str(), shown.as_str()), (wanted, shown.as_str()));
    }
}

#[test]
fn who_is_unknown_is_left_out_and_the_rest_stays() {
    let (list, unknown) = resolved(b"user::rwx,user:mallory:rwx,group::r--,mask::rwx,other::---", 0o770);
    assert_eq!(list.to_text(), "user::rwx\ngroup::r--\nmask::rwx\nother::---\n");
    assert_eq!((unknown, list.mode(0o4770)), (vec!["mallory".to_owned()], 0o4770));
    let (list, _) = resolved(b"user:lisa:rw-", 0o640);
    assert_eq!(list.to_text(), "user::rw-\nuser:1000:rw-\ngroup::r--\nmask::r--\nother::---\n");
    let (list, _) = resolved(b"user:lisa:rw-,user:1000:r--,user:a\\054b:r--:5", 0o640);
    assert_eq!(list.to_text(), "user::rw-\nuser:5:r--\nuser:1000:r--\ngroup::r--\nmask::r--\nother::---\n");
}

#[test]
fn entries_of_a_default_list_are_found_in_either_record() {
    let texts = read(b"user::rwx,group::r--,other::---,default:user::rw-,d:o::r", b"").unwrap();
    assert_eq!((texts.access.len(), texts.default.len()), (3, 2));
    let texts = read(b"", b"user::rwx\ndefault:group::r--\nother::r--").unwrap();
    assert_eq!((texts.access.len(), texts.default.len()), (0, 3));
}

#[test]
fn without_its_list_a_file_gives_nothing_more_away() {
    let narrowed = |text: &[u8], mode| read(text, b"").unwrap().narrowed(mode);
    let text = b"user::rw-,user:lisa:rw-,group::---,mask::rw-,other::---";
    assert_eq!(narrowed(text, 0o4660), 0o4600);
    let (list, _) = resolved(text, 0o660);
    assert_eq!(super::narrowed(0o4660, &list.to_bytes()), 0o4600);
    assert_eq!(narrowed(b"user::rw-,user:lisa:rw-,group::rwx,mask::r--,other::---", 0o640), 0o640);
    assert_eq!(super::narrowed(0o675, b"garbage"), 0o605);
    let mut unreadable = Texts::default();
    unreadable.add(b"user::rwx,nonsense", false).unwrap_err();
    assert_eq!((unreadable.is_empty(), unreadable.narrowed(0o775)), (false, 0o705));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for wrong in [
        "user",
        "user:",
        "user:lisa",
        "user:lisa:",
        "user::rwz",
        "user::8",
        "mask:lisa:rwx",
        "other:x:r--",
        "owner::rwx",
        "user:lisa:rwx:-1",
        "user:lisa:rwx:4294967295",
        "user:4294967296:rwx",
        "user:lisa:rwx:1:2",
        "default:",
        "default",
        "d:d:user::rwx",
    ] {
        assert!(read(wrong.as_bytes(), b"").is_err(), "{wrong}");
    }
    let twice = read(b"user::rwx,user::r--", b"").unwrap();
    assert!(twice.resolve(0o644, &mut |_, _| None, &mut |_| {}).is_err());
    for wrong in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01", b"\x02\0\0\0\x03\0\x07\0\xff\xff\xff\xff"] {
        assert!(Acl::from_bytes(wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn a_list_is_read_as_it_was_written(
        named in proptest::collection::btree_map((any::<bool>(), 0..u32::MAX), 0_u8..8, 0..20),
        (owner, group, other, mask) in (0_u8..8, 0_u8..8, 0_u8..8, 0_u8..8), mode in 0_u32..0o10000,
    ) {
        let mut list = Acl::default();
        for (tag, bits) in [(Tag::Owner, owner), (Tag::OwningGroup, group), (Tag::Other, other), (Tag::Mask, mask)] {
            list.put(tag, NO_ID, bits).unwrap();
        }
        for ((user, id), bits) in &named {
            list.put(if *user { Tag::User } else { Tag::Group }, *id, *bits).unwrap();
        }
        prop_assert_eq!(&Acl::from_bytes(&list.to_bytes()).unwrap(), &list);
        let texts = read(list.to_text().as_bytes(), b"").unwrap();
        prop_assert!(!texts.has_names());
        let again = texts.resolve(mode, &mut |_, _| None, &mut |_| {}).unwrap().0.unwrap();
        prop_assert_eq!(&again, &list);
        let kept = narrowed(mode, &list.to_bytes());
        prop_assert_eq!(kept & !mode, 0);
        prop_assert_eq!(kept, texts.narrowed(mode));
        prop_assert_eq!(kept & !(u32::from(group) << 3) & 0o070, 0);
    }

    #[test]
    fn arbitrary_texts_never_panic(text in "((default:|d:)?(user|u|group|g|mask|m|other|o|x):[a-z0-9:\\\\]{0,5}:?[rwx0-9-]{0,4}(:[0-9]{0,12})?[,\n# ]){0,6}|\\PC{0,40}", mode in 0_u32..0o10000) {
        let mut texts = Texts::default();
        let _ = texts.add(text.as_bytes(), false);
        prop_assert_eq!(texts.narrowed(mode) & !mode, 0);
        if let Ok((Some(list), _)) = texts.resolve(mode, &mut |_, _| None, &mut |_| {}) {
            prop_assert_eq!(Acl::from_bytes(&list.to_bytes()).unwrap(), list);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), mode in 0_u32..0o10000) {
        let mut texts = Texts::default();
        let _ = texts.add(&bytes, true);
        let attribute = [&VERSION.to_le_bytes()[..], &bytes].concat();
        let _ = Acl::from_bytes(&attribute);
        prop_assert_eq!(narrowed(mode, &attribute) & !mode, 0);
    }
}
