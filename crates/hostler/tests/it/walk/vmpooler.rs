//! Every route of vmpooler's door, asked by everybody, for each of what callers without a token may do there.

use super::no_secret_is_kept;
use super::scene::{Answer, PASSWORD, Scene, Who};
use axum::http::header::{self, HeaderName};
use base64::Engine;
use hostler_core::pools::{Anonymous, PoolRules, PoolSpec};
use hostler_core::reconcile::PoolKeeper;
use hostler_doors::vmpooler::Settings;
use hostler_doors::{DoorState, TrustedProxies, router, vmpooler_routes};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// What callers without a token may do, and whether ownership is strict.
type Mode = (Anonymous, bool);

/// What a route asks of who calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// Nothing, not even where nobody may come in without a token.
    Nothing,
    /// Login name and password; tokens are none.
    Password,
    /// That somebody may look.
    Looking,
    /// A token that is good, if there is one.
    Perhaps,
    /// That somebody may change what was lent at this door, anybody's unless ownership is strict; a token that is not
    /// good is as none.
    Tags,
    /// The same with a token.
    Lent,
    /// A token that may make something.
    Token,
    /// A token, however bound.
    Known,
    /// An administrator's token.
    Administrator,
}

/// Everybody who asks without having the right password.
const CALLERS: [Option<Who>; 8] = [
    None,
    Some(Who::Expired),
    Some(Who::Disabled),
    Some(Who::Stranger),
    Some(Who::Reader),
    Some(Who::OwnerLimited),
    Some(Who::Owner),
    Some(Who::Administrator),
];

impl Wants {
    /// How somebody is refused; none when they are not.
    fn refuses(self, (anonymous, strict): Mode, who: Option<Who>) -> Option<u16> {
        let good = who.filter(|who| !matches!(who, Who::Expired | Who::Disabled));
        let without = match anonymous {
            Anonymous::Full => None,
            Anonymous::Read => Some(403),
            Anonymous::Off => Some(401),
        };
        // An account that only reads, and a token that is limited to nothing.
        let bound = matches!(good, Some(Who::Reader | Who::OwnerLimited));
        match self {
            Self::Nothing => None,
            Self::Password => Some(401),
            Self::Looking if anonymous == Anonymous::Off && good.is_none() => Some(401),
            Self::Looking => None,
            // What they may not change they do not see.
            Self::Tags if good.is_none() && (strict || anonymous == Anonymous::Read) => Some(404),
            Self::Tags if good.is_none() => without,
            Self::Perhaps if who.is_none() => without,
            _ if good.is_none() => Some(401),
            Self::Known => None,
            _ if bound => Some(403),
            Self::Tags | Self::Lent if strict && good == Some(Who::Stranger) => Some(404),
            Self::Administrator if good != Some(Who::Administrator) => Some(403),
            _ => None,
        }
    }
}

/// A route, and what is asked of it rightly.
struct Row {
    route: &'static str,
    wants: Wants,
    body: Value,
}

fn row(route: &'static str, wants: Wants, body: Value) -> Row {
    Row { route, wants, body }
}

fn table() -> Vec<Row> {
    use Wants::{Administrator, Known, Lent, Looking, Nothing, Password, Perhaps, Tags, Token};
    let none = || Value::Null;
    vec![
        row("GET /token", Password, none()),
        row("POST /token", Password, none()),
        row("DELETE /token/{token}", Password, none()),
        // Knowing it is enough.
        row("GET /token/{token}", Nothing, none()),
        row("GET /vm", Looking, none()),
        row("POST /vm", Perhaps, json!({"pool-a": "1"})),
        row("GET /vm/{machine}", Looking, none()),
        row("POST /vm/pool-a", Perhaps, none()),
        row("PUT /vm/{machine}", Tags, json!({"tags": {"a": "b"}})),
        row("DELETE /vm/{machine}", Lent, none()),
        row("POST /vm/{machine}/disk/1", Lent, none()),
        row("PUT /vm/{machine}/disk/1", Lent, none()),
        row("POST /vm/{machine}/snapshot", Lent, none()),
        row("POST /vm/{machine}/snapshot/{snapshot}", Lent, none()),
        row("POST /ondemandvm", Token, json!({"pool-a": "1"})),
        row("GET /ondemandvm/{request}", Looking, none()),
        row("POST /ondemandvm/pool-a", Token, none()),
        row("DELETE /ondemandvm/{request}", Token, none()),
        row("GET /status", Looking, none()),
        row("GET /poolstat", Looking, none()),
        row("GET /totalrunning", Looking, none()),
        row("GET /summary", Looking, none()),
        row("GET /summary/boot", Looking, none()),
        row("GET /summary/boot/count", Looking, none()),
        row("GET /config", Looking, none()),
        row("GET /full_config", Known, none()),
        row("POST /config/poolsize", Administrator, json!({"pool-a": "2"})),
        row("DELETE /config/poolsize/pool-a", Administrator, none()),
        row("POST /config/pooltemplate", Administrator, json!({"pool-a": "dir/other"})),
        row("DELETE /config/pooltemplate/pool-a", Administrator, none()),
        row("POST /config/clonetarget", Administrator, json!({"pool-a": "east"})),
        row("POST /poolreset", Administrator, json!({"pool-a": "1"})),
        row("GET /healthcheck", Nothing, none()),
        row("GET /prometheus", Looking, none()),
        // A page without anything in it; what it reads is asked for by itself.
        row("GET /dashboard", Nothing, none()),
        row("GET /dashboard/stats/vmpooler/pool", Looking, none()),
        row("GET /dashboard/stats/vmpooler/running", Looking, none()),
    ]
}

/// A pattern of the router with the names that the table has.
fn named(route: &str) -> String {
    match route {
        "GET /summary/{section}" => return "GET /summary/boot".into(),
        "GET /summary/{section}/{key}" => return "GET /summary/boot/count".into(),
        "POST /vm/{name}" => return "POST /vm/pool-a".into(),
        "POST /ondemandvm/{name}" => return "POST /ondemandvm/pool-a".into(),
        _ => {}
    }
    let machine = if route.contains("/ondemandvm/") { "{request}" } else { "{machine}" };
    route.replace("{name}", machine).replace("{size}", "1").replace("{pool}", "pool-a")
}

/// A pool that is full, a machine of it that the owner has, with a snapshot, and a request of the owner's.
struct Stage {
    scene: Scene,
    machine: String,
    snapshot: String,
}

impl Stage {
    async fn new((anonymous, strict_ownership): Mode) -> Self {
        let mut scene = Scene::new().await;
        let rules = PoolRules { anonymous, strict_ownership, ..PoolRules::default() };
        scene.world.core = scene.world.core.clone().with_pool_rules(rules);
        scene.world.core.pool_create(&scene.world.admin, &PoolSpec::new("pool-a", "micro", 1)).await.unwrap();
        let settings = Settings { experimental_features: true, ..Settings::default() };
        let proxies = TrustedProxies::default();
        let state = DoorState::set(scene.world.core.clone(), CancellationToken::new(), proxies, settings);
        scene.origin = router(state);
        let mut stage = Self { scene, machine: String::new(), snapshot: String::new() };
        stage.settle().await;
        let lent = stage.ask(Some(Who::Owner), "POST /vm/pool-a", &Value::Null).await;
        stage.machine = lent.json()["pool-a"]["hostname"].as_str().unwrap().to_owned();
        let snapshot = format!("POST /vm/{}/snapshot", stage.machine);
        let snapshot = stage.ask(Some(Who::Owner), &snapshot, &Value::Null).await;
        stage.snapshot = snapshot.json()[&stage.machine]["snapshot"].as_str().unwrap().to_owned();
        let request = json!({"pool-a": "1", "request_id": "request-1"});
        let asked = stage.ask(Some(Who::Owner), "POST /ondemandvm", &request).await;
        assert_eq!(asked.status, 201, "{}", asked.text);
        stage.settle().await;
        stage
    }

    async fn settle(&self) {
        let mut keeper = PoolKeeper::new(self.scene.world.core.clone());
        for _ in 0..10 {
            keeper.round().await;
            self.scene.world.run_tasks(hostler_sim::Mode::Plain).await.unwrap();
        }
    }

    fn filled(&self, route: &str) -> String {
        let route = route.replace("{machine}", &self.machine).replace("{snapshot}", &self.snapshot);
        route.replace("{request}", "request-1").replace("{token}", self.scene.token(Who::Stranger))
    }

    async fn ask(&self, who: Option<Who>, request: &str, body: &Value) -> Answer {
        let token = HeaderName::from_static("x-auth-token");
        let carried = who.map(|who| (token, self.scene.token(who).to_owned()));
        self.scene.send(request, carried.into_iter().collect(), body).await
    }

    async fn walk(&self, row: &Row, mode: Mode) {
        let request = self.filled(row.route);
        let refused: Vec<_> =
            CALLERS.into_iter().filter_map(|who| Some((who, row.wants.refuses(mode, who)?))).collect();
        // What is remembered of a process's first look is no change that anybody made.
        let _ = self.ask(None, "GET /vm", &Value::Null).await;
        let before = self.scene.kept().await;
        for (who, status) in refused {
            let answer = self.ask(who, &request, &row.body).await;
            assert_eq!(answer.status, status, "{request} by {who:?}, {mode:?}: {}", answer.text);
            assert_eq!(answer.json()["ok"], false, "{request} by {who:?}: {}", answer.text);
            assert!(!answer.text.contains("hostname"), "{request} by {who:?}: {}", answer.text);
        }
        assert_eq!(self.scene.kept().await, before, "{request} was refused, and has changed something");
        let one = CALLERS.into_iter().rev().find(|who| row.wants.refuses(mode, *who).is_none());
        let answer = match one {
            Some(who) => self.ask(who, &request, &row.body).await,
            None => {
                let login = base64::engine::general_purpose::STANDARD.encode(format!("user-101:{PASSWORD}"));
                self.scene
                    .send(&request, vec![(header::AUTHORIZATION, format!("Basic {login}"))], &row.body)
                    .await
            }
        };
        // The owner has no tokens that can be listed, nor is the stranger's token theirs.
        let nothing = row.wants == Wants::Password && row.route != "POST /token";
        let good = answer.status.is_success() || nothing && [401, 404].contains(&answer.status.as_u16());
        assert!(good, "{request} by {one:?}, {mode:?}: {} {}", answer.status, answer.text);
        if row.wants == Wants::Looking || row.wants == Wants::Nothing {
            for who in CALLERS.into_iter().filter(|who| row.wants.refuses(mode, *who).is_none()) {
                let answer = self.ask(who, &request, &row.body).await;
                assert!(answer.status.is_success(), "{request} by {who:?}, {mode:?}: {}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn every_route_of_vmpooler_lets_in_whom_it_is_for() {
    let served: BTreeSet<String> = vmpooler_routes().iter().map(|route| named(route)).collect();
    let known: BTreeSet<String> = table().iter().map(|row| row.route.to_owned()).collect();
    let missing: Vec<_> = served.symmetric_difference(&known).collect();
    assert!(missing.is_empty(), "add to the table in walk/vmpooler.rs, or take out of it: {missing:#?}");
    let mut wrong = Vec::new();
    for mode in
        [(Anonymous::Full, false), (Anonymous::Read, false), (Anonymous::Off, false), (Anonymous::Full, true)]
    {
        let strict_matters = |row: &Row| !mode.1 || matches!(row.wants, Wants::Tags | Wants::Lent);
        for row in table().into_iter().filter(strict_matters) {
            let route = row.route;
            let walked = tokio::spawn(async move {
                let stage = Stage::new(mode).await;
                stage.walk(&row, mode).await;
                no_secret_is_kept(&stage.scene).await;
            });
            // What is wrong with each was printed; the others are walked all the same.
            if walked.await.is_err() {
                wrong.push((route, mode));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
