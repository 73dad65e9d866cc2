//! A client: asks what was drawn for it, and writes down what it was answered.

use super::chance::Chance;
use super::command::{Command, draw};
use super::history::{Asked, History, Kind, Outcome, Repeatable};
use super::stage::Stage;
use crate::server::Door;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a client works with.
#[derive(Clone, Debug)]
pub(crate) struct Client<'a> {
    pub door: Door,
    pub history: &'a History,
    pub stage: Stage,
    /// The template that machines are made from.
    pub template: &'a str,
    /// Where further templates come from.
    pub source: &'a Value,
    /// When this is set, nothing more is asked of a server that nobody kills.
    pub enough: Option<&'a AtomicBool>,
}

/// A request in full.
struct Request {
    asked: Asked,
    method: &'static str,
    path: String,
    key: Option<String>,
    body: Option<Value>,
}

impl Client<'_> {
    /// Asks until everything was asked or the server is dead.
    pub(crate) async fn play(&self, seed: u64, round: u64, client: u64) {
        let mut chance = Chance::of(seed, &[round, client]);
        for count in 0..self.stage.commands {
            if self.enough.is_some_and(|enough| enough.load(Ordering::Relaxed)) {
                return;
            }
            let drawn = draw(&mut chance, &self.stage);
            let label = format!("r{round}-c{client}-{count}");
            let Some(request) = self.request(drawn.command, label) else { continue };
            let Some(answer) = self.carry_out(request).await else { return };
            if drawn.wait && self.wait(&answer).await.is_none() {
                return;
            }
        }
    }

    /// Asks again, under their keys, for what got no answer. None when the server died.
    pub(crate) async fn repeat(&self, unanswered: Vec<Repeatable>) -> Option<()> {
        let mut alive = Some(());
        for Repeatable { asked, body } in unanswered {
            let Asked::Create { kind, request, .. } = &asked else { continue };
            let (path, key) = (format!("/{}", kind.list()), Some(request.clone()));
            let request = Request { asked, method: "POST", path, key, body: Some(body) };
            // Those after the death are put back by the same way.
            if self.carry_out(request).await.is_none() {
                alive = None;
            }
        }
        alive
    }

    fn request(&self, command: Command, label: String) -> Option<Request> {
        let machine = |name: &str| format!("/machines/{name}");
        let set = |kind, subject: &str, field, value: String| Asked::Set {
            kind,
            subject: subject.into(),
            field,
            value,
        };
        let (asked, method, path, body) = match command {
            Command::Create { name, start, keyed } => {
                let body = json!({ "name": name, "template": self.template, "start": start, "vcpus": 1,
                    "memory_mib": 128, "description": label, "labels": { "edit": label } });
                let set = vec![("edit", label.clone()), ("vcpus", "1".into())];
                return Some(creation(Kind::Machine, label, name, set, body, keyed));
            }
            Command::VolumeCreate { size_mib, keyed } => {
                let body = json!({ "name": label, "size_mib": size_mib });
                let set = vec![("size_mib", size_mib.to_string())];
                return Some(creation(Kind::Volume, label.clone(), label, set, body, keyed));
            }
            Command::TemplateMake { keyed } => {
                let name = format!("t-{label}");
                let body = json!({ "name": name, "source": self.source, "description": label });
                return Some(creation(Kind::Template, label, name, Vec::new(), body, keyed));
            }
            Command::Power { name, verb, force } => {
                let path = format!("/machines/{name}/{verb}");
                (Asked::Power { machine: name, verb }, "POST", path, Some(json!({ "force": force })))
            }
            Command::Label { name } => {
                let body = json!({ "labels": { "edit": label } });
                (set(Kind::Machine, &name, "edit", label), "PATCH", machine(&name), Some(body))
            }
            Command::Resize { name, vcpus } => {
                let asked = set(Kind::Machine, &name, "vcpus", vcpus.to_string());
                (asked, "PATCH", machine(&name), Some(json!({ "vcpus": vcpus })))
            }
            Command::Delete { name } => {
                let path = machine(&name);
                (Asked::Delete { kind: Kind::Machine, subject: name }, "DELETE", path, None)
            }
            Command::VolumeAttach { volume, name } => {
                let volume = self.history.volume(volume)?;
                let asked = set(Kind::Volume, &volume, "machine", name.clone());
                (asked, "POST", format!("/volumes/{volume}/attach"), Some(json!({ "machine": name })))
            }
            Command::VolumeDetach { volume } => {
                let volume = self.history.volume(volume)?;
                let asked = set(Kind::Volume, &volume, "machine", String::new());
                (asked, "POST", format!("/volumes/{volume}/detach"), None)
            }
            Command::VolumeGrow { volume, size_mib } => {
                let volume = self.history.volume(volume)?;
                let asked = set(Kind::Volume, &volume, "size_mib", size_mib.to_string());
                (asked, "POST", format!("/volumes/{volume}/grow"), Some(json!({ "size_mib": size_mib })))
            }
            Command::VolumeDelete { volume } => deletion(Kind::Volume, self.history.volume(volume)?),
            Command::TemplateDelete { template } => {
                deletion(Kind::Template, self.history.template(template)?)
            }
            Command::Cancel { task } => {
                let task = self.history.task(task)?;
                (Asked::Cancel { task: task.clone() }, "POST", format!("/tasks/{task}/cancel"), None)
            }
        };
        Some(Request { asked, method, path, key: None, body })
    }

    /// Sends a request and notes what came of it. None when the server died.
    async fn carry_out(&self, request: Request) -> Option<Value> {
        let Request { asked, method, path, key, body } = request;
        let began = self.history.moment();
        let headers: Vec<(&str, &str)> =
            key.as_deref().map(|key| ("idempotency-key", key)).into_iter().collect();
        let answer = self.door.send(method, &path, &headers, body.clone()).await;
        let outcome = match &answer {
            Ok((status, value)) => outcome(*status, value),
            Err(_) => Outcome::Unknown,
        };
        if let (Outcome::Unknown, Some(_), Some(body)) = (&outcome, key, body) {
            self.history.ask_again(Repeatable { asked: asked.clone(), body });
        }
        self.history.note(began, asked, outcome);
        answer.ok().map(|(_, value)| value)
    }

    /// Waits a while for the task that an answer speaks of.
    async fn wait(&self, answer: &Value) -> Option<()> {
        let task = answer["task"]["id"].as_str().or(answer["task"].as_str());
        let Some(task) = task else { return Some(()) };
        self.door.send("GET", &format!("/tasks/{task}?wait_s=1"), &[], None).await.ok().map(drop)
    }
}

fn creation(
    kind: Kind,
    request: String,
    name: String,
    set: Vec<(&'static str, String)>,
    body: Value,
    keyed: bool,
) -> Request {
    let key = keyed.then(|| request.clone());
    let asked = Asked::Create { kind, request, name, set };
    Request { asked, method: "POST", path: format!("/{}", kind.list()), key, body: Some(body) }
}

fn deletion(kind: Kind, subject: String) -> (Asked, &'static str, String, Option<Value>) {
    let path = format!("/{}/{subject}", kind.list());
    (Asked::Delete { kind, subject }, "DELETE", path, None)
}

/// What an answer promises.
fn outcome(status: u16, value: &Value) -> Outcome {
    // A command answers with record and task, an edit with the record alone, a wish to cancel with the task.
    let record = value.get("record").unwrap_or(value);
    match status {
        200..=299 => Outcome::Acknowledged {
            subject: record["id"].as_str().unwrap_or_default().to_owned(),
            number: record["number"].as_i64().unwrap_or(0),
            task: value["task"]["id"].as_str().map(str::to_owned),
        },
        503 => Outcome::Unknown,
        _ => Outcome::Refused { status, code: value["code"].as_str().unwrap_or_default().to_owned() },
    }
}
