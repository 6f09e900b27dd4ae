//! What the engine shows of calls, moves, registrations, users and itself: plain values, ready to be serialised.

mod call;
mod moves;
mod node;
mod page;
mod quality;
mod record;
mod time;
mod user;

pub use call::{CallPhase, CallView, LegView};
pub use moves::{MoveState, MoveView, Trigger};
pub use node::{BanView, StatusView};
pub use page::{Listed, Order, PAGE_DEFAULT, PAGE_MAX, Page, PageQuery};
pub use quality::{HearsView, QualityView, StreamView};
pub use record::RecordQuery;
pub use time::Time;
pub use user::{DeviceView, HotDeskView, RegistrationView, UserView};

pub use super::dial_plan::{RouteQuestion, RouteTargetView, RouteTestView, RouteView, RuleVerdictView};
pub use super::trunks::{
    PbxView, TargetView, TrunkHeaderView, TrunkRegistrationView, TrunkRewriteView, TrunkSessionTimerView,
    TrunkView,
};
