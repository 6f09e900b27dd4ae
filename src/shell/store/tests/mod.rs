//! Tests of the store: the contract that every backend keeps, run over SQLite; and what only a file can suffer.

mod contract;
mod crash;
mod faults;
mod opening;
mod reports;
mod sqlite;
mod values;
