//! Checks the network settings of a container when they are changed, as far as they do not depend on what runs.
//!
//! Reads the other containers' configurations and the records of networks. Changes nothing, and does not prevent a later
//! change that makes the settings invalid: the start checks them again.

use std::net::Ipv6Addr;

use anyhow::{Result, bail, ensure};

use super::gateway;
use super::store::{Gateway, recorded};
use crate::config::Config;
use crate::config::value::{NetworkMode, Publication, Uplink, VpnPolicy};
use crate::paths::{Paths, names_in};

/// The error of `network.mode = gateway` alone.
pub(super) const NO_GATEWAY: &str = "network.gateway is not set; set it to the container that is the router";

/// Refuses settings of a changed or new configuration with which the container could not start. Settings that `before`
/// has too are not checked, so that every other key can be changed.
///
/// # Errors
/// One line with the key.
pub fn check(config: &Config, before: Option<&Config>, paths: &Paths) -> Result<()> {
    let is_new = |part: fn(&Config) -> String| before.is_none_or(|before| part(before) != part(config));
    if is_new(|config| {
        format!("{} {:?} {}", config.network.mode, config.network.gateway, config.network.name)
    }) {
        check_gateway(config, paths)?;
    }
    if is_new(|config| {
        format!("{} {:?} {}", config.network.mode, config.network.address, config.network.name)
    }) {
        check_address(config, paths)?;
    }
    if is_new(|config| format!("{} {} {:?}", config.network.uplink, config.network.vpn, config.network.ports))
    {
        check_contradictions(config)?;
    }
    Ok(())
}

/// Settings that would have no effect.
fn check_contradictions(config: &Config) -> Result<()> {
    let network = &config.network;
    ensure!(
        network.uplink != Uplink::Vpn || network.vpn != VpnPolicy::Bypass,
        "network.vpn: bypass excludes network.uplink = vpn; set it to follow"
    );
    let is_loopback = |port: &&Publication| port.bound_to() == Some(Ipv6Addr::LOCALHOST.into());
    if let Some(port) = network.ports.as_slice().iter().find(is_loopback) {
        bail!("network.ports: {port}: the kernel does not forward packets to ::1; use 127.0.0.1");
    }
    Ok(())
}

fn check_gateway(config: &Config, paths: &Paths) -> Result<()> {
    if let Some(gateway) = Gateway::of(config) {
        return gateway::check(config, &gateway, paths).map(drop);
    }
    ensure!(config.network.mode != NetworkMode::Gateway, NO_GATEWAY);
    let Some(name) = &config.network.gateway else { return Ok(()) };
    gateway::find(config, name, paths).map(drop)
}

fn check_address(config: &Config, paths: &Paths) -> Result<()> {
    let Some(pinned) = config.network.address.filter(|_| is_in_a_network(config)) else { return Ok(()) };
    let mut existing = Vec::new();
    for name in names_in(&paths.containers()).into_iter().filter(|name| *name != config.name) {
        let Ok(other) = Config::load(&paths.container_ini(&name), &name) else { continue };
        if is_in_a_network(&other)
            && other.network.name == config.network.name
            && other.network.address == Some(pinned)
        {
            bail!("network.address: {name} has {pinned}; use a different address");
        }
        existing.push(other.container.uuid);
    }
    let Some(mut network) = recorded(paths, &config.network.name)? else { return Ok(()) };
    // An unused network moves to the requested address.
    if network.leases.keys().all(|uuid| *uuid == config.container.uuid) {
        return Ok(());
    }
    network.lease(&config.container.uuid, Some(pinned), &|| existing.clone()).map(drop)
}

fn is_in_a_network(config: &Config) -> bool {
    matches!(config.network.mode, NetworkMode::Nat | NetworkMode::Gateway)
}
