//! Browsers' ports: what comes through the one socket that they share is told apart here, and keys come from a
//! handshake. Everything else is as with any port.
//!
//! Invariant: a port of a browser sends nothing and lets nothing in before there are keys.

use std::net::SocketAddr;

use super::latch::Latch;
use super::{Component, DropReason, MediaEvent, Outlet, PortId, Relay, Verdict};
use crate::base::{RedactAddr, Timestamp};
use crate::media::srtp::{Keys, Security};
use crate::media::web::{Arrival, Web};

impl Relay {
    /// Takes browsers, too.
    #[must_use]
    pub fn with_web(mut self, web: Web) -> Self {
        self.web = Some(Box::new(web));
        self
    }

    pub(super) fn handle_web(
        &mut self,
        now: Timestamp,
        src: SocketAddr,
        datagram: &mut [u8],
        out: &mut impl Outlet,
    ) -> Verdict {
        let Some(web) = &mut self.web else { return self.strange() };
        let mut send = |to: SocketAddr, bytes: &[u8]| _ = out.send(0, Component::Web, to, bytes);
        match web.handle_datagram(now, src, datagram, &mut send) {
            Arrival::Media { slot, component } => {
                let route = self.routes.get_mut(slot as usize).filter(|route| route.guard.is_some());
                // The side proved that all of its addresses are its; to the port they are the one that was picked.
                let Some(source) = route.and_then(|route| route.latch.source()) else {
                    self.count(slot, DropReason::NoKeys);
                    return Verdict::Dropped(DropReason::NoKeys);
                };
                self.handle_packet(now, slot, component, source, datagram, out)
            }
            Arrival::Picked { slot, address } => {
                tracing::debug!(thread = self.thread, slot, address = %RedactAddr(address), "pair picked");
                if let Some(route) = self.routes.get_mut(slot as usize).filter(|route| route.guard.is_some())
                {
                    route.settle(address);
                }
                Verdict::Forwarded(0)
            }
            Arrival::Secured { slot, keys } => {
                tracing::debug!(thread = self.thread, slot, ?keys, "secured");
                self.secure_web(slot, &keys);
                Verdict::Forwarded(0)
            }
            Arrival::Refused { slot, why } => {
                tracing::warn!(thread = self.thread, slot, "a browser's handshake failed: {why}");
                Verdict::Dropped(DropReason::WrongSource)
            }
            Arrival::Handled => Verdict::Forwarded(0),
            Arrival::Stranger => self.strange(),
        }
    }

    fn strange(&mut self) -> Verdict {
        self.totals.count(DropReason::WrongSource);
        Verdict::Dropped(DropReason::WrongSource)
    }

    fn secure_web(&mut self, slot: u32, keys: &Keys) {
        let Some(target) = self.web.as_ref().and_then(|web| web.target(slot)) else { return };
        let Some(route) = self.routes.get_mut(slot as usize).filter(|route| route.open && route.is_web)
        else {
            return;
        };
        route.protect(&Security::Srtp(Box::new(keys.clone())), &mut self.random);
        route.settle(target);
    }

    /// After the settings of a port: its transport is a browser's, or is one no more.
    pub(super) fn configure_web(
        &mut self,
        now: Timestamp,
        slot: u32,
        security: &Security,
        out: &mut impl Outlet,
    ) {
        let Some(route) = self.routes.get_mut(slot as usize) else { return };
        if route.is_web && matches!(security, Security::Srtp(_)) {
            // Keys came in the description, and who no longer checks is not missed.
            route.is_web = false;
            return self.release_web(now, slot, out);
        }
        let (Security::Web(end), Some(web)) = (security, &mut self.web) else { return };
        let is_new =
            web.configure(now, slot, end, &mut |to, bytes| _ = out.send(0, Component::Web, to, bytes));
        let target = web.target(slot);
        route.is_web = true;
        if is_new {
            // Until there are keys with the new one, nobody is there.
            (route.guard, route.latch) = (None, Latch::default());
            (route.target, route.rtcp_target) = (None, None);
        } else if let Some(target) = target.filter(|_| route.guard.is_some()) {
            route.settle(target);
        }
    }

    /// A port is released.
    pub(super) fn release_web(&mut self, now: Timestamp, slot: u32, out: &mut impl Outlet) {
        if let Some(web) = &mut self.web {
            web.release(now, slot, &mut |to, bytes| _ = out.send(0, Component::Web, to, bytes));
        }
    }

    pub(super) fn handle_web_timeout(&mut self, now: Timestamp, out: &mut impl Outlet) {
        let Some(web) = &mut self.web else { return };
        while let Some(slot) =
            web.handle_timeout(now, &mut |to, bytes| _ = out.send(0, Component::Web, to, bytes))
        {
            // Who does not check is not there, whether media was expected or not.
            out.event(MediaEvent::Quiet { port: PortId { thread: self.thread, slot } });
        }
    }
}
