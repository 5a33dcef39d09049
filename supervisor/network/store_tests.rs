use super::*;

fn network() -> Network {
    let subnet = "10.89.40.0/24".parse().unwrap();
    Network { subnet, prefix: "fd00:1::".parse().unwrap(), leases: BTreeMap::new() }
}

fn uuid(text: &str) -> Uuid {
    Uuid::derived_from(text)
}

#[test]
fn addresses_stay_and_are_given_once() {
    let mut network = network();
    let none = || Vec::new();
    let web = network.lease(&uuid("web"), None, &none).unwrap();
    let db = network.lease(&uuid("db"), None, &none).unwrap();
    assert_eq!([web, db].map(|address| address.to_string()), ["10.89.40.2", "10.89.40.3"]);
    assert_eq!(network.lease(&uuid("web"), None, &none).unwrap(), web);
    let both = || vec![uuid("web"), uuid("db")];
    let refused = network.lease(&uuid("x"), Some(db), &both).unwrap_err();
    assert!(refused.to_string().contains("another container has 10.89.40.3"), "{refused}");
    let gone = || vec![uuid("web")];
    assert_eq!(network.lease(&uuid("x"), Some(db), &gone).unwrap(), db);
    assert!(network.lease(&uuid("y"), Some("10.1.1.2".parse().unwrap()), &gone).is_err());
    let own = network.address6(db, &[2, 1, 2, 3, 4, 5]);
    assert_eq!(own.to_string(), "fd00:1:0:3:1:2ff:fe03:405");
}

#[test]
fn the_dead_make_room() {
    let mut network = network();
    for number in 0..253 {
        network.lease(&uuid(&number.to_string()), None, &|| Vec::new()).unwrap();
    }
    let all: Vec<_> = network.leases.keys().cloned().collect();
    assert!(network.lease(&uuid("late"), None, &|| all.clone()).is_err());
    assert!(network.lease(&uuid("late"), None, &|| all[1..].to_vec()).is_ok());
}
