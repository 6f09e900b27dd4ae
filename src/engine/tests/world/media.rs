//! The media threads of the world: who hears whom.

use std::time::Duration;

use super::{Going, World};
use crate::engine::Input;
use crate::media::relay::{DropReason, MediaCommand, MediaEvent, PortId, PortStats, Sink, Sound};

impl World {
    /// The device that a port serves.
    pub(crate) fn device_at(&self, port: PortId) -> Option<String> {
        let leg = self.engine.core().port_legs.get(&port)?;
        let party = &self.engine.core().legs.get(*leg)?.party;
        party.device().map(|(user, device)| format!("{user}*{device}"))
    }

    /// A port of a device.
    pub(crate) fn port_of(&self, device: &str) -> Option<PortId> {
        self.routes.keys().copied().find(|port| self.device_at(*port).as_deref() == Some(device))
    }

    /// The far leg at this port hears its new device: the old one is neither heard nor sent to.
    pub(super) fn part(&mut self, far: PortId) {
        let Some(old) = self.handed.remove(&far) else { return };
        for (one, other) in [(far, old), (old, far)] {
            self.routes.entry(one).or_default().retain(|sink| sink.to != other);
        }
    }

    pub(super) fn on_media(&mut self, command: MediaCommand) {
        let soon = Duration::from_micros(100);
        match &command {
            MediaCommand::OpenPorts { thread, address, count } => {
                for event in self.open_ports(*thread, *address, *count) {
                    self.post(soon, Going::Input(Box::new(Input::Media(event))));
                }
            }
            MediaCommand::SetSinks { port, sinks } => {
                if let Some(old) = self.handed.remove(port)
                    && sinks.iter().all(|sink| sink.to != old)
                {
                    self.routes.entry(old).or_default().retain(|sink| sink.to != *port);
                }
                self.routes.insert(*port, sinks.to_vec());
            }
            MediaCommand::Swap { far, old, new, to_far, to_new } => {
                let is_taken_back = self.handed.remove(far) == Some(*new);
                let is_heard = self.routes.get(old).is_some_and(|to| to.iter().any(|sink| sink.to == *far));
                let mut heard: Vec<Sink> = to_new.iter().cloned().collect();
                if is_heard && !is_taken_back {
                    self.handed.insert(*far, *old);
                    heard.extend(self.routes.get(far).into_iter().flatten().find(|s| s.to == *old).cloned());
                } else {
                    self.routes.insert(*old, Vec::new());
                }
                self.routes.insert(*new, vec![to_far.clone()]);
                self.routes.insert(*far, heard);
                let device = self.device_at(*new).unwrap_or_default();
                if !self.silent.contains(&device) {
                    let event = MediaEvent::Swapped { far: *far, gap_us: 20_000, lost: 0 };
                    self.post(Duration::from_millis(20), Going::Input(Box::new(Input::Media(event))));
                }
            }
            MediaCommand::Report { port } => {
                let is_silent = self.device_at(*port).is_some_and(|device| self.silent.contains(&device));
                let packets = if is_silent { 0 } else { self.now.at.as_micros() / 20_000 };
                let lost = self.lost.get(port).copied().unwrap_or(6);
                let (expected, lost) = if is_silent { (0, 0) } else { (self.expected, lost) };
                let jitter_us = 1500;
                let mut stats =
                    PortStats { received: packets, expected, lost, jitter_us, ..PortStats::default() };
                stats.dropped[DropReason::Moved as usize] = packets;
                let event = MediaEvent::Stats { port: *port, stats: Box::new(stats) };
                self.post(soon, Going::Input(Box::new(Input::Media(event))));
            }
            MediaCommand::Release { port } => {
                if let Some((far, _)) = self.handed.iter().find(|(_, old)| *old == port) {
                    self.part(*far);
                }
                self.routes.remove(port);
                self.released.push(*port);
                let lost = self.lost.remove(port).unwrap_or(6);
                let stats =
                    PortStats { expected: self.expected, lost, jitter_us: 1500, ..PortStats::default() };
                let event = MediaEvent::Stats { port: *port, stats: Box::new(stats) };
                self.post(soon, Going::Input(Box::new(Input::Media(event))));
            }
            MediaCommand::Echo { port } => {
                self.routes.insert(*port, vec![Sink::plain(*port)]);
            }
            MediaCommand::Play { port, sound: Sound::Prompt(_), .. } => {
                let event = MediaEvent::Played { port: *port };
                self.post(Duration::from_millis(400), Going::Input(Box::new(Input::Media(event))));
            }
            MediaCommand::Configure { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::Press { .. }
            | MediaCommand::Stop { .. } => {}
        }
        self.media.push(command);
    }

    /// The devices to which what a device says goes.
    pub(crate) fn heard_by(&self, device: &str) -> Vec<String> {
        let of_device = |port: &PortId| self.device_at(*port).as_deref() == Some(device);
        let mut found: Vec<String> = self
            .routes
            .iter()
            .filter(|(port, _)| of_device(port))
            .flat_map(|(_, sinks)| sinks.iter().filter_map(|sink| self.device_at(sink.to)))
            .collect();
        found.sort();
        found.dedup();
        found
    }
}
