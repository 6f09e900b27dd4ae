//! The machines of carriers: they answer OPTIONS and REGISTER as they are told.

use std::net::SocketAddr;
use std::time::Duration;

use super::World;
use crate::base::Random;
use crate::sip::digest::{Algorithm, Credentials, Ha1s, Settings, Stale, Verdict, Verifier};
use crate::sip::{Flow, Transport};
use crate::wire::sip::{HeaderName, Limits, Message, MessageWriter, Method, StatusCode};

/// Steps in which what was sent is looked for and answered.
const STEP: Duration = Duration::from_millis(20);

/// One of them.
pub(super) struct Carrier {
    pub(super) address: SocketAddr,
    /// The status of its answers to OPTIONS; none: it is silent.
    pub(super) options: Option<u16>,
    /// The same to REGISTER, once it has the credentials that it wants.
    pub(super) register: Option<u16>,
    /// Headers of its answers to REGISTER.
    pub(super) headers: Vec<(&'static str, String)>,
    /// Whether it repeats the Contact in a 200, with seconds.
    pub(super) grants: Option<u32>,
    /// Whether it wants credentials, and of which realm.
    pub(super) realm: Option<&'static str>,
    /// Who has an account, and which password.
    pub(super) accounts: &'static [(&'static str, &'static str)],
    /// How many right answers are told to be too old yet.
    pub(super) stale: u32,
    pub(super) heard: Vec<Message>,
    pub(super) verifier: Verifier,
    pub(super) random: Random,
}

impl Carrier {
    pub(super) fn new(address: &str) -> Self {
        let settings = Settings { realm: "carrier.example".into(), ..Settings::default() };
        Self {
            address: address.parse().unwrap(),
            options: Some(200),
            register: Some(200),
            headers: Vec::new(),
            grants: Some(3600),
            realm: None,
            accounts: &[("acct", "open sesame")],
            stale: 0,
            heard: Vec::new(),
            verifier: Verifier::new(settings, &mut Random::from_number(78)),
            random: Random::from_number(79),
        }
    }

    /// How often it was asked for something.
    pub(super) fn count(&self, method: &Method) -> usize {
        self.heard.iter().filter(|message| message.method() == method).count()
    }

    /// The last REGISTER.
    pub(super) fn registered(&self) -> &Message {
        self.heard.iter().rfind(|message| *message.method() == Method::Register).expect("a REGISTER")
    }

    fn answer(&mut self, world: &World, request: &Message) -> Option<MessageWriter<'static>> {
        if *request.method() == Method::Options {
            return Some(MessageWriter::reply(request, StatusCode::new(self.options?).unwrap()));
        }
        let status = self.register.filter(|_| *request.method() == Method::Register)?;
        if let Some(realm) = self.realm {
            let flow = Flow { transport: Transport::Udp, listener: 0, connection: 0, peer: self.address };
            let now = world.now.at;
            let mut verdict = self.verifier.verify(now, &flow, request, Credentials::Www, |user| {
                let (user, password) = self.accounts.iter().find(|(known, _)| *known == user)?;
                Some(Ha1s::from_password(user, "carrier.example", password))
            });
            if verdict == Verdict::Accepted && self.stale > 0 {
                (self.stale, verdict) = (self.stale - 1, Verdict::Stale);
            }
            if verdict != Verdict::Accepted {
                let stale = if verdict == Verdict::Stale { Stale::Yes } else { Stale::No };
                let mut writer = MessageWriter::reply(request, StatusCode::UNAUTHORIZED);
                for value in self.verifier.challenge(now, &flow, &[Algorithm::Md5], stale, &mut self.random) {
                    writer.header(&HeaderName::WwwAuthenticate, &value.replace("carrier.example", realm));
                }
                return Some(writer);
            }
        }
        let mut writer = MessageWriter::reply(request, StatusCode::new(status).unwrap());
        for (name, value) in &self.headers {
            writer.header(*name, value);
        }
        if let Some(seconds) = self.grants.filter(|_| status == 200) {
            let contact = request.header(HeaderName::Contact).unwrap();
            let contact = contact.value_str().unwrap();
            let other = "<sip:other@198.51.100.99>;expires=7";
            writer.header(&HeaderName::Contact, &format!("{other}, {contact};expires={seconds}"));
        }
        Some(writer)
    }
}

/// Lets time pass, in which the carriers answer.
pub(super) fn run(world: &mut World, carriers: &mut [&mut Carrier], length: Duration) {
    let end = world.now.at + length;
    while world.now.at < end {
        world.run(STEP.min(end.since(world.now.at)));
        for (to, bytes) in std::mem::take(&mut world.outside) {
            let Some(carrier) = carriers.iter_mut().find(|carrier| carrier.address == to) else { continue };
            let message = Message::parse(bytes, &Limits::default()).unwrap();
            if !message.is_request() {
                continue;
            }
            let answer = carrier.answer(world, &message);
            carrier.heard.push(message);
            if let Some(mut answer) = answer {
                world.arrive(to, answer.finish());
            }
        }
    }
}
