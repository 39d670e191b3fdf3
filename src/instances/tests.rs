//! The table without processes: which calls share an instance, and which make room.

use std::{num::NonZeroUsize, sync::Arc};

use http::HeaderValue;
use tokio::sync::mpsc;

use super::{AdmissionConfig, Config, HotEnv, InstanceKey, Recipe, Table, TableFull};
use crate::env::{DigestKey, Env, EnvString};

const MAX_INSTANCES: usize = 16_384;

/// What those may take, in bytes.
const MAX_BYTES: usize = 256 << 20;

fn table() -> Table {
    let (starts, _) = mpsc::unbounded_channel();
    let max_instances = NonZeroUsize::new(MAX_INSTANCES).unwrap();
    Table::new(Config::default(), max_instances, u64::MAX, starts)
}

fn hot(text: &str) -> Arc<HotEnv> {
    let digests = DigestKey::from_secret(&[7; 32]).unwrap();
    Arc::new(HotEnv::new(EnvString::parse(text).unwrap(), &digests).unwrap())
}

fn key(env: &HotEnv, code: Option<&'static str>) -> InstanceKey {
    let code = code.map(HeaderValue::from_static);
    InstanceKey {
        backend: 0,
        env: Some(*env.env.key()),
        code,
    }
}

fn recipe() -> Recipe {
    Recipe {
        limits: AdmissionConfig::default().limits_without_env(),
        process: None,
        rev: None,
    }
}

#[test]
fn the_same_env_is_the_same_instance_and_other_code_another() {
    let table = table();
    let (one, same) = (hot("A=1\nB=2"), hot("# x\r\nB=2\r\n A = 1 "));
    let first = table
        .instance(&key(&one, None), Some(&one), recipe)
        .unwrap();
    let again = table
        .instance(&key(&same, None), Some(&same), recipe)
        .unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let other = table
        .instance(&key(&one, Some("http://c/1")), Some(&one), recipe)
        .unwrap();
    assert!(!Arc::ptr_eq(&first, &other));
    assert_ne!(first.affinity(), other.affinity());
    assert_eq!(table.len(), 2);
}

#[test]
fn large_envs_make_room_for_one_another_but_for_those_in_use() {
    let table = table();
    let digests = DigestKey::from_secret(&[7; 32]).unwrap();
    let large = |number: u8| {
        let env = Env::from_variables([("A", vec![number + 1; 8 << 20])]).unwrap();
        Arc::new(HotEnv::new(env, &digests).unwrap())
    };
    let call = |env: &Arc<HotEnv>| table.instance(&key(env, None), Some(env), recipe);
    let in_use: Vec<_> = (0..30)
        .map(|number| call(&large(number)).unwrap())
        .collect();
    for number in 30..34 {
        drop(call(&large(number)).unwrap());
    }
    assert_eq!(table.len(), MAX_BYTES / (8 << 20) - 1);
    let first = call(&large(0)).unwrap();
    assert!(Arc::ptr_eq(&first, &in_use[0]));
    let last = call(&large(34)).unwrap();
    assert_eq!(call(&large(35)).unwrap_err(), TableFull);
    drop(last);
    assert!(call(&large(35)).is_ok());
}

#[test]
fn a_collision_costs_a_miss_and_shares_nothing() {
    let table = table();
    let (one, other) = (hot("A=1"), hot("A=2"));
    let colliding = key(&one, None);
    let first = table.instance(&colliding, Some(&one), recipe).unwrap();
    let second = table.instance(&colliding, Some(&other), recipe).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    let first_again = table.instance(&colliding, Some(&one), recipe).unwrap();
    assert!(Arc::ptr_eq(&first, &first_again));
}
