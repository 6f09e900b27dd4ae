//! The engine in a simulated world: virtual time, a network that delays and loses, phones, a store, media threads.

mod abilities;
mod ask;
mod calls;
mod carrier;
mod directions;
mod far_side;
mod flows;
mod follow;
mod held;
mod keys;
mod lent;
mod matrix;
mod messages;
mod microphones;
mod moves;
mod mutations;
mod notice;
mod phone;
mod pickup;
mod prompt;
mod quality;
mod quirks;
mod races;
mod redirect;
mod referral;
mod reliable;
mod rescue;
mod scenes;
mod secure;
mod strangers;
mod threats;
mod three;
mod timers;
mod torture;
mod transcoding;
mod transfer;
mod transfer_races;
mod transfer_rights;
mod trunk_state;
mod trunks;
mod watch;
mod world;

use scenes::{refer, refer_to, talking, three_phones};

pub(super) use phone::{Answer, Early, Kind, Refers};
pub(super) use world::World;
