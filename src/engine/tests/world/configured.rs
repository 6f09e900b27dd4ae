//! What the engine of a test is told.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::World;
use crate::call::settings::{self, Listener};
use crate::engine::tests::phone::ENGINE;
use crate::engine::{Input, NewConfiguration, Settings};
use crate::media::plan::{Screen, WebPlace};
use crate::registrar::accounts::{Account, Accounts, Origin};
use crate::sip::Transport;
use crate::sip::digest::Algorithm;
use crate::wire::sip::Limits;

/// Where the browsers of a media thread meet us.
fn web_place(thread: u8) -> Arc<WebPlace> {
    let fingerprint = format!("sha-256 00:{thread:02X}").into();
    Arc::new(WebPlace { port: 29_984 + u16::from(thread), fingerprint })
}

pub(crate) fn settings() -> Settings {
    let address: SocketAddr = ENGINE.parse().unwrap();
    let media = settings::MediaSettings {
        anchor: settings::Anchor::Always,
        bind: address.ip(),
        address: address.ip(),
        loopback: IpAddr::from([127, 0, 0, 1]),
        address_v6: None,
        timeout: None,
        learning: crate::media::relay::Learning::Guarded,
        srtp: crate::media::plan::Rule::Either,
        threads: 1,
        pairs: usize::MAX,
        web: Some(settings::WebMedia { places: vec![web_place(0), web_place(1)] }),
        transcode: 0,
        screen: Screen {
            own_addresses: vec![address.ip()],
            own_ports: Arc::default(),
            limits: crate::wire::sdp::Limits::default(),
        },
    };
    let call = settings::Settings {
        node: "edge1".into(),
        domain: "example.org".into(),
        aliases: Vec::new(),
        software: "segue".into(),
        listeners: [Transport::Udp, Transport::Tcp].map(|way| Listener::new(way, address, address)).to_vec(),
        media,
        algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
        trunks: Vec::new(),
        routes: Vec::new(),
        groups: Vec::new(),
        zone: crate::base::Zone::default(),
        quirks: crate::call::quirks::QuirkTable::default(),
        echo: Some("*43".into()),
        tone: Some("*44".into()),
        runs: Some(crate::call::run::Runs { prefix: Some("run".into()) }),
        tells_quality: true,
        limits: settings::Limits::default(),
    };
    Settings {
        limits: Limits::default(),
        transactions: crate::sip::transaction::Settings::default(),
        registrar: crate::registrar::Settings {
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(7200),
            max_bindings: 10,
            own: crate::registrar::Own::default(),
        },
        call,
        moving: crate::moving::Settings::default(),
        ban: crate::engine::settings::Ban::default(),
        trace: crate::engine::trace::Settings::OFF,
        capture: crate::engine::capture::Settings { dialogs: true, quality: true },
        realm: "example.org".into(),
        contact_key: [7; 32],
    }
}

impl World {
    /// The configuration is another from now on: these settings and these accounts of the file. Where its trunks are,
    /// and what an operator is told.
    pub(crate) fn reconfigure(
        &mut self,
        settings: Settings,
        accounts: &Accounts,
    ) -> (Vec<usize>, Vec<String>) {
        let accounts: Vec<Account> = accounts
            .iter()
            .filter(|known| known.origin == Origin::File)
            .map(|known| (**known).clone())
            .collect();
        self.input(Input::Reconfigure(Box::new(NewConfiguration { settings, accounts })));
        let done = self.reconfigured.pop().expect("it is told");
        (done.places, done.notes)
    }
}
