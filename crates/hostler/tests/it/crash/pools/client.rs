//! A client at vmpooler's door: lends, tags, prolongs and gives back at random, whatever becomes of the server meanwhile.

use super::history::{Asked, History, Outcome};
use crate::crash::chance::Chance;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;

/// Nobody hoards more.
const MOST: usize = 4;
/// What may be asked for at once.
const CHECKOUTS: [&[(&str, usize)]; 5] =
    [&[("alpha", 1)], &[("beta", 1)], &[("any", 1)], &[("any", 2)], &[("alpha", 1), ("beta", 2)]];
/// People think between two commands, up to this long.
const THOUGHT: Duration = Duration::from_millis(600);

/// Where the server is just now; none while it is dead, and [`Place::Closed`] when enough was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    At(String),
    Closed,
}

/// What all clients share.
pub(super) struct Common {
    pub history: History,
    pub web: reqwest::Client,
    /// Machines that were heard of lately: some clients meddle with those of others.
    pub known: Mutex<Vec<String>>,
}

pub(super) struct Client<'a> {
    pub common: &'a Common,
    pub place: watch::Receiver<Place>,
    pub number: usize,
    pub token: String,
}

impl Client<'_> {
    /// Asks until the place is closed.
    pub(super) async fn play(&self, seed: u64) -> Result<()> {
        let mut chance = Chance::of(seed, &[self.number as u64]);
        let mut held: Vec<String> = Vec::new();
        let mut place = self.place.clone();
        for count in 0_u64.. {
            let now = place.wait_for(|place| *place != Place::Nowhere).await?.clone();
            let Place::At(url) = now else { break };
            let Some(asked) = self.draw(&mut chance, &mut held, count) else { continue };
            self.carry_out(&url, asked, &mut held).await?;
            // When people come back is what is drawn: nothing is waited for.
            tokio::time::sleep(chance.between(Duration::ZERO, THOUGHT)).await;
        }
        Ok(())
    }

    /// What is asked next.
    fn draw(&self, chance: &mut Chance, held: &mut Vec<String>, count: u64) -> Option<Asked> {
        let drawn = chance.below(100);
        if held.is_empty() || drawn < 30 && held.len() < MOST {
            let wanted = chance.pick(&CHECKOUTS).iter().map(|(name, count)| ((*name).to_owned(), *count));
            return Some(Asked::Checkout { wanted: wanted.collect() });
        }
        let others = chance.percent(5);
        let place = chance.next();
        let machine = if others {
            let known = self.common.known.lock().ok()?;
            known.get(usize::try_from(place % known.len().max(1) as u64).ok()?)?.clone()
        } else {
            held.get(usize::try_from(place % held.len() as u64).ok()?)?.clone()
        };
        Some(match drawn {
            0..65 => {
                let (field, value) =
                    (format!("tag:t{}", chance.below(4)), format!("c{}-{count}", self.number));
                Asked::Change { machine, field, value }
            }
            65..80 => {
                let value = (3600 * (1 + chance.below(900))).to_string();
                Asked::Change { machine, field: "lifetime".into(), value }
            }
            _ => {
                held.retain(|name| *name != machine);
                Asked::Return { machine }
            }
        })
    }

    /// Sends a request and notes what came of it; waits for the server's return when it died.
    async fn carry_out(&self, url: &str, asked: Asked, held: &mut Vec<String>) -> Result<()> {
        let (method, path, body) = match &asked {
            Asked::Checkout { wanted } => {
                let body: serde_json::Map<String, Value> =
                    wanted.iter().map(|(name, count)| (name.clone(), json!(count.to_string()))).collect();
                ("POST", "/api/v3/vm".to_owned(), Some(Value::Object(body)))
            }
            Asked::Change { machine, field, value } => {
                let body = match field.strip_prefix("tag:") {
                    Some(key) => json!({ "tags": { key: value } }),
                    None => json!({ "lifetime": value.parse::<u64>()? / 3600 }),
                };
                ("PUT", format!("/api/v3/vm/{machine}"), Some(body))
            }
            Asked::Return { machine } => ("DELETE", format!("/api/v3/vm/{machine}"), None),
        };
        let began = self.common.history.moment();
        let mut request = self.common.web.request(method.parse()?, format!("{url}{path}"));
        request = request.header("x-auth-token", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            Ok((status, answer.text().await?))
        };
        let outcome = match answer.await {
            Ok((200..=299, text)) => {
                let lent = if matches!(asked, Asked::Checkout { .. }) { lent(&text)? } else { Vec::new() };
                self.heard(&lent, held)?;
                Outcome::Acknowledged { lent }
            }
            Ok((status, _)) => {
                if let (Asked::Change { machine, .. }, 404) = (&asked, status) {
                    held.retain(|name| name != machine);
                }
                Outcome::Refused { status }
            }
            Err(error) => {
                let error: reqwest::Error = error;
                if error.is_timeout() {
                    bail!("{asked:?} of client {} was not answered: {error}", self.number);
                }
                let mut place = self.place.clone();
                place.wait_for(|now| *now != Place::At(url.to_owned())).await?;
                // It never came to the server.
                if error.is_connect() {
                    return Ok(());
                }
                Outcome::Unknown
            }
        };
        self.common.history.note(began, self.number, asked, outcome);
        Ok(())
    }

    fn heard(&self, lent: &[(String, String)], held: &mut Vec<String>) -> Result<()> {
        let mut known = self.common.known.lock().ok().context("no client panicked")?;
        for (_, name) in lent {
            held.push(name.clone());
            if known.len() > 50 {
                known.remove(0);
            }
            known.push(name.clone());
        }
        Ok(())
    }
}

/// The machines of an answer, each with the name that it was asked for by.
fn lent(text: &str) -> Result<Vec<(String, String)>> {
    let answer: BTreeMap<String, Value> = serde_json::from_str(text)?;
    let mut lent = Vec::new();
    for (name, value) in answer.into_iter().filter(|(_, value)| value.is_object()) {
        match &value["hostname"] {
            Value::String(one) => lent.push((name, one.clone())),
            Value::Array(all) => {
                let names = all.iter().filter_map(Value::as_str);
                lent.extend(names.map(|one| (name.clone(), one.to_owned())));
            }
            _ => bail!("what was lent? {text}"),
        }
    }
    Ok(lent)
}

#[test]
fn machines_are_read_from_an_answer() -> Result<()> {
    let lent = lent(r#"{"ok": true, "a": {"hostname": "x"}, "b": {"hostname": ["y", "z"]}}"#)?;
    let lent: Vec<(&str, &str)> =
        lent.iter().map(|(name, machine)| (name.as_str(), machine.as_str())).collect();
    assert_eq!(lent, [("a", "x"), ("b", "y"), ("b", "z")]);
    Ok(())
}
