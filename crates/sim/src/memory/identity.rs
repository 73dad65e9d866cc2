//! A directory and a provider whose people a test makes up.

use super::lock;
use crate::faults::{Faults, Verb};
use hostler_core::ports::{Attempt, Directory, DriverError, Person, Provider};
use hostler_core::secret::Secret;
use std::fmt;
use std::sync::{Arc, Mutex};

/// A directory in memory: everybody's password is their login name backwards. Clones are the same directory.
#[derive(Clone)]
pub struct SimDirectory {
    faults: Faults,
    people: Arc<Mutex<Vec<Person>>>,
}

impl SimDirectory {
    /// A directory without people, called `company`.
    pub fn new(faults: Faults) -> Self {
        Self { faults, people: Arc::default() }
    }

    /// From now on these are its people.
    pub fn set(&self, people: Vec<Person>) {
        *lock(&self.people) = people;
    }
}

impl fmt::Debug for SimDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDirectory")
    }
}

#[async_trait::async_trait]
impl Directory for SimDirectory {
    fn name(&self) -> &str {
        "company"
    }

    fn address(&self) -> String {
        "sim://company".into()
    }

    fn lists(&self) -> bool {
        true
    }

    async fn log_in(&self, login: &str, password: &Secret) -> Result<Option<Person>, DriverError> {
        self.faults.before(Verb::DirectoryLogIn).await?;
        let theirs = password.expose().chars().rev().eq(login.chars());
        let found = lock(&self.people).iter().find(|person| person.login == login && theirs).cloned();
        self.faults.after(Verb::DirectoryLogIn)?;
        Ok(found)
    }

    async fn people(&self) -> Result<Vec<Person>, DriverError> {
        self.faults.before(Verb::DirectoryPeople).await?;
        let people = lock(&self.people).clone();
        self.faults.after(Verb::DirectoryPeople)?;
        Ok(people)
    }

    async fn check(&self) -> Result<String, DriverError> {
        self.faults.before(Verb::DirectoryCheck).await?;
        Ok(format!("{} people", lock(&self.people).len()))
    }
}

/// A provider in memory, which redeems the one code it was given for the one person. Clones are the same provider.
#[derive(Clone)]
pub struct SimProvider {
    name: String,
    faults: Faults,
    next: Arc<Mutex<Option<(String, Person)>>>,
}

impl SimProvider {
    /// A provider of this name that lets nobody in.
    pub fn new(name: &str, faults: Faults) -> Self {
        Self { name: name.into(), faults, next: Arc::default() }
    }

    /// The next login with this code is this person's.
    pub fn expect(&self, code: &str, person: Person) {
        *lock(&self.next) = Some((code.to_owned(), person));
    }
}

impl fmt::Debug for SimProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimProvider")
    }
}

#[async_trait::async_trait]
impl Provider for SimProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn title(&self) -> &str {
        "Simulated"
    }

    fn issuer(&self) -> &str {
        "https://sim.example"
    }

    fn is_secure(&self) -> bool {
        true
    }

    async fn begin(&self, attempt: &Attempt) -> Result<String, DriverError> {
        self.faults.before(Verb::ProviderBegin).await?;
        Ok(format!("https://sim.example/authorize?state={}", attempt.state))
    }

    async fn finish(&self, code: &str, _attempt: &Attempt) -> Result<Person, DriverError> {
        self.faults.before(Verb::ProviderFinish).await?;
        match lock(&self.next).take() {
            Some((expected, person)) if expected == code => Ok(person),
            _ => Err(DriverError::refused("there is no such code")),
        }
    }

    async fn check(&self) -> Result<String, DriverError> {
        self.faults.before(Verb::ProviderCheck).await?;
        Ok("answers".into())
    }
}
