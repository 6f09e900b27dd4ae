//! The play: who does what, and what must be seen. It knows the node only by its address.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::report::{Finding, Report};
use crate::shell::phone::{Call, Dial, MediaReport, Message, Options, Phone};

/// Anything on loopback that takes longer has failed.
/// Talk before each move, so that there are packets on both sides of it.
const TALK: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(5);
/// What each phone says, in Hz.
const DESK: u32 = 400;
const MOBILE: u32 = 600;
const BOB: u32 = 1000;
/// The most that may lie between the old handset's last packet and the new one's first: the old one's next packet is
/// due within one packet time of the exchange, the new one's first within another.
pub(super) const MAX_GAP: Duration = Duration::from_millis(40);

/// Where the play is given.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) sip: SocketAddr,
    pub(super) domain: String,
    pub(super) password: String,
    pub(super) hold_off: Duration,
}

/// The three phones.
struct Cast {
    desk: Phone,
    mobile: Phone,
    bob: Phone,
}

/// Plays it. An error is something that kept the play from going on; a finding that is not as it must be is in the
/// report.
pub(super) async fn run(stage: &Stage) -> Result<Report> {
    let zero = Instant::now();
    let cast = Cast::enter(stage).await?;
    let mut report = Report::new(stage.sip);
    let outcome = acts(stage, &cast, &mut report).await;
    report.timeline([&cast.desk, &cast.mobile, &cast.bob], zero);
    if let Err(error) = outcome {
        report.add(Finding::missing(format!("{error:#}")));
    }
    Ok(report)
}

async fn acts(stage: &Stage, cast: &Cast, report: &mut Report) -> Result<()> {
    let desk = cast.desk.call("bob").await.context("desk calls bob")?;
    let bob = cast.bob.answered(SOON).await.context("bob answers")?;
    desk.hears(BOB, SOON).await.context("desk hears bob")?;
    bob.hears(DESK, SOON).await.context("bob hears desk")?;
    report.add(Finding::seen("desk and bob talk"));
    let heard = bob.media().mark();
    tokio::time::sleep(TALK).await;

    let mobile = cast.mobile.call("*11").await.context("mobile dials *11")?;
    settle(&bob, MOBILE, &mobile, &desk).await.context("the call moves to mobile")?;
    measure(report, "desk to mobile", &bob.media().report(heard), (DESK, MOBILE), [&desk, &mobile]);
    report.add(Finding::of("mobile shows bob", mobile.shows().contains("Bob"), mobile.shows()));
    refuse_the_old(cast, &desk, stage.hold_off, report).await?;

    let heard = bob.media().mark();
    tokio::time::sleep(TALK).await;
    let back = pull_when_told(&cast.desk, report).await.context("desk dials *11 after the hold-off")?;
    settle(&bob, DESK, &back, &mobile).await.context("the call moves back to desk")?;
    measure(report, "mobile back to desk", &bob.media().report(heard), (MOBILE, DESK), [&mobile, &back]);

    back.hang_up().await.context("desk hangs up")?;
    bob.ended(SOON).await.context("bob is released")?;
    for phone in [&cast.desk, &cast.mobile, &cast.bob] {
        let faults = phone.log().faults();
        let label = format!("{} could read every message", phone.name());
        report.add(Finding::of(&label, faults.is_empty(), faults.join("; ")));
    }
    Ok(())
}

impl Cast {
    async fn enter(stage: &Stage) -> Result<Self> {
        Ok(Self {
            desk: phone(stage, "alice", "desk", DESK).await?,
            mobile: phone(stage, "alice", "mobile", MOBILE).await?,
            bob: phone(stage, "bob", "phone", BOB).await?,
        })
    }
}

async fn phone(stage: &Stage, user: &str, device: &str, hz: u32) -> Result<Phone> {
    let name = if user == "alice" { device } else { user };
    let options = Options::new(user, &stage.domain, stage.sip).named(name).tone(hz);
    let phone = Phone::start(options.login(&format!("{user}-{device}"), &stage.password)).await?;
    phone.register(300).await.with_context(|| format!("{name} registers"))?;
    Ok(phone)
}

/// The new handset and bob hear each other, and the old handset is released.
async fn settle(bob: &Call, hz: u32, new: &Call, old: &Call) -> Result<()> {
    bob.hears(hz, SOON).await?;
    new.hears(BOB, SOON).await?;
    let ending = old.ended(SOON).await?;
    anyhow::ensure!(
        ending.reason.as_deref().is_some_and(|reason| reason.contains("Call moved")),
        "the BYE of the old handset has the reason {:?}",
        ending.reason
    );
    Ok(())
}

/// What bob's packets say of the move. A sender that was itself late does not count against the node.
fn measure(report: &mut Report, label: &str, heard: &MediaReport, tones: (u32, u32), [old, new]: [&Call; 2]) {
    let Some((last, first)) = heard.switch_instants(tones.0, tones.1) else {
        report.add(Finding::of(label, false, format!("bob heard {heard}")));
        return;
    };
    let gap = first.duration_since(last);
    let around = Duration::from_millis(60);
    let late = old.media().lateness(last - around, first).max(new.media().lateness(last, first + around));
    report.gap(label, gap);
    report.add(Finding::of(
        &format!("{label}: at most {} ms without a packet", MAX_GAP.as_millis()),
        gap <= MAX_GAP + late,
        format!("{:.1} ms", gap.as_secs_f64() * 1000.0),
    ));
    report.add(Finding::of(
        &format!("{label}: bob sees one stream, nothing lost, no step"),
        heard.is_seamless(),
        heard.to_string(),
    ));
}

/// The old handset tries to touch the call in each way that it has.
async fn refuse_the_old(cast: &Cast, desk: &Call, hold_off: Duration, report: &mut Report) -> Result<()> {
    let replaces = Dial::new("bob").replacing(&desk.replaces());
    for (what, dial) in [("*11", Dial::new("*11")), ("INVITE with Replaces", replaces)] {
        let outcome = cast.desk.dial(dial).await?.answered(SOON).await;
        let answer = outcome.err().and_then(|error| error.response().cloned());
        report.add(refused(what, answer.as_ref(), hold_off));
    }
    let answer = desk.request("INVITE", &[], None).await.context("a re-INVITE of the old handset")?;
    report.add(refused("re-INVITE", Some(&answer), hold_off));
    Ok(())
}

fn refused(what: &str, answer: Option<&Message>, hold_off: Duration) -> Finding {
    let good = answer.is_some_and(|answer| {
        let wait = answer.retry_after().unwrap_or_default();
        answer.status() == Some(403) && (1..=hold_off.as_secs()).contains(&u64::from(wait))
    });
    let detail = answer.map_or_else(|| "it was answered".to_owned(), Message::summary);
    Finding::of(&format!("desk is held off: {what} gets 403 with Retry-After"), good, detail)
}

/// Dials `*11` until it is let in, waiting as long as each refusal says.
async fn pull_when_told(desk: &Phone, report: &mut Report) -> Result<Call> {
    let mut waited = Duration::ZERO;
    loop {
        match desk.dial(Dial::new("*11")).await?.answered(SOON).await {
            Ok(call) => {
                report.add(Finding::of(
                    "after the hold-off desk is accepted",
                    true,
                    format!("waited {} s as told", waited.as_secs()),
                ));
                return Ok(call);
            }
            Err(error) => {
                let wait = error.response().and_then(Message::retry_after);
                let wait =
                    Duration::from_secs(u64::from(wait.with_context(|| format!("no Retry-After: {error}"))?));
                anyhow::ensure!(waited + wait <= SOON, "still refused after {} s: {error}", waited.as_secs());
                waited += wait;
                tokio::time::sleep(wait).await;
            }
        }
    }
}
