//! dialog-info: lamps, minted identifiers, and pulls that start from them (contract B).

use std::time::Duration;

use segue::shell::phone::{Dial, DialogInfo, Subscription};

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, device, phone, refusal};
use crate::node::Settings;

/// The first confirmed dialog that `watch` is told of.
async fn confirmed(watch: &Subscription) -> segue::shell::phone::DialogEntry {
    watch
        .dialogs(0, "a confirmed dialog", SOON, |info: &DialogInfo| info.confirmed().next().cloned())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_sees_the_call_with_identifiers_of_our_own() {
    let house = House::open().await;
    let watch = house.mobile.subscribe("alice", "dialog", 300).await.unwrap();
    watch
        .dialogs(0, "an empty first document", SOON, |info| (info.state == "full").then_some(()))
        .await
        .unwrap();
    let talk = house.talk().await;
    let dialog = confirmed(&watch).await;
    let real = talk.desk.replaces();
    for secret in [&real.call_id, &real.to_tag, &real.from_tag] {
        assert!(
            watch.since(0).iter().all(|notify| !notify.body.contains(secret.as_str())),
            "{secret} leaked"
        );
    }
    assert!(dialog.remote.identity.as_deref().unwrap_or_default().contains("bob"), "{dialog:?}");
    talk.desk.hang_up().await.unwrap();
    let over = |info: &DialogInfo| info.confirmed().next().is_none().then_some(());
    let mark = watch.mark().saturating_sub(1);
    watch.dialogs(mark, "the end of it", SOON, over).await.unwrap();
    let versions: Vec<u64> =
        watch.since(0).iter().map(|notify| notify.dialog_info().unwrap().version).collect();
    let numbers: Vec<u32> = watch.since(0).iter().map(|notify| notify.cseq).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "versions {versions:?}");
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "CSeq {numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lamp_is_pressed_and_the_call_comes() {
    let house = House::open().await;
    let watch = house.mobile.subscribe("alice", "dialog", 300).await.unwrap();
    let talk = house.talk().await;
    let dialog = confirmed(&watch).await;
    let target = dialog.local.target.clone().or(dialog.remote.target.clone()).expect("a target");
    let dial = Dial::new(&target).replacing(&dialog.replaces().expect("identifiers"));
    let mobile = house.mobile.dial(dial).await.unwrap().answered(SOON).await.expect("the pull");
    house.settled(&talk, &mobile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_identifier_works_only_for_the_handset_it_was_given_to() {
    let house = House::open().await;
    let third = phone(device(&house.node, "alice", "third", 800)).await;
    let eve = phone(device(&house.node, "eve", "desk", 1400)).await;
    let watch = house.mobile.subscribe("alice", "dialog", 300).await.unwrap();
    let talk = house.talk().await;
    let replaces = confirmed(&watch).await.replaces().expect("identifiers");
    for thief in [&third, &eve] {
        let refused = refusal(thief, Dial::new("alice").replacing(&replaces)).await;
        assert!(matches!(refused.status(), Some(403 | 481)), "{}: {}", thief.name(), refused.summary());
    }
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_do_not_see_it_and_ones_own_leg_is_not_movable() {
    let house = House::open().await;
    let refused = house.bob.subscribe("alice", "dialog", 300).await.err().expect("not bob's business");
    assert!(matches!(refused.status(), Some(403 | 404)), "{refused}");
    let own = house.desk.subscribe("alice", "dialog", 300).await.unwrap();
    let other = house.mobile.subscribe("alice", "dialog", 300).await.unwrap();
    let talk = house.talk().await;
    let (mine, theirs) = (confirmed(&own).await, confirmed(&other).await);
    assert!(movable(&theirs), "{theirs:?}");
    assert!(!movable(&mine), "{mine:?}");
    talk.desk.hang_up().await.unwrap();
}

/// The `move` element beside the dialog says whether, and if not, why.
fn movable(dialog: &segue::shell::phone::DialogEntry) -> bool {
    let element = dialog.element.child("move").unwrap_or_else(|| panic!("no move element in {dialog:?}"));
    element.attribute("allowed") == Some("yes")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_star_code_has_a_lamp_of_its_own() {
    let house = House::with(&Settings::moving("hold_off_s = 0\n")).await;
    let lamp = house.mobile.subscribe("*11", "dialog", 300).await.unwrap();
    lamp.dialogs(0, "a dark lamp", SOON, |info| info.confirmed().next().is_none().then_some(()))
        .await
        .unwrap();
    let mark = lamp.mark();
    let talk = house.talk().await;
    lamp.dialogs(mark, "a lit lamp", SOON, |info| info.confirmed().next().map(|_| ())).await.unwrap();
    let states: Vec<String> = lamp
        .since(0)
        .iter()
        .flat_map(|notify| notify.dialog_info().unwrap().dialogs.into_iter().map(|dialog| dialog.state))
        .collect();
    assert!(states.iter().all(|state| state != "early"), "confirmed or terminated, never early: {states:?}");
    let mark = lamp.mark();
    let mobile = house.pull(&talk).await;
    lamp.dialogs(mark, "dark again: the call is here now", SOON, |info| {
        info.confirmed().next().is_none().then_some(())
    })
    .await
    .unwrap();
    mobile.hears(BOB_HZ, SOON).await.unwrap();
    talk.bob.hears(MOBILE_HZ, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_go_on_over_a_restart() {
    let mut house = House::open().await;
    let before = {
        let watch = house.mobile.subscribe("alice", "dialog", 300).await.unwrap();
        let version = watch.dialogs(0, "a document", SOON, |info| Some(info.version)).await.unwrap();
        (version, watch.since(0).last().unwrap().cseq)
    };
    house.node.crash_and_restart().await;
    let watch = house.mobile.subscribe("alice", "dialog", 300).await.unwrap();
    let version = watch.dialogs(0, "a document", SOON, |info| Some(info.version)).await.unwrap();
    let cseq = watch.since(0).last().unwrap().cseq;
    assert!(version > before.0 && cseq > before.1, "{version}, {cseq} after {before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_refreshed_and_ended() {
    let house = House::open().await;
    let watch = house.mobile.subscribe("alice", "dialog", 300).await.unwrap();
    watch.dialogs(0, "a document", SOON, |_| Some(())).await.unwrap();
    let mark = watch.mark();
    watch.refresh(300).await.unwrap();
    watch.wait(mark, "a full state after the refresh", SOON, |_| Some(())).await.unwrap();
    let mark = watch.mark();
    watch.refresh(0).await.unwrap();
    let last =
        |notify: &segue::shell::phone::Notification| notify.state.starts_with("terminated").then_some(());
    watch.wait(mark, "terminated", SOON, last).await.unwrap();
    let talk = house.talk().await;
    let late = watch.wait(watch.mark(), "anything", Duration::from_millis(300), |_| Some(())).await;
    assert!(late.is_err(), "no NOTIFY after the end");
    talk.bob.hears(DESK_HZ, SOON).await.unwrap();
}
