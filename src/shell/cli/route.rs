//! `segue route`: the rules of the dial plan, and what a call would meet.

use super::ask::{Asking, MAX_ITEMS};
use super::failure::Failure;
use super::options::{RouteAction, RouteTest};
use super::output::{Format, Table, or_dash, printable};
use crate::engine::command::{Command, Reply};
use crate::engine::view::{RouteQuestion, RouteTargetView, RouteTestView, RouteView, RuleVerdictView};

const ROUTE: &[&str] =
    &["PLACE", "NAME", "MATCH", "NOT", "FROM", "SOURCE", "WHEN", "ZONE", "OVERRIDE", "TO", "TIMEOUT S"];
const VERDICT: &[&str] = &["RULE", "NAME", "HOLDS", "FOLLOWED", "WHY NOT", "TO"];
const TARGET: &[&str] =
    &["TURN", "TARGET", "STATE", "RINGS", "TIMEOUT S", "CALLS", "MAX CALLS", "MAX CPS", "CALLED", "CALLING"];
const BOTH: &[&str] = &[
    "KIND",
    "PLACE",
    "NAME",
    "HOLDS",
    "FOLLOWED",
    "WHY NOT",
    "TO",
    "STATE",
    "RINGS",
    "TIMEOUT S",
    "CALLED",
    "CALLING",
];

impl Asking<'_> {
    pub(super) async fn route(&mut self, action: Option<RouteAction>) -> Result<(), Failure> {
        match action {
            None => self.routes().await,
            Some(RouteAction::Test(wanted)) => self.test_route(wanted).await,
        }
    }

    async fn routes(&mut self) -> Result<(), Failure> {
        let list = |page| Command::ListRoutes { page };
        let take = |reply| if let Reply::Routes(page) = reply { Some(page) } else { None };
        let routes = self.list(MAX_ITEMS, list, take).await?;
        let rows = routes.iter().map(route_row).collect();
        self.print(&Table { headings: ROUTE, rows }, &routes)
    }

    /// Prints what would become of the call; that it goes nowhere is a failure.
    async fn test_route(&mut self, wanted: RouteTest) -> Result<(), Failure> {
        let RouteTest { from, to, source, at } = wanted;
        let question = RouteQuestion { from, to, source, at };
        let Reply::RouteTest(view) = self.ask(Command::TestRoute(question)).await? else {
            return Err(Failure::misfit());
        };
        match self.format {
            Format::Json => super::output::print_json(&view, self.out)?,
            Format::Csv => {
                let rules = view.rules.iter().map(verdict_in_both);
                let rows = rules.chain(view.targets.iter().map(target_in_both)).collect();
                self.print(&Table { headings: BOTH, rows }, &view)?;
            }
            Format::Table => self.print_test(&view)?,
        }
        if view.goes {
            return Ok(());
        }
        let status =
            view.status.map(|status| format!(": {status} {}", view.reason.as_deref().unwrap_or_default()));
        Err(Failure::refused(format!(
            "the call would reach nobody{}",
            printable(&status.unwrap_or_default())
        )))
    }

    fn print_test(&mut self, view: &RouteTestView) -> Result<(), Failure> {
        writeln!(
            self.out,
            "{} dials {} from {} at {}\n",
            printable(&view.from),
            printable(&view.to),
            printable(&view.source),
            printable(&view.at)
        )?;
        for (said, is, what) in
            [(&view.trunk_to, &view.to, "dialled"), (&view.trunk_from, &view.from, "calling")]
        {
            if let Some(said) = said {
                let (said, is) = (printable(said), printable(is));
                writeln!(self.out, "Rules of the trunk make {is} of the {what} number {said}.\n")?;
            }
        }
        if !view.rules.is_empty() {
            let rows = view.rules.iter().map(verdict_row).collect();
            self.print(&Table { headings: VERDICT, rows }, &view)?;
            writeln!(self.out)?;
        }
        if !view.targets.is_empty() {
            let rows = view.targets.iter().map(target_row).collect();
            self.print(&Table { headings: TARGET, rows }, &view)?;
            writeln!(self.out)?;
        }
        writeln!(self.out, "{}", printable(&outcome(view)))?;
        Ok(())
    }
}

/// What would happen, in a sentence.
fn outcome(view: &RouteTestView) -> String {
    let why = match (&*view.by, view.rule) {
        ("rule", Some(place)) => format!("Rule {place} is followed"),
        ("emergency", _) => "The number is an emergency number, which no rule refuses".to_owned(),
        ("own-number", _) => "The number is one of this node".to_owned(),
        ("pbx", _) => "The caller is behind a PBX, which is asked".to_owned(),
        ("code", _) => "The number is a code of [move]".to_owned(),
        _ => "No rule holds".to_owned(),
    };
    let last = view.status.map(|status| format!("{status} {}", view.reason.as_deref().unwrap_or_default()));
    match (view.goes, last) {
        (true, Some(last)) => format!("{why}; who is not answered hears {last}."),
        (true, None) => format!("{why}."),
        (false, Some(last)) => format!("{why}; the caller hears {last}."),
        (false, None) => format!("{why}; nobody is reached."),
    }
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

fn number<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn joined(all: &[String]) -> String {
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

fn route_row(route: &RouteView) -> Vec<String> {
    vec![
        route.place.to_string(),
        or_dash(route.name.as_deref()),
        or_dash(route.number.as_deref()),
        or_dash(route.not.as_deref()),
        or_dash(route.from.as_deref()),
        joined(&route.source),
        joined(&route.when),
        or_dash(route.zone.as_deref()),
        yes(route.overrides),
        joined(&route.to),
        number(route.timeout_s),
    ]
}

fn verdict_row(rule: &RuleVerdictView) -> Vec<String> {
    vec![
        rule.place.to_string(),
        or_dash(rule.name.as_deref()),
        yes(rule.holds),
        yes(rule.followed),
        or_dash(rule.why.as_deref()),
        joined(&rule.to),
    ]
}

fn target_row(target: &RouteTargetView) -> Vec<String> {
    vec![
        target.turn.to_string(),
        target.target.clone(),
        target.state.clone(),
        joined(&target.devices),
        number(target.timeout_s),
        number(target.calls),
        number(target.max_calls),
        number(target.max_cps),
        or_dash(target.called.as_deref()),
        or_dash(target.calling.as_deref()),
    ]
}

fn verdict_in_both(rule: &RuleVerdictView) -> Vec<String> {
    let mut row = vec!["rule".to_owned()];
    row.extend(verdict_row(rule));
    row.extend(["-"; 5].map(str::to_owned));
    row
}

fn target_in_both(target: &RouteTargetView) -> Vec<String> {
    let [none, too] = ["-", "-"].map(str::to_owned);
    vec![
        "target".to_owned(),
        target.turn.to_string(),
        target.target.clone(),
        none,
        yes(target.reached),
        too,
        "-".to_owned(),
        target.state.clone(),
        joined(&target.devices),
        number(target.timeout_s),
        or_dash(target.called.as_deref()),
        or_dash(target.calling.as_deref()),
    ]
}
