//! Drives the real program over real sockets: real processes, a scripted far end, raw clients.
//!
//! The modules are compiled for tests only, so that the lints' allowances for tests hold in them.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod admission;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crowds;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod instances;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod one_env;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod process;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod watchdog;
#[cfg(test)]
mod wire;
