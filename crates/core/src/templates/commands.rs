//! What callers may ask about templates.

use super::tasks::{Delete, Make};
use super::{Firmware, Template, TemplateState, check_url};
use crate::access::{Caller, Idempotency, Object, acts};
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::ids::TemplateId;
use crate::machines::{Life, is_api_version};
use crate::ports::{ImageSource, StoreError};
use crate::query::{Filter, Select, Sort};
use crate::record::{Kind, Value};
use crate::tasks::{Accepted, Order, Task, ordered};
use crate::volumes::StoragePlace;

/// A template to be made.
#[derive(Clone, Debug)]
pub struct TemplateAsk {
    /// Its name; a further version when the name exists.
    pub name: String,
    /// Where its image comes from.
    pub source: ImageSource,
    /// Words of the owner.
    pub description: String,
    /// Default virtual CPUs; 0 for what the image asks for, else 1.
    pub vcpus: u32,
    /// Default memory in MiB; 0 for what the image asks for, else 512.
    pub memory_mib: u64,
    /// Default disk in MiB; 0 for the image's own size.
    pub disk_mib: u64,
    /// Firmware that boots the disk of its machines.
    pub firmware: Firmware,
    /// Whether its machines may be forked from a golden one.
    pub fork: bool,
    /// Where its image shall lie, and so where its machines run: a storage by id, number or name; that of this
    /// process's host when left out.
    pub storage: Option<String>,
}

impl Core {
    /// Makes a further version of a template by the task `template.make`. Administrators only: it reads files and
    /// packages of the host.
    ///
    /// # Errors
    /// Denied; invalid, for names, storages and recipes.
    pub async fn template_make(
        &self,
        caller: &Caller,
        ask: &TemplateAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Template>> {
        self.administers(caller, "template.make", "make templates").await?;
        check_name(&ask.name)?;
        decided(async || {
            if let Some(replay) = self.replayed(caller, idempotency).await? {
                return Ok(self.accepted_before(&replay).await?);
            }
            self.template_make_once(caller, ask, idempotency).await
        })
        .await
    }

    async fn template_make_once(
        &self,
        caller: &Caller,
        ask: &TemplateAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Template>, Attempt> {
        let storage = self.storage_named(ask.storage.as_deref()).await?;
        self.check_source(&ask.source, &storage)?;
        check_firmware(&ask.source, ask.firmware)?;
        let named = Filter::eq("name", ask.name.as_str());
        let newest = Select::new(named, 1).ordered(Sort::descending("version"));
        let version = self.select::<Template>(newest).await?.pop().map_or(1, |newest| newest.version + 1);
        let id = TemplateId(self.ids().uuid());
        let order = Order {
            kind: "template.make",
            owner: caller.account,
            subject: id.0,
            subject_kind: "template",
            subject_name: &ask.name,
            host: Some(storage.host),
        };
        let task = ordered(self, &order, &Make::new(id))?;
        let template = Template {
            id,
            number: 0,
            rev: 0,
            name: ask.name.clone(),
            version,
            description: ask.description.clone(),
            owner: caller.account,
            storage: storage.id,
            source: ask.source.clone(),
            vcpus: ask.vcpus,
            memory_mib: ask.memory_mib,
            disk_mib: ask.disk_mib,
            firmware: ask.firmware,
            fork: ask.fork,
            state: TemplateState::Building,
            image: None,
            reason: None,
            task: Some(task.id),
            created_at: self.now(),
        };
        let mut changes = self.changes();
        changes.insert(&template)?;
        changes.insert(&task)?;
        self.owner_stays(caller.account, &mut changes).await?;
        if let Some(asked) = idempotency {
            changes.insert(&self.replay(caller, asked, id.0, Some(task.id.0)))?;
        }
        match self.hand_over(caller, changes, template, task).await {
            // Somebody else began this version, or used this key, meanwhile.
            Err(StoreError::Taken { kind: Kind::Template | Kind::Replay, .. }) => Err(Attempt::Stale),
            other => Ok(other?),
        }
    }

    fn check_source(&self, source: &ImageSource, storage: &StoragePlace) -> Result<()> {
        match source {
            ImageSource::Recipe { recipe, .. } => {
                // Another host's process knows what it can make; its task says so when it cannot.
                let Ok(local) = self.storage(storage.id) else { return Ok(()) };
                let known = local.storage.recipes();
                if known.contains(recipe) {
                    return Ok(());
                }
                let text = format!("there is no recipe `{recipe}`; known: {}", known.join(", "));
                Err(Error::invalid("recipe", text))
            }
            outside => check_outside(outside),
        }
    }

    /// One version of a template, by id, number, `name@version`, or name (its newest ready version, else its newest).
    ///
    /// # Errors
    /// Not found.
    pub async fn template_get(&self, _caller: &Caller, key: &str) -> Result<Template> {
        self.template_named(key).await
    }

    pub(crate) async fn template_named(&self, key: &str) -> Result<Template> {
        let found = match (key.parse::<TemplateId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.template_by_name(key).await?,
        };
        found.ok_or_else(|| {
            Error::not_found("template", key)
                .hint("`hostler template list` shows what there is; `hostler template build micro` makes one")
        })
    }

    async fn template_by_name(&self, key: &str) -> Result<Option<Template>> {
        let (name, version) = match key.rsplit_once('@') {
            Some((name, version)) => (name, version.parse::<i64>().ok()),
            None => (key, None),
        };
        let named = Filter::eq("name", name);
        if let Some(version) = version {
            return Ok(self.select(Select::new(named.and(Filter::eq("version", version)), 1)).await?.pop());
        }
        let newest = |filter| Select::new(filter, 1).ordered(Sort::descending("version"));
        let ready = named.clone().and(Filter::eq("state", TemplateState::Ready.word()));
        match self.select(newest(ready)).await?.pop() {
            Some(template) => Ok(Some(template)),
            None => Ok(self.select(newest(named)).await?.pop()),
        }
    }

    /// A template that machines can be made from.
    pub(crate) async fn template_usable(&self, caller: &Caller, key: &str) -> Result<Template> {
        let template = self.template_named(key).await?;
        self.may(caller, acts::TEMPLATE_USE, Object::of(&template), key).await?;
        if template.state != TemplateState::Ready {
            let why = template.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            let text =
                format!("template {}@{} is {}{why}", template.name, template.version, template.state.word());
            return Err(Error::conflict("not_ready", text));
        }
        Ok(template)
    }

    /// All templates; everybody may use them.
    pub async fn template_list(&self, _caller: &Caller, ask: ListAsk) -> Result<Page<Template>> {
        self.page(ask).await
    }

    /// Removes one version of a template by the task `template.delete`.
    ///
    /// # Errors
    /// Denied; not found; busy; conflict `in_use` while a machine or volume stands on it.
    pub async fn template_delete(&self, caller: &Caller, key: &str) -> Result<Accepted<Template>> {
        let template = self.template_named(key).await?;
        self.may(caller, acts::TEMPLATE_DELETE, Object::of(&template), key).await?;
        decided(async || {
            let mut template = self.template_named(key).await?;
            if let Some(holder) = template.task {
                return Err(Error::busy(format_args!("template {}", template.name), holder).into());
            }
            self.template_unused(&template).await?;
            let task: Task = self.template_task(caller, &template).await?;
            template.task = Some(task.id);
            template.state = TemplateState::Deleting;
            let mut changes = self.changes();
            changes.update(&template)?;
            changes.insert(&task)?;
            Ok(self.hand_over(caller, changes, template, task).await?)
        })
        .await
    }

    async fn template_task(&self, caller: &Caller, template: &Template) -> Result<Task> {
        let place: StoragePlace = self.get(template.storage.0).await?;
        let order = Order {
            kind: "template.delete",
            owner: caller.account,
            subject: template.id.0,
            subject_kind: "template",
            subject_name: &template.name,
            host: Some(place.host),
        };
        ordered(self, &order, &Delete::new(template))
    }

    /// Nothing stands on this version.
    pub(super) async fn template_unused(&self, template: &Template) -> Result<()> {
        let id: Value = template.id.0.into();
        let volumes = self.store().count(Kind::Volume, Filter::eq("template", id.clone())).await?;
        let made = Filter::eq("template", id).and(Filter::ne("life", Life::Gone.word()));
        let machines = self.store().count(Kind::Machine, made).await?;
        if volumes + machines == 0 {
            return Ok(());
        }
        let text = format!(
            "template {}@{} is in use by {machines} machines and {volumes} volumes",
            template.name, template.version
        );
        Err(Error::conflict("in_use", text).hint("delete those machines first"))
    }
}

/// What is built here brings its kernel, which the hypervisor loads: no firmware would ever be asked.
fn check_firmware(source: &ImageSource, firmware: Firmware) -> Result<()> {
    if matches!(source, ImageSource::Recipe { .. }) && firmware != Firmware::Bios {
        return Err(Error::invalid("firmware", "a template built from a recipe boots its own kernel"));
    }
    Ok(())
}

/// What shows of a file or an address without looking at it.
pub(crate) fn check_outside(source: &ImageSource) -> Result<()> {
    match source {
        ImageSource::Recipe { recipe, .. } => {
            Err(Error::invalid("recipe", format!("`{recipe}` cannot be built: give a file or an address")))
        }
        ImageSource::File { path, .. } if !path.is_absolute() => {
            Err(Error::invalid("path", format!("{} is not an absolute path", path.display())))
        }
        ImageSource::File { .. } => Ok(()),
        ImageSource::Url { url, .. } => check_url(url).map_err(|why| Error::invalid("url", why)),
    }
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = (1..=100).contains(&name.len())
        && name.chars().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.bytes().all(|c| c.is_ascii_digit())
        && name.parse::<TemplateId>().is_err()
        && !is_api_version(name);
    if good {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let text =
        format!("`{shown}` is not a template name: 1 to 100 of a-z, A-Z, 0-9, -, _ and ., and not a number");
    Err(Error::invalid("name", text))
}
